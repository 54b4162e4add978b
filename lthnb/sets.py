"""The data sets by name."""

import dataclasses
import gzip
import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lthnb.config import DataMissing
from lthnb.folders import DataError, Facts, Source, folder, square
from lthnb.glyphs import glyphs
from lthnb.parameters import data_root, find, host

TORCHVISION = {"cifar10": ("CIFAR10", "cifar-10-batches-py"), "cifar100": ("CIFAR100", "cifar-100-python")}
FEW_SHOT = {"eurosat": "eurosat_rgb", "isic": "isic2018_224"}  # folder or archive with published split lists
CONNECT, DOWNLOAD = 5, 180  # seconds
Parts = dict[str, Tensor]  # split -> images or labels
ARCHIVES = ("", ".tar", ".tar.gz", ".tar.xz")
ROLES = {  # what a finding needs -> the names of sets that serve, the best first
    "exact": ("cifar10", "cifar10_exact", "glyphs"),
    "complete": ("cifar10", "cifar10_jpeg", "glyphs"),
    "cifar100": ("cifar100", "cifar100_exact"),
    "eurosat": ("eurosat",),
    "any": ("glyphs",),
}


def bare(name: str) -> str:
    """What a set is called: ``cifar10``, or the stem of a record's ``folder:STEM@HASH8``."""
    return name.removeprefix("folder:").partition("@")[0]


def _at_hand(stem: str, root: str) -> str | None:
    """The name of a folder or archive ``stem`` under the data root, if there is one."""
    names = [stem + suffix for suffix in ARCHIVES]
    return next((name for name in names if (data_root(root) / name).exists()), None)


def place(role: str, dataset: str, root: str) -> str:
    """The data set to open for a role: what is asked for, else what is under the data root, else ``auto``."""
    if dataset != "auto":
        return dataset
    for name in ROLES[role]:
        if name in TORCHVISION and not find_spec("torchvision"):
            continue
        if found := _at_hand(FEW_SHOT.get(name) or TORCHVISION.get(name, ("", name))[1], root):
            return name if name in (*TORCHVISION, *FEW_SHOT) else f"folder:{found}"
    return "auto" if "glyphs" in ROLES[role] else role


def open_source(dataset: str, root: str = "") -> Source:
    """Open a data set by its name, ``auto`` or ``folder:PATH``.

    ``auto`` is CIFAR-10 where it lies under the data root or can be had by one download, else ``glyphs``.

    Raises:
        DataMissing: the set is not there; says where it was looked for and how to get it.
        DataError: what is there is damaged or no data set; names the file or class.
    """
    if dataset.startswith("folder:"):
        return folder(find(dataset.removeprefix("folder:"), root))
    if dataset in FEW_SHOT:
        return _few_shot(dataset, root)
    own = {"auto": _auto, "digits": _digits, "glyphs": lambda _: glyphs(), "fashion_mnist": _fashion_mnist}
    return own[dataset](root) if dataset in own else _cifar(dataset, root)


def known(name: str, root: str) -> str:
    """How to open the set that a record names, ``cifar10`` or ``folder:STEM@HASH8``.

    Raises:
        DataMissing: nothing of that name is under the data root.
    """
    if (stem := bare(name)) == name:
        return name
    found = _at_hand(stem, root)
    if found is None:
        raise DataMissing(f"neither a folder nor a tar archive {stem} is under {data_root(root)}")
    return f"folder:{found}"


def _auto(root: str) -> Source:
    try:
        return _cifar("cifar10", root)
    except DataMissing:
        offline = host() == "book" or os.environ.get("LTHNB_OFFLINE")
        reason = "no download is tried here" if offline else _download("cifar10", data_root(root))
    if reason:
        return glyphs(f"rendered digits, since CIFAR-10 is not under the data root and {reason}")
    return _cifar("cifar10", root)


def _download(name: str, root: Path) -> str:
    """Try one download within the limits; return what went wrong, or nothing."""
    kind, folder = TORCHVISION[name]
    try:
        from torchvision import datasets

        urllib.request.urlopen(getattr(datasets, kind).url, timeout=CONNECT).close()
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as target:
            code = f"import torchvision; torchvision.datasets.{kind}({target!r}, download=True)"
            subprocess.run([sys.executable, "-c", code], timeout=DOWNLOAD, check=True, capture_output=True)
            (Path(target) / folder).rename(root / folder)
    except (ImportError, OSError, subprocess.SubprocessError) as error:
        return f"it could not be downloaded ({type(error).__name__})"
    return ""


def _cifar(name: str, root: str) -> Source:
    """CIFAR-10 and CIFAR-100 as torchvision reads them, after it has checked their MD5."""
    kind, folder = TORCHVISION[name]
    place = _present(name, kind, folder, root)
    from torchvision import datasets

    try:
        parts = {split: getattr(datasets, kind)(place, train=split == "train") for split in ("train", "test")}
    except (RuntimeError, OSError) as error:
        raise DataError(f"{folder} is damaged: {error}; remove it and get it again") from error
    images = {split: torch.from_numpy(part.data).permute(0, 3, 1, 2) for split, part in parts.items()}
    labels = {split: torch.tensor(part.targets) for split, part in parts.items()}
    return arrays(name, images, labels, tuple(parts["train"].classes))


def _fashion_mnist(root: str) -> Source:
    """Fashion-MNIST from torchvision's four .gz files, after their MD5 has been checked."""
    place, images, labels = _present("fashion_mnist", "FashionMNIST", "FashionMNIST/raw", root), {}, {}
    from torchvision.datasets import FashionMNIST, utils

    for name, md5 in FashionMNIST.resources:
        file, split = f"FashionMNIST/raw/{name}", "train" if name.startswith("train") else "test"
        if not utils.check_integrity(place / file, md5):
            raise DataError(f"{file} is missing or damaged; remove the folder and get it again")
        raw = torch.frombuffer(bytearray(gzip.decompress((place / file).read_bytes())), dtype=torch.uint8)
        if "images" in name:
            images[split] = raw[16:].reshape(-1, 1, 28, 28)
        else:
            labels[split] = raw[8:].long()
    return arrays("fashion_mnist", images, labels, tuple(FashionMNIST.classes))


def _present(name: str, kind: str, folder: str, root: str) -> Path:
    if (data_root(root) / folder).exists():
        return data_root(root)
    code = f"import torchvision; torchvision.datasets.{kind}('data', download=True)"
    raise DataMissing(f'{name}: {folder} is not under {data_root(root)}; get it with: python -c "{code}"')


def _digits(root: str) -> Source:
    """Handwritten digits of scikit-learn's wheel, 8x8 grey; every third of a class is a test image."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = torch.from_numpy(np.rint(found.images * 255 / 16).astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(found.target).long()
    rank = torch.stack([labels == label for label in range(10)]).cumsum(1)[labels, torch.arange(len(labels))]
    parts = {"train": rank % 3 != 0, "test": rank % 3 == 0}
    images, labels = ({split: part[c] for split, c in parts.items()} for part in (images, labels))
    return arrays("digits", images, labels, tuple("0123456789"))


def _few_shot(name: str, root: str) -> Source:
    """EuroSAT or ISIC with the published lists of training, validation and test images."""
    stem = FEW_SHOT[name]
    if found := _at_hand(stem, root):
        source = folder(data_root(root) / found)
        if source.published is None:
            raise DataError(f"{found} has no splits/train*.txt and splits/val*.txt")
        return dataclasses.replace(source, facts=dataclasses.replace(source.facts, name=name))
    raise DataMissing(
        f"{name}: neither a folder nor a tar archive {stem} is under {data_root(root)}; "
        "it holds train/CLASS/*, test/CLASS/* and the published lists splits/train*.txt, val*.txt, test*.txt"
    )


def arrays(name: str, images: Parts, labels: Parts, classes: tuple[str, ...]) -> Source:
    """A source of images that lie in memory, (N, C, side, side) uint8 per split."""
    digest = hashlib.sha256()
    for split in ("train", "test"):
        digest.update(images[split].contiguous().numpy().tobytes() + labels[split].numpy().tobytes())
    _, channels, native, _ = images["train"].shape

    def read(split: str, indices: Tensor, side: int) -> Tensor:
        chosen = images[split][indices]
        if side == native:
            return chosen
        pixels = chosen.permute(0, 2, 3, 1).squeeze(3).numpy()  # Pillow's grey images have no channel axis
        small = np.array([np.asarray(square(Image.fromarray(each), side)) for each in pixels], np.uint8)
        return torch.from_numpy(small).reshape(len(indices), side, side, channels).permute(0, 3, 1, 2)

    pool = int(labels["train"].bincount().min()) * len(classes)
    return Source(Facts(name, digest.hexdigest(), classes, channels, native, pool), labels, read)
