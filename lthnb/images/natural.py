"""Natural shifts: test images of the same classes from another source; and CIFAR-10-C as published."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lthnb.config import DataMissing
from lthnb.images.dataset import DataError, Source, arrays
from lthnb.images.places import data_root
from lthnb.images.sources import open_source
from lthnb.rules import Rule, one_of

Classes = tuple[str, ...]

CIFAR10 = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())  # as they are numbered
GLYPHS = "glyphs-shifted"
# Repository of modestyachts on GitHub, then versions, the better first: file -> how many images. A .npz holds
# images and labels; of .npy there are two, with "data" and "labels" where the star is.
PUBLISHED = {
    "cifar10.1": (
        "CIFAR-10.1",
        {"cifar10.1_v6_*.npy": 2000},
        {"cifar10.1_v4_*.npy": 2021},
    ),
    "cifar10.2": (
        "cifar-10.2",
        {"cifar102_train.npz": 10_000, "cifar102_test.npz": 2000},
    ),
}
MOST = 10_000  # images read of one file: all there are, but of CIFAR-10-C those of one severity


@dataclass(frozen=True)
class Shift:
    """Test images of another source, under the classes of the set that was trained on."""

    name: str  # as a record tells it: cifar10.1, cifar10.2, glyphs-shifted or folder:STEM@HASH8
    images: Tensor  # (N, C, side, side) uint8
    labels: Tensor  # (N,) int64, numbers of the training set's classes
    sha256: str  # of the content, before a class map


def natural_shift(
    name: str,
    classes: Classes,
    *,
    side: int,
    channels: int = 3,
    class_map: dict[str, str] | None = None,
    root: str = "",
) -> Shift:
    """Open test images of another source, cut and resized to ``side`` pixels as any test images are.

    Args:
        name: ``cifar10.1`` (version 6, else 4), ``cifar10.2`` (both files), ``glyphs-shifted`` or the test
            images of ``folder:PATH``.
        classes: of the training set, in its order; ``channels`` are those of its images.
        class_map: class of the shifted set -> class of the training set, or "" to leave it out; empty or
            None: the class of the same name.

    Raises:
        ParameterError: no shift has that name, a class has no counterpart, the map names an unknown one.
        DataMissing: the files are not there; says where they were looked for and where to get them.
        DataError: a file is damaged, of another shape or missing beside another; channels differ.

    Source: Recht et al. (2018, 2019) for CIFAR-10.1, Lu et al. (2020) for CIFAR-10.2.
    """
    if name.startswith("folder:"):
        source = open_source(name, root)
        name = source.info.name
    else:
        one_of(*PUBLISHED, GLYPHS, "folder:PATH").check("shift", name)
        source = open_source("glyphs") if name == GLYPHS else _published(name, root)
    if source.info.channels != channels:
        raise DataError(f"images of {name} have {source.info.channels} channels, training images {channels}")
    split = "shifted" if name == GLYPHS else "test"
    labels = _counterparts(source.info.classes, classes, class_map)[source.labels[split]]
    rows = torch.where(labels >= 0)[0]
    return Shift(name, source.read(split, rows, side), labels[rows], source.info.sha256)


def official_corruptions(
    kind: str, severity: int, classes: Classes, root: str = ""
) -> tuple[Tensor, Tensor] | None:
    """CIFAR-10's test images under a corruption, as published in ``CIFAR-10-C/KIND.npy``.

    ``severity`` is 1 to 5; no other images are read.

    Returns:
        Images (10,000, 3, 32, 32) uint8 and labels (10,000,) int64, numbers of ``classes``; None where the
        data root has no folder CIFAR-10-C.

    Raises:
        ParameterError: ``classes`` lacks one of CIFAR-10's.
        DataError: a file is missing, damaged or of another shape; names it.

    Source: Hendrycks & Dietterich (2019).
    """
    folder = data_root(root) / "CIFAR-10-C"
    if not folder.is_dir():
        return None
    images, labels = _pair(folder, "*.npy", 5 * MOST, kind, MOST * (severity - 1))
    return images, _counterparts(CIFAR10, classes)[labels]


def _counterparts(shifted: Classes, classes: Classes, class_map: dict[str, str] | None = None) -> Tensor:
    """The number in the training set of each class of the shifted set, (K,) int64; -1: left out."""
    chosen = class_map or {label: label for label in shifted}
    for label in chosen:
        one_of(*shifted).check("a class that class_map names", label)
    targets = ("", *classes)
    rule = Rule(str, "one of the training set, or '' to leave it out", targets.__contains__, classes)
    named = [rule.check(f"class {label!r} of the shifted set", chosen.get(label)) for label in shifted]
    return torch.tensor([targets.index(label) - 1 for label in named])


def _published(name: str, root: str) -> Source:
    """The best version under the data root or in a clone of its repository there."""
    repository, *versions = PUBLISHED[name]
    folders = [data_root(root) / part for part in ("", repository, f"{repository}/datasets")]
    for version in versions:
        for folder in folders:
            if any(folder.glob(next(iter(version)))):
                pairs = [_pair(folder, *part) for part in version.items()]
                images, labels = map(torch.cat, zip(*pairs, strict=True))
                parts = {"train": images[:0], "test": images}
                return arrays(name, parts, {"train": labels[:0], "test": labels}, CIFAR10)
    raise DataMissing(
        f"{name}: {' or '.join(map(' and '.join, versions))} is in none of {', '.join(map(str, folders))}; "
        f"get it from github.com/modestyachts/{repository}"
    )


def _pair(folder: Path, file: str, number: int, data: str = "data", first: int = 0) -> tuple[Tensor, Tensor]:
    """Images (n, 3, 32, 32) uint8 and labels (n,) int64 as published, from row ``first`` on."""
    rows = slice(first, first + MOST)
    pixels = _array(folder / file.replace("*", data), "images", f"uint8 ({number}, 32, 32, 3)")[rows]
    path = folder / file.replace("*", "labels")
    labels = _array(path, "labels", f"({number},)")[rows].tolist()
    if strange := {*labels} - {*range(10)}:
        raise DataError(f"{path} has the label {min(strange)!r}, expected 0 to 9")
    return torch.tensor(pixels).permute(0, 3, 1, 2), torch.tensor(labels).long()


def _array(path: Path, key: str, expected: str) -> np.ndarray:
    """The array of a ``.npy``, mapped to memory, or one of a ``.npz``; nothing in it is ever run."""
    held = f"is missing or has no {key} that can be read"
    with suppress(Exception):  # whatever the reader raises, the file is at fault
        content = np.load(path, mmap_mode="r", allow_pickle=False)
        array = content[key] if path.suffix == ".npz" else content
        held = f"has {key} of {array.dtype} {array.shape}"
    if not held.endswith(expected):
        raise DataError(f"{path} {held}, expected {expected}")
    return array
