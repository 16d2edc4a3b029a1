"""The house stays one that you would want to live in: which room may open into which."""

import ast
import sys
from pathlib import Path

from tests.cases import each

ROOT = Path(__file__).parents[1]
WINGS = ["runs", "report", "analysis", "lab", "lesson"]  # each opens into those before it
FREE_OF_TORCH = {"config", "fields", "files", "stats", "streams", "tokenizer"}
FREE_OF_TORCH |= {"tasks.registry", "runs.experiment", "runs.build", "runs.cli", "runs.experiments"}
FREE_OF_TORCH |= {"runs.declared"}
FREE_OF_TORCH |= {"tasks.check", "runs.share", "reading", "forms", "files"}
FREE_OF_TORCH |= {"analysis.calibration"}
FREE_OF_TORCH |= {"tasks.own", "analysis.matrix", "analysis.splits", "analysis.values"}
FREE_OF_TORCH |= {"analysis.lines", "analysis.advice", "analysis.score"}
FREE_OF_TORCH |= {"report.html", "report.summary", "report.text", "report.words"}
FREE_OF_TORCH |= {"lab.claim", "lab.claims", "lab.headlines", "lab.objections", "lab.our_claims"}
FREE_OF_TORCH |= {"lab.quantities"}
OPTIONAL = {  # each is imported within a function, which does without where it is not there
    "report.agreement": {"matplotlib"},
    "report.dials": {"matplotlib"},
    "report.figures": {"matplotlib"},
    "analysis.bench_peers": {"captum", "transformers"},
}
FILES = {
    ".".join(p.relative_to(ROOT / "introspect").with_suffix("").parts).removesuffix(".__init__"): p
    for p in (ROOT / "introspect").rglob("*.py")
}
MODULES = sorted(FILES.keys() - {"__init__"})
SCRIPTS = [ROOT / "train.py", ROOT / "eval.py"]


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            known = {f"introspect.{m}" for m in MODULES} & submodules
            found |= known or {node.module}
    return found


def within_project(path: Path) -> set[str]:
    names = {n.removeprefix("introspect.") for n in imported(path) if n.startswith("introspect")}
    return names - {"introspect"}


def wing_of(module: str) -> int:
    """0 for the core, else the place of its wing."""
    room = module.split(".")[0]
    return WINGS.index(room) + 1 if room in WINGS else 0


def test_doors_lead_down_only():
    doors = [(module, other) for module in MODULES for other in within_project(FILES[module])]
    assert len(doors) > len(MODULES)
    assert [door for door in doors if wing_of(door[1]) > wing_of(door[0])] == []


def test_no_imports_run_in_a_circle():
    opened = {module: within_project(FILES[module]) for module in MODULES}
    while free := {module for module, others in opened.items() if not others & opened.keys()}:
        opened = {module: others for module, others in opened.items() if module not in free}
    assert not opened


@each("module", MODULES)
def test_the_core_needs_four_packages(module):
    outside = {name.split(".")[0] for name in imported(FILES[module])}
    standard = {"torch", "numpy", "tiktoken", "tqdm", "introspect"}
    extra = outside - standard - set(sys.stdlib_module_names)
    assert extra <= OPTIONAL.get(module, set())


@each("module", sorted(FREE_OF_TORCH))
def test_what_help_needs_does_not_import_torch_at_its_top(module):
    tree = ast.parse(FILES[module].read_text())
    top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {alias.name for node in top for alias in node.names}
    names |= {node.module for node in top if isinstance(node, ast.ImportFrom)}
    assert "torch" not in {name.split(".")[0] for name in names}


@each("path", [*FILES.values(), *SCRIPTS], str)
def test_files_are_short_and_unsafe_calls_absent(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    names = [ast.unparse(call.func) for call in calls]
    assert not {"exec", "eval", "os.system", "os.popen", "pickle.load", "pickle.loads"} & set(names)
    for call, name in zip(calls, names):
        if name == "torch.load":
            assert "weights_only=True" in ast.unparse(call)
    assert not {"pickle", "subprocess", "socket"} & imported(path)
