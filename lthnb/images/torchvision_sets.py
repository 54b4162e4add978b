"""CIFAR and Fashion-MNIST in the files that torchvision knows, which are checked before they are believed."""

import gzip
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import torch

from lthnb.config import DataMissing
from lthnb.images.dataset import DataError, Source, arrays
from lthnb.images.places import data_root

CONNECT_SECONDS = 5
DOWNLOAD_SECONDS = 180


def cifar(name: str, folder: str, root: str) -> Source:
    """CIFAR-10 and CIFAR-100 as torchvision reads them, after it has checked their MD5."""
    kind = name.upper()  # what torchvision calls them
    parent = _present(name, kind, folder, root)
    from torchvision import datasets

    images = {}
    labels = {}
    for split in ("train", "test"):
        try:
            part = getattr(datasets, kind)(parent, train=split == "train")
        except (RuntimeError, OSError) as error:
            raise DataError(f"{folder} is damaged: {error}; remove it and get it again") from error
        images[split] = torch.from_numpy(part.data).permute(0, 3, 1, 2)
        labels[split] = torch.tensor(part.targets)
    return arrays(name, images, labels, tuple(part.classes))


def fashion_mnist(name: str, folder: str, root: str) -> Source:
    """Fashion-MNIST from torchvision's four .gz files, after their MD5 has been checked."""
    parent = _present(name, "FashionMNIST", folder, root)
    from torchvision.datasets import FashionMNIST, utils

    images = {}
    labels = {}
    for file, md5 in FashionMNIST.resources:
        path = parent / folder / file
        damaged = DataError(f"{folder}/{file} is missing or damaged; remove the folder and get it again")
        if not utils.check_integrity(path, md5):
            raise damaged
        split = "train" if file.startswith("train") else "test"
        try:
            content = bytearray(gzip.decompress(path.read_bytes()))
            values = torch.frombuffer(content, dtype=torch.uint8)
            if "images" in file:
                images[split] = values[16:].reshape(-1, 1, 28, 28)  # after a header of 16 bytes
            else:
                labels[split] = values[8:].long()
        except Exception as error:  # whatever cannot be unpacked, the file is at fault
            raise damaged from error
    return arrays(name, images, labels, tuple(FashionMNIST.classes))


def _present(name: str, kind: str, folder: str, root: str) -> Path:
    """The data root, if it has the folder."""
    parent = data_root(root)
    if (parent / folder).exists():
        return parent
    code = f"import torchvision; torchvision.datasets.{kind}('{parent}', download=True)"
    raise DataMissing(f'{name}: {folder} is not under {parent}; get it with: python -c "{code}"')


def download(kind: str, folder: str, root: Path) -> str:
    """Try one download within the limits, not with ``LTHNB_OFFLINE``; return what went wrong, or nothing."""
    if os.environ.get("LTHNB_OFFLINE"):
        return "no download is tried here, since LTHNB_OFFLINE is set"
    try:
        from torchvision import datasets

        urllib.request.urlopen(getattr(datasets, kind).url, timeout=CONNECT_SECONDS).close()
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as target:
            code = f"import torchvision; torchvision.datasets.{kind}({target!r}, download=True)"
            command = [sys.executable, "-c", code]
            subprocess.run(command, timeout=DOWNLOAD_SECONDS, check=True, capture_output=True)
            (Path(target) / folder).rename(root / folder)  # all of it, or nothing
    except (ImportError, OSError, subprocess.SubprocessError) as error:
        return f"it could not be downloaded ({type(error).__name__})"
    return ""
