"""A page's parameters, checked before torch is imported, and the progress a page shows."""

import ast
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lthnb import config
from lthnb.config import ROOT, DataMissing, ParameterError, Rule, did_you_mean, one_of, whole

DATASETS = tuple("auto glyphs digits cifar10 cifar100 fashion_mnist eurosat isic".split())  # and folder:PATH
SHARED = {"profile", "seeds", "train", "device", "runs"}  # parameters of every page


def _names_data(value: str) -> bool:
    return value in DATASETS or (value.startswith("folder:") and value != "folder:")


def _counts_images(value: float) -> bool:
    return 0 < value <= 1 or (value == int(value) and 1 < value <= 10**8)


PAGE_RULES = config.RULES | {
    "dataset": Rule(str, f"one of {', '.join(DATASETS)} or folder:PATH", _names_data, (*DATASETS, "folder:")),
    "fraction": Rule(float, "a share in (0, 1] or a whole number of images above 1", _counts_images),
    "profile": one_of("auto", "smoke", "demo", "paper"),
    "device": one_of("auto", "cpu", "cuda"),
    "precision": one_of("auto", "bf16", "fp32"),
    "seeds": whole(1, 1000),
    "train": Rule(bool, "True or False", choices=("True", "False")),
    "runs": Rule(str, "a folder's path, or empty"),
    "data_root": Rule(str, "a folder's path, or empty"),
}


def data_root(root: str = "") -> Path:
    """Where data sets lie: ``root``, else ``LTHNB_DATA``, else data/ in the repository."""
    return ROOT / Path(root or os.environ.get("LTHNB_DATA") or "data").expanduser()


def find(path: str, root: str = "") -> Path:
    """Look for ``path`` under the data root (or ``LTHNB_DATA``, or data/), then in the repository.

    Raises:
        DataMissing: it is in neither place; names both.
    """
    place = data_root(root)
    asked = Path(path).expanduser()
    for found in (place / asked, ROOT / asked):  # an absolute path stands for itself
        if found.exists():
            return found
    raise DataMissing(f"{path} was found neither under the data root {place} nor under {ROOT}")


def host() -> str:
    """Who started this kernel: ``papermill``, ``book``, or nobody known (JupyterLab, a test)."""
    return os.environ.get("LTHNB_HOST", "")


def assigned(cell: str) -> dict[str, Any]:
    """Names assigned at the top of a cell, each with its literal or, for an expression, ``...``."""
    try:
        body = ast.parse(cell).body
    except SyntaxError:  # a cell of magics
        return {}
    found: dict[str, Any] = {}
    for node in body:
        target = node.target if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [None])[0]
        if isinstance(target, ast.Name) and isinstance(node, ast.Assign | ast.AnnAssign):
            found[target.id] = node.value.value if isinstance(node.value, ast.Constant) else ...
    return found


def check(namespace: dict[str, Any]) -> SimpleNamespace:
    """Check the parameters of the notebook whose ``globals()`` are given; return them by name.

    The page's own cell is the one last run that assigns all ``SHARED`` names; what papermill injects follows
    it and begins with ``# Parameters``. Parameters that a profile decides may be None.

    Raises:
        ParameterError: an unknown name, a wrong type, a value out of range; with what is allowed.
        DataMissing: the folder or archive of ``dataset`` is not there.
    """
    history = [(cell.startswith("# Parameters"), assigned(cell)) for cell in namespace["In"]]
    places = [i for i, (injected, names) in enumerate(history) if names.keys() >= SHARED and not injected]
    declared = history[places[-1]][1]
    cells = [declared, *(names for injected, names in history[places[-1] :] if injected)]
    known = [name for name in declared if name in PAGE_RULES]
    for name in [name for cell in cells for name in cell]:
        if name not in known:
            hint = did_you_mean(name, known) or f"; this page knows {', '.join(known)}"
            raise ParameterError(f"{name} is not a parameter of this page, got {namespace.get(name)!r}{hint}")
    page = SimpleNamespace()
    for name in declared:
        value = namespace[name]
        undecided = value is None and name in config.RULES
        setattr(page, name, None if undecided else PAGE_RULES[name].check(name, value))
    page.given = {name: namespace[name] for name, value in declared.items() if namespace[name] != value}
    if page.dataset.startswith("folder:"):
        find(page.dataset.removeprefix("folder:"), page.data_root)
    profile = config.PROFILES["demo" if page.profile == "auto" else page.profile]
    config.RunConfig.of(**profile).replace(**overrides(page))  # combinations too
    if host() == "book":
        page.train, page.seeds = False, max(page.seeds, 6)
    return page


def overrides(page: SimpleNamespace) -> dict[str, Any]:
    """The parameters of a page that replace values of its profile."""
    return {name: value for name, value in vars(page).items() if name in config.RULES and value is not None}


class Progress:
    """Tell how far a job is and how long it will take: a bar in JupyterLab, sparse lines elsewhere."""

    def __init__(self, total: int, every: float = 10.0) -> None:
        self.total, self.every, self.done = total, every, 0
        self.began = self.shown = time.perf_counter()
        self.bar = _display() if not host() else None

    def advance(self, label: str) -> None:
        """Count one unit of work as done."""
        self.done += 1
        now = time.perf_counter()
        if now - self.shown >= (0.5 if self.bar else self.every) or self.done == self.total:
            self.shown = now
            left = clock((now - self.began) / self.done * (self.total - self.done))
            text = f"{label}: {self.done / self.total:.0%}, {left} left"
            if self.bar:
                filled = "█" * (40 * self.done // self.total)
                self.bar.update({"text/plain": f"{filled:░<40} {text}"}, raw=True)
            else:
                print(text, flush=True)


def clock(seconds: float) -> str:
    """Seconds as 1:23, or 2:05:00 from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def _display() -> Any:
    """A display that can be updated where a notebook runs, else None."""
    ipython = sys.modules.get("IPython")  # a notebook's kernel has loaded it
    if ipython is None or not hasattr(ipython.get_ipython(), "kernel"):
        return None
    from IPython.display import display

    return display({"text/plain": ""}, raw=True, display_id=True)
