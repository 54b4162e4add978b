import gzip
import hashlib
import urllib.request

import pytest
import torch
from torchvision.datasets import FashionMNIST

from lthnb.images import sources, torchvision_sets
from lthnb.images.dataset import DataError, arrays


@pytest.mark.parametrize(
    "change", [lambda packed: packed[:-1], lambda packed: b"no gzip at all", lambda packed: b""]
)
@pytest.mark.parametrize("known", [True, False])
def test_fashion_mnist_that_cannot_be_unpacked_is_named(tmp_path, monkeypatch, change, known):
    files = fashion_mnist(tmp_path, monkeypatch, change if known else bytes)
    if not known:  # and its MD5 tells
        files[0].write_bytes(change(files[0].read_bytes()))

    with pytest.raises(
        DataError, match=rf"{files[0].name} is missing or damaged; remove the folder and get it again"
    ):
        sources.open_source("fashion_mnist", str(tmp_path))


def test_fashion_mnist_of_a_wrong_length_is_named(tmp_path, monkeypatch):
    fashion_mnist(tmp_path, monkeypatch, lambda packed: gzip.compress(gzip.decompress(packed) + b"x"))

    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is missing or damaged"):
        sources.open_source("fashion_mnist", str(tmp_path))


@pytest.mark.parametrize("file", range(4))
def test_fashion_mnist_without_one_of_its_files_names_it(tmp_path, monkeypatch, file):
    files = fashion_mnist(tmp_path, monkeypatch, bytes)
    files[file].unlink()

    with pytest.raises(DataError, match=f"{files[file].name} is missing or damaged"):
        sources.open_source("fashion_mnist", str(tmp_path))


def fashion_mnist(root, monkeypatch, change):
    """Write four small files, the first one changed, and let their MD5 be the ones that are known."""
    folder = root / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    files = [folder / name for name, _ in FashionMNIST.resources]
    for file in files:
        body = bytes(16 + 20 * 784) if "images" in file.name else bytes(8) + bytes(n % 10 for n in range(20))
        file.write_bytes(gzip.compress(body))
    files[0].write_bytes(change(files[0].read_bytes()))
    known = [(file.name, hashlib.md5(file.read_bytes()).hexdigest()) for file in files]
    monkeypatch.setattr(FashionMNIST, "resources", known)
    return files


def test_nothing_is_downloaded_offline(tmp_path, monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("a download was tried"))
    monkeypatch.setenv("LTHNB_OFFLINE", "1")

    failure = torchvision_sets.download("CIFAR10", "cifar-10-batches-py", tmp_path / "data")

    assert failure == "no download is tried here, since LTHNB_OFFLINE is set"
    assert not (tmp_path / "data").exists()


def test_equal_images_in_memory_are_counted():
    images = torch.arange(5, dtype=torch.uint8).reshape(5, 1, 1, 1).expand(5, 3, 2, 2)
    labels = {"train": torch.tensor([0, 1, 0]), "test": torch.tensor([1, 0])}

    apart = arrays("a", {"train": images[:3], "test": images[3:]}, labels, ("x", "y"))
    shared = arrays("a", {"train": images[1:4], "test": images[3:]}, labels, ("x", "y"))

    assert apart.note == ""
    assert shared.note == "equal images in train and test: 1 of the 2 test images"
