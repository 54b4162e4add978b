"""From the name of a data set to its images: the only resolver."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch

from lthnb.config import DataMissing, bare_name, host
from lthnb.images.dataset import DataError, Source, arrays
from lthnb.images.folder import folder
from lthnb.images.glyphs import glyphs
from lthnb.images.places import DATASET, at_hand, data_root, demand, find
from lthnb.images.torchvision_sets import cifar, download, fashion_mnist

ROLES = {  # what a finding needs -> the names of sets that serve, the best first
    "original_pixels": ("cifar10", "cifar10_exact"),
    "whole_set": ("cifar10", "cifar10_jpeg"),
    "cifar100": ("cifar100", "cifar100_exact"),
    "eurosat": ("eurosat",),
    "any": (),
}


def open_source(dataset: str, root: str = "") -> Source:
    """Open a data set by its name, ``auto`` or ``folder:PATH``.

    ``auto`` is CIFAR-10, which one download is tried for where it is not under the data root.

    Raises:
        ParameterError: no set has that name.
        DataMissing: the set is not there; says where it was looked for and how to get it.
        DataError: what is there is damaged or no data set; names the file or class.
    """
    DATASET.check("dataset", dataset)
    if dataset.startswith("folder:"):
        return folder(find(dataset.removeprefix("folder:"), root))
    known = KNOWN[dataset]
    if not known.readable:
        raise DataMissing(f"{dataset} needs {known.package}: pip install {known.package}")
    return known.open(dataset, known.stem, root)


def serving(role: str, dataset: str, root: str) -> str:
    """The data set to open for a role: what is asked for, else the best under the data root.

    Where there is none it is the set whose opening says what is missing.
    """
    if dataset != "auto":
        return dataset
    for name in ROLES[role]:
        known = KNOWN.get(name)
        file = at_hand(known.stem if known else name, root)
        if file and not known:
            return f"folder:{file}"
        if file and known.readable:
            return name
    return role if role in KNOWN else "auto"


def by_record(name: str, root: str) -> str:
    """How to open the set that a record names, ``cifar10`` or ``folder:STEM@HASH8``.

    Raises:
        DataMissing: nothing of that name is under the data root.
    """
    stem = bare_name(name)
    return name if stem == name else f"folder:{demand(stem, root)}"


def _auto(_name: str, _stem: str, root: str) -> Source:
    stem = KNOWN["cifar10"].stem
    failure = "no download is tried here"
    if not (at_hand(stem, root) or host() == "book"):
        failure = download("CIFAR10", stem, data_root(root))
    try:  # it may have come meanwhile, by this download or by another process
        return open_source("cifar10", root)
    except DataMissing as error:
        raise DataMissing(f"{error}; {failure}") from error


def _digits(name: str, _stem: str, _root: str) -> Source:
    """Handwritten digits of scikit-learn's wheel, 8x8 grey; every third of a class is a test image."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * 255 / 16).astype(np.uint8)  # stored as 0 ... 16
    images = torch.from_numpy(pixels).unsqueeze(1)
    labels = torch.from_numpy(bunch.target).long()
    test = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(10):
        rows = (labels == label).nonzero().flatten()
        test[rows[2::3]] = True
    return arrays(
        name,
        {"train": images[~test], "test": images[test]},
        {"train": labels[~test], "test": labels[test]},
        tuple("0123456789"),
    )


def _few_shot(name: str, stem: str, root: str) -> Source:
    """EuroSAT or ISIC with the published lists of training, validation and test images."""
    file = demand(stem, root)
    source = folder(data_root(root) / file)
    if source.published is None:
        raise DataError(f"{file} has no splits/train*.txt and splits/val*.txt")
    return dataclasses.replace(source, info=dataclasses.replace(source.info, name=name))


@dataclass(frozen=True)
class KnownSet:
    """How a data set known by name is found and opened."""

    open: Callable[[str, str, str], Source]  # (name, stem, data root) -> images
    stem: str = ""  # of its folder or archive under the data root; empty: it needs none
    package: str = ""  # without which it cannot be read

    @property
    def readable(self) -> bool:
        """Whether its package is installed."""
        return not self.package or find_spec(self.package) is not None


KNOWN = {
    "auto": KnownSet(_auto),
    "glyphs": KnownSet(lambda *_: glyphs()),
    "digits": KnownSet(_digits),
    "cifar10": KnownSet(cifar, "cifar-10-batches-py", "torchvision"),
    "cifar100": KnownSet(cifar, "cifar-100-python", "torchvision"),
    "fashion_mnist": KnownSet(fashion_mnist, "FashionMNIST/raw", "torchvision"),
    "eurosat": KnownSet(_few_shot, "eurosat_rgb"),  # with published split lists, as isic
    "isic": KnownSet(_few_shot, "isic2018_224"),
}
