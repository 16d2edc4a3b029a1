"""The house stays one that you would want to live in: which room may open into which."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = [  # a module may import from earlier layers only
    {"attribution", "fields", "glossary", "losses", "metrics", "packing", "page", "stats"}
    | {"streams"},
    {"counterfactual", "frequency", "groups", "matrix", "record", "summary", "tokenizer"},
    {"config"},
    {"calibration", "checkpoint", "model", "tasks.pairs", "tasks.world", "terminal"},
    {"adapters", "channels", "optim", "score", "tasks.hint", "tasks.refusal", "tasks.rules"},
    {"interview", "quantities", "tasks.jabberwocky", "tasks.verdict"},
    {"tasks"},
    {"worlds"},
    {"claim", "experiments", "objections", "parts"},
    {"claims", "patching", "pretrain", "probes"},
    {"labels"},
    {"measure"},
    {"controls", "loading"},
    {"cotrain"},
    {"bench", "cli", "figures", "recovery", "study"},
    {"lab", "report"},
    {"publish"},
]
FREE_OF_TORCH = {"cli", "config", "experiments", "fields", "groups", "matrix", "metrics", "record"}
FREE_OF_TORCH |= {"calibration", "page", "quantities", "score", "stats", "streams", "summary"}
FREE_OF_TORCH |= {"claim", "claims", "objections", "terminal", "tokenizer", "worlds"}
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


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_earlier_layers_only(module):
    depth = next(i for i, layer in enumerate(LAYERS) if module in layer)
    assert within_project(FILES[module]) <= set().union(*LAYERS[:depth])


def test_every_layer_lists_modules_that_exist():
    assert set().union(*LAYERS) == set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_the_core_needs_four_packages(module):
    outside = {name.split(".")[0] for name in imported(FILES[module])}
    standard = {"torch", "numpy", "tiktoken", "tqdm", "introspect"}
    extra = outside - standard - set(sys.stdlib_module_names)
    assert extra <= ({"matplotlib"} if module == "figures" else set())


@pytest.mark.parametrize("module", sorted(FREE_OF_TORCH))
def test_what_help_needs_does_not_import_torch_at_its_top(module):
    tree = ast.parse(FILES[module].read_text())
    top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {alias.name for node in top for alias in node.names}
    names |= {node.module for node in top if isinstance(node, ast.ImportFrom)}
    assert "torch" not in {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", [*FILES.values(), *SCRIPTS], ids=lambda p: p.stem)
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
