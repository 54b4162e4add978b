"""The shape of the code: who may import whom, how long things are, what is never written."""

import ast
import re
import subprocess
import sys

import pytest

from lthnb.config import ROOT

LAYERS = [
    {"config", "hosts"},
    {"parameters", "store", "masks", "operations", "models", "folders"},
    {"augment", "data", "glyphs", "record", "tickets"},
    {"sets", "checkpoints", "step", "stats", "measures", "profiles"},
    {"train", "tables", "scoreboard"},
    {"imp"},
    {"costs", "plans"},
    {"running"},
    {"layers"},
    {"experiments"},
    {"figures", "sweep", "verify"},
    {"__main__"},
]
MODULES = {
    path.stem: ast.parse(path.read_text())
    for path in (ROOT / "lthnb").glob("*.py")
    if path.stem != "__init__"
}


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "lthnb":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lthnb."):
            yield node.module.split(".")[1]


def test_every_module_has_a_layer_and_imports_point_down():
    level = {name: index for index, names in enumerate(LAYERS) for name in names}

    assert level.keys() == MODULES.keys()
    for name, tree in MODULES.items():
        for other in imports(tree):
            assert level[other] < level[name], f"{name} imports {other}"


def code(path):
    """Lines of a module that are code: no blank ones, no comments, no docstrings."""
    tree, said = ast.parse(path.read_text()), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            said |= {*range(node.body[0].lineno, node.body[0].end_lineno + 1)}
    lines = enumerate(path.read_text().splitlines(), 1)
    return sum(bool(line.strip()) and i not in said and line.strip()[0] != "#" for i, line in lines)


def test_the_package_stays_small():
    paths = {path.stem: path for path in (ROOT / "lthnb").glob("*.py")}

    assert sum(map(code, paths.values())) < 3500
    assert max(len(path.read_text().splitlines()) for path in paths.values()) <= 280
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno <= 50, f"{name}.{node.name} is long"


def test_parameters_and_figures_never_load_torch():
    code = "import sys; from lthnb import parameters, hosts, figures; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


FORBIDDEN = {
    "torch.load": r"\btorch\.load\b",
    "pickle": r"\bpickle\b",
    "allow_pickle": r"allow_pickle=True",
    "extraction": r"extractall|unpack_archive",
    "evaluation": r"(?<![.\w])(eval|exec)\(",
    "shell": r"shell=True",
    "global draws": r"np\.random\.(?!default_rng)|torch\.manual_seed|(?<![.\w])random\.(random|seed)\(",
    "star import": r"import \*",
    "absolute path": r"[\"']/(home|root|work|tmp|Users)\b",
    "plain write": r"open\([^)]*[\"']w|write_text|torch\.save",
}


def offences(text):
    return [name for name, pattern in FORBIDDEN.items() if re.search(pattern, text)]


def test_nothing_forbidden_stands_in_code_or_notebooks():
    for path in [*(ROOT / "lthnb").glob("*.py"), *(ROOT / "notebooks").glob("*.ipynb")]:
        writes = ["plain write"] if path.stem == "store" else []  # the one module that may
        assert offences(path.read_text()) == writes, path


@pytest.mark.parametrize(
    "planted",
    [
        "torch.load(path)", "import pickle", "np.load(f, allow_pickle=True)", "tar.extractall()",
        "eval(text)", "run(cmd, shell=True)", "np.random.rand(3)", "from lthnb import *", "'/home/me/data'",
        "open(path, 'w')",
    ],
)  # fmt: skip
def test_every_rule_catches_a_planted_offence(planted):
    assert offences(planted)


def test_public_functions_say_what_they_do():
    for name, tree in MODULES.items():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and len(node.body) > 3:
                assert ast.get_docstring(node), f"{name}.{node.name}"
