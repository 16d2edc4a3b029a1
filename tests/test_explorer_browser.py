"""The map in a real browser, which reaches no network: what it shows is what the runs measured."""

import json
import shutil
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from introspect.reading import read_lines
from introspect.report.explorer import SIDES, draw_map
from introspect.report.html import page
from tests.test_explorer import ARMS, SMALL, STUDY, data_of, make_arms, parts_of, task_of

pytestmark = pytest.mark.browser
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
 --disable-background-networking --disable-component-update --window-size=1280,900
 --host-resolver-rules=MAP\t*\t~NOTFOUND --proxy-server=127.0.0.1:9"""
NAMES = SMALL | {"knowledge": "names"}


@pytest.fixture(scope="module")
def browser():
    selenium = pytest.importorskip("selenium.webdriver")
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        pytest.skip("needs chromium and chromedriver")
    options = selenium.ChromeOptions()
    options.binary_location = programs[0]
    for flag in FLAGS.split():
        options.add_argument(flag.replace("\t", " "))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = selenium.Chrome(options, selenium.ChromeService(programs[1]))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two studies, of pairs of names and of single names, with their pages and data."""
    found = {}
    for name, fields in (("grid", SMALL), ("list", NAMES)):
        out = tmp_path_factory.mktemp(name)
        arms = make_arms(out, fields, ARMS if name == "grid" else ARMS[:1])
        blocks = ["# A study", "A question.", *draw_map(STUDY | {"overrides": fields}, arms)]
        (out / "report.html").write_text(page("A study", blocks), encoding="utf-8")
        given = {"runs": arms, "data": data_of(blocks[2:]), "task": task_of(fields)}
        found[name] = SimpleNamespace(url=(out / "report.html").as_uri(), **given)
    return found


@pytest.fixture(params=["grid"])
def shown(request, browser, made):
    """A page, opened anew, and how to work it."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    browser.get_log("performance"), browser.get_log("browser")
    browser.get(made[request.param].url)
    it = SimpleNamespace(**vars(made[request.param]), browser=browser, Keys=Keys)
    it.find = lambda name: browser.find_element(By.ID, f"map-{name}")
    it.all = lambda css: browser.find_elements(By.CSS_SELECTOR, f".map {css}")
    it.text = lambda name: it.find(name).get_property("textContent").strip()
    it.set = lambda name, value: Select(it.find(name)).select_by_value(str(value))
    it.run = browser.execute_script
    for _ in range(100):
        if it.all(".chosen"):
            return it
    raise AssertionError(browser.get_log("browser"))


def go(it, step):
    """Move the slider to this evaluation."""
    it.run("const s = document.getElementById('map-step'); s.value = arguments[0];"
           "s.dispatchEvent(new Event('input'))", step)


def cells(it, arm):
    """The classes of every cell of an arm."""
    return it.run("return [...document.querySelectorAll('.map-cells')[arguments[0]].children]"
                  ".map(cell => cell.className)", arm)


def test_it_says_nothing_to_the_console_and_asks_for_no_other_file(shown):
    shown.find("play").click()
    assert shown.browser.get_log("browser") == []
    events = [json.loads(e["message"])["message"] for e in shown.browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events
             if e["method"] == "Network.requestWillBeSent"]
    assert shown.url in asked and all(url.startswith(("file:", "data:")) for url in asked)


def test_it_begins_with_an_item_that_moved_to_the_side_of_now(shown):
    world = shown.task.world
    _, said, current, sides = parts_of(shown.data, shown.task, 0, -1)
    held_out = np.isin(np.arange(36), world.subjects("held_out"))
    fact, cue = (int(shown.run("return document.querySelector('.chosen').id").split("-")[2]),
                 int(shown.find("cue").get_property("value")))
    assert held_out[fact] and SIDES[sides[fact, cue]] == "now"
    assert shown.text("at") == "24" and "reg of seed 0, update 24 · held out" in shown.text("where")
    assert "label moved" in shown.text("where")
    words = world.explanation(current[fact, cue])
    assert shown.text("said").startswith(f"{words} (") and shown.text("now") == words
    assert shown.text("then") != words
    assert shown.text("why").startswith(f"Counts for Self alone: “{words}” is true of the model")


ALL_ITEMS = """const find = (name) => document.getElementById("map-" + name), told = [];
for (const { value } of [...find("cue").options]) {
  find("cue").value = value;
  find("cue").dispatchEvent(new Event("change"));
  for (const fact of arguments[0]) {
    find("1-" + fact).click();
    const text = (name) => find(name).textContent.trim();
    told.push([text("prompt"), find("prompt").querySelector("mark").textContent, text("said"),
               text("now"), text("then"), find("why").className, text("answers")]);
  }
}
return told;"""


def test_every_held_out_item_has_the_words_of_its_line(shown):
    world, [run] = shown.task.world, shown.runs["noreg"]
    lines = {line["item"]: line for line in read_lines(run.folder / "items.jsonl", {})}
    facts, counts = world.subjects("held_out").tolist(), Counter()
    told = iter(shown.run(ALL_ITEMS, facts))
    for cue, (x, y) in enumerate(world.pairs):
        for fact in facts:
            prompt, marked, said, now, then, side, answers = next(told)
            line = lines[f"{prompt} - {marked}"]
            assert (prompt, marked) == (world.text(fact, x), world.cues[cue])
            words = [line[key] for key in ("explanation", "current", "original")]
            assert [said.split(" (")[0], now, then] == words
            true, was = words[0] == words[1], words[0] == words[2]
            assert {"now": true and not was, "then": was and not true,
                    "neither": not (true or was)}.get(side, true and was)
            assert f"“{world.text(fact, y)}”" in answers
            counts[side] += 1
    assert len(counts) > 2 and sum(counts.values()) == run.result["n_items"]


def test_the_bars_are_the_probabilities_and_the_likeliest_answer_is_bold(shown):
    rows = shown.all(".map-bar")
    assert len(rows) == 8
    for four in (rows[:4], rows[4:]):
        shares = [row.find_element("tag name", "small").text.split(" ") for row in four]
        for which in (0, 2):
            assert abs(sum(int(words[which]) for words in shares) - 100) <= 2
        likeliest = ["likeliest" in row.get_attribute("class") for row in four]
        best = max(range(4), key=lambda i: int(shares[i][2]))
        assert likeliest == [i == best for i in range(4)]
    width = [bar.size["width"] for bar in shown.all(".map-bar i.now")]
    assert max(width) > 3 * min(width)


def test_at_every_evaluation_it_shows_what_was_measured_then(shown):
    heads = set()
    for number, step in enumerate(shown.data["steps"]):
        go(shown, number)
        assert shown.text("at") == str(step)
        for arm, head in zip(ARMS, shown.all(".map-head")):
            row = read_lines(shown.runs[arm][0].folder / "metrics.jsonl", {})[number]
            numbers = f"Self {row['self']:.3f}, Orig {row['orig']:.3f}, gap {row['gap']:+.3f}"
            assert head.text.startswith(arm) and numbers in head.text
            heads.add(numbers)
    assert len(heads) > 3


def test_filters_leave_what_they_name(shown):
    shown.set("cue", 2)
    _, said, current, sides = parts_of(shown.data, shown.task, 1, -1)
    world = shown.task.world
    of = {"split": world.explained == 0, "sure": world.ideal[:, 0].max(-1) >= 0.6}
    then = shown.data["arms"][1]["then"][0]
    original = parts_of(shown.data | {"arms": [{"moments": [[then]]}]}, shown.task, 0, 0)[1]
    of |= {"moved": (current != original)[:, 2]}
    assert all(0 < part.sum() < 36 for part in of.values())
    for name, part in of.items():
        for value in (1, 0):
            shown.set(name, value)
            assert ["off" not in c for c in cells(shown, 1)] == (part == value).tolist()
        shown.run(f"document.getElementById('map-{name}').value = ''")
    counts = Counter()
    for side in SIDES:
        shown.set("side", side)
        left = [c for c in cells(shown, 1) if "off" not in c]
        assert {c.split()[0] for c in left} <= {side}
        counts[side] = len(left)
        legend = shown.all(".map-legend")[1].text
        assert f" {len(left)}" in legend.split("\n")[SIDES.index(side)]
    assert +counts == Counter(SIDES[i] for i in sides[:, 2]) and len(+counts) > 2


def test_keys_move_over_what_is_shown_and_the_focus_is_seen_and_said(shown):
    shown.set("split", "")
    box = shown.all(".map-cells")[1]
    shown.run("document.querySelectorAll('.map-cells')[1].focus({ focusVisible: true })")
    assert shown.run("return getComputedStyle(arguments[0]).outlineStyle", box) == "solid"
    keys, spoken = shown.Keys, set()
    columns, expected = 6, 0
    for key, by in ((keys.HOME, 0), (keys.ARROW_RIGHT, 1), (keys.ARROW_DOWN, columns),
                    (keys.ARROW_LEFT, -1), (keys.ARROW_UP, -columns), (keys.ARROW_UP, 0)):
        box.send_keys(key)
        expected += by
        assert box.get_attribute("aria-activedescendant") == f"map-1-{expected}"
        assert "chosen" in cells(shown, 0)[expected] and "chosen" in cells(shown, 1)[expected]
        prompt = shown.task.world.text(expected, shown.task.world.pairs[0][0])[:-1]
        live = shown.text("live")
        assert live.startswith(prompt) and "Counts for" in live
        assert "noreg of seed 0, update 24" in live
        assert shown.find("live").get_attribute("aria-live") == "polite"
        spoken.add(live)
    assert len(spoken) > 3
    shown.set("split", 1)
    first, second, *_, before, last = shown.task.world.subjects("held_out")
    for key, fact in ((keys.HOME, first), (keys.ARROW_RIGHT, second), (keys.END, last),
                      (keys.ARROW_LEFT, before)):
        box.send_keys(key)
        assert box.get_attribute("aria-activedescendant") == f"map-1-{fact}"


def test_play_runs_from_the_first_to_the_last_evaluation(shown):
    button, seen = shown.find("play"), []
    button.click()
    for _ in range(2000):
        if (at := shown.text("at")) not in seen:
            seen.append(at)
        if button.text == "Play":
            break
    assert seen == ["0", "8", "16", "24"] and button.get_attribute("aria-pressed") == "false"


@pytest.mark.parametrize("shown", ["list"], indirect=True)
def test_facts_about_single_names_are_a_list_that_shows_what_passes(shown):
    world = shown.task.world
    rows = shown.all(".map-list > div")
    cue = int(shown.find("cue").get_property("value"))
    expected = [world.text(n, world.pairs[cue][0]) for n in range(36)]
    assert [row.get_property("textContent") for row in rows] == expected
    shown.set("split", 1)
    assert [row.is_displayed() for row in rows] == (~world.explained).tolist()
    box = shown.all(".map-cells")[0]
    first, second, *_ = world.subjects("held_out")
    box.send_keys(shown.Keys.HOME, shown.Keys.ARROW_DOWN)
    assert box.get_attribute("aria-activedescendant") == f"map-0-{second}"
    assert shown.text("prompt") == expected[second] and shown.browser.get_log("browser") == []


def emulate(it, width=1280, media="screen", scheme="light"):
    it.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600})
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    it.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})


@pytest.mark.parametrize("shown", ["grid", "list"], indirect=True)
def test_phones_the_dark_and_paper_are_provided_for(shown):
    def style(css, name):
        return shown.run("return getComputedStyle(document.querySelector(arguments[0]))"
                         ".getPropertyValue(arguments[1])", css, name)

    emulate(shown)
    light = style("body", "background-color"), style(".map .neither", "--side")
    emulate(shown, scheme="dark")
    dark = style("body", "background-color"), style(".map .neither", "--side")
    assert light[0] != dark[0] and light[1] != dark[1]
    emulate(shown, width=390)
    wide = shown.run("return document.scrollingElement.scrollWidth")
    assert wide <= 390 and style("#map-fact", "position") == "sticky"
    assert len({box.rect["x"] for box in shown.all(".map-arm")}) == 1  # one below the other
    emulate(shown, media="print")
    assert style(".map-controls", "display") == "none"
    assert style(".map-cells > div", "print-color-adjust") == "exact"
    emulate(shown)
    assert len({box.rect["y"] for box in shown.all(".map-arm")}) == 1  # side by side
