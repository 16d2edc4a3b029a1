"""Markdown blocks, and the same blocks as one HTML page that needs no other file."""

import re
from html import escape
from typing import Any


def aligned(rows: list[list[str]]) -> str:
    """Rows as columns of a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def clean(text: Any) -> str:
    """Text that is harmless in Markdown, in a cell of a table, and in HTML."""
    return escape(" ".join(str(text).split()), quote=False).replace("|", "&#124;")


def table(rows: list[list[str]]) -> str:
    """Rows, the first of them the head, in Markdown."""
    lines = ["| " + " | ".join(map(clean, row)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def items(pairs: list[tuple[str, str]]) -> str:
    """A Markdown list of things and what there is to say of them."""
    return "\n".join(f"- **{clean(name)}** {clean(text)}" for name, text in pairs)


STYLE = """
:root { color-scheme: light dark; --ink: #1d2129; --soft: #5c6470; --rule: #e3e6ea; --card: #f5f6f8;
  --page: #fff; --now: #0072b2; --then: #c44e00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6ea; --soft: #a2a9b4; --rule: #31363f;
  --card: #1f232a; --page: #15181d; --now: #6cb8e6; --then: #f0965a; } }
body { margin: 0; background: var(--page); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 56px 24px 80px; }
h1 { font-size: 2.1rem; line-height: 1.2; letter-spacing: -.02em; margin: 0 0 .5em; }
h2 { font-size: 1.35rem; margin: 0 0 .7em; letter-spacing: -.01em; }
h3 { font-size: 1rem; margin: 1.8em 0 .6em; }
p, li { max-width: 46rem; }
h1 + p { font-size: 1.25rem; line-height: 1.5; margin: 0; }
h1 + p + p, small { color: var(--soft); font-size: .88em; }
small { white-space: nowrap; }
section { margin-top: 3.2rem; padding-top: 2rem; border-top: 1px solid var(--rule); }
ul { padding: 0; margin: 1em 0; list-style: none; }
li { margin: .6em 0; }
li, td { font-variant-numeric: tabular-nums; }
.wide, figure, pre { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; line-height: 1.35; }
th, td { text-align: left; vertical-align: top; padding: .5em 1em .5em 0; white-space: nowrap;
  border-bottom: 1px solid var(--rule); }
th { color: var(--soft); font-weight: 500; white-space: normal; vertical-align: bottom; }
figure { margin: 1rem 0; padding: 16px; background: #fff; border: 1px solid var(--rule);
  border-radius: 12px; }
figure svg { display: block; width: 100%; height: auto; margin: 0 auto; }
figure svg text { font-family: inherit !important; }
pre { background: var(--card); border-radius: 12px; padding: 16px; font-size: .82rem; }
.now { color: var(--now); font-weight: 600; }
.then { color: var(--then); font-weight: 600; }
#key-figures ul { display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); }
#key-figures li { background: var(--card); border-radius: 12px; padding: 20px; margin: 0; }
#key-figures strong { display: block; font-size: 2.3rem; line-height: 1.2; letter-spacing: -.02em; }
#key-figures small, td small { display: block; }
#glossary li { display: grid; grid-template-columns: 10rem 1fr;
  max-width: 56rem; }
@media (max-width: 640px) { main { padding: 32px 16px; }
  #glossary li { display: block; } }
""".strip()


def page(title: str, blocks: list[str]) -> str:
    """Markdown blocks, and <svg> and <div> elements among them, as one HTML file that needs no
    other."""
    body, section = [], False
    for block in blocks:
        if block.startswith("## "):
            name = block[3:].lower().replace(" ", "-")
            body.append("</section>\n" * section + f'<section id="{name}">')
            section = True
        body.append(html_of(block))
    head = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n<main>",
    ]
    return "\n".join([*head, *body, "</section>\n" * section + "</main>\n</body>\n</html>\n"])


def html_of(block: str) -> str:
    """One block. Its text is escaped already, but for code."""
    if block.startswith("<svg"):
        return f"<figure>{block}</figure>"
    if block.startswith("<div"):
        return block
    if block.startswith("```"):
        return f"<pre>{escape(block.strip('`').strip())}</pre>"
    if block.startswith("- "):
        lines = re.findall(r"(?m)^- (?:\*\*(.*?)\*\* )?(.*)$", block)
        named = ((f"<strong>{toned(a)}</strong> " if a else "", toned(b)) for a, b in lines)
        rows = (f"<li>{name}<span>{text}</span></li>" for name, text in named)
        return "<ul>\n" + "\n".join(rows) + "\n</ul>"
    if block.startswith("| "):
        head, _, *rows = (line[2:-2].split(" | ") for line in block.split("\n"))
        top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
        body = "\n".join(f"<tr>{''.join(map(cell_of, row))}</tr>" for row in rows)
        table = f"<table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        return f'<div class="wide">{table}</div>'
    level = len(block) - len(block.lstrip("#"))
    return f"<h{level}>{block[level:].strip()}</h{level}>" if level else f"<p>{block}</p>"


def cell_of(text: str) -> str:
    """A cell; "now" and "then" have the colors of Self and of Orig."""
    tone = f' class="{text}"' if text in ("now", "then") else ""
    return f"<td{tone}>{toned(text)}</td>"


def toned(text: str) -> str:
    """The text with its intervals set small and its verdicts in color."""
    small = re.sub(r"(\[[-+.\d]+, [-+.\d]+\](?: \(n = \d+\))?)", r"<small>\1</small>", text)
    return re.sub(
        r"(?<=: )(coupling|reversed)\b",
        lambda word: f'<span class="{"now" if word[1] == "coupling" else "then"}">{word[1]}</span>',
        small,
    )
