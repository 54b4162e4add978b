"""Where data sets lie on a disk. Nothing here loads torch, so that a page can check its parameters first."""

import os
import re
from pathlib import Path

from lthnb.config import ROOT, DataMissing
from lthnb.rules import Rule

DATASETS = ("auto", "glyphs", "digits", "cifar10", "cifar100", "fashion_mnist", "eurosat", "isic")
ARCHIVES = ("", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")  # after a data set's name

KNOWN_OR_FOLDER = re.compile("|".join([*DATASETS, "folder:.+"])).fullmatch
DATASET = Rule(
    str, f"one of {', '.join(DATASETS)} or folder:PATH", KNOWN_OR_FOLDER, choices=(*DATASETS, "folder:")
)


def data_root(root: str = "") -> Path:
    """Where data sets lie: ``root``, else ``LTHNB_DATA``, else data/ in the repository."""
    chosen = root or os.environ.get("LTHNB_DATA") or "data"
    return ROOT / Path(chosen).expanduser()


def find(path: str, root: str = "") -> Path:
    """Look for ``path`` under the data root (or ``LTHNB_DATA``, or data/), then in the repository.

    Raises:
        DataMissing: it is in neither of them; names both.
    """
    asked = Path(path).expanduser()
    for parent in (data_root(root), ROOT):
        candidate = parent / asked  # an absolute path stands for itself
        if candidate.exists():
            return candidate
    raise DataMissing(f"{path} was found neither under the data root {data_root(root)} nor under {ROOT}")


def at_hand(stem: str, root: str) -> str | None:
    """The name of a folder or archive ``stem`` under the data root, if there is one."""
    names = (stem + suffix for suffix in ARCHIVES)
    return next((name for name in names if (data_root(root) / name).exists()), None)


def demand(stem: str, root: str) -> str:
    """The same; raise ``DataMissing`` if there is none."""
    if file := at_hand(stem, root):
        return file
    raise DataMissing(
        f"neither a folder nor a tar archive {stem} is under {data_root(root)}; it holds train/CLASS/*, "
        "test/CLASS/* and, where they are published, the lists splits/train*.txt, val*.txt, test*.txt"
    )
