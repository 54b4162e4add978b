import numpy as np
import pytest
import torch

from lthnb.images import glyphs as rendered
from lthnb.images import sources as sets
from lthnb.config import DataMissing
from lthnb.images.folder import DataError


def test_an_image_is_a_function_of_split_and_index_alone(glyphs):
    alone = glyphs.read("train", torch.tensor([7]), 32)
    among = glyphs.read("train", torch.tensor([3, 7, 9]), 32)

    assert torch.equal(alone[0], among[1])
    assert glyphs.labels["train"][7] == 7


def test_splits_hold_different_images(glyphs):
    images = [glyphs.read(split, torch.arange(50), 32) for split in rendered.SIZES]

    assert all(not torch.equal(a, b) for a in images for b in images if a is not b)


def test_sizes_and_balance_are_those_of_cifar10(glyphs):
    assert glyphs.labels["train"].bincount().tolist() == [5000] * 10
    assert glyphs.labels["test"].bincount().tolist() == [1000] * 10
    assert (glyphs.facts.side, glyphs.facts.channels) == (32, 3)


def test_the_shifted_split_uses_fonts_of_its_own():
    assert not set(rendered.FONTS) & set(rendered.UNSEEN)


def test_auto_says_why_it_took_glyphs():
    assert "rendered digits, since CIFAR-10 is not" in sets.open_source("auto", "nowhere").note
    assert sets.open_source("glyphs").note == ""


def test_a_missing_folder_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(DataMissing, match=str(tmp_path)):
        sets.open_source("folder:nowhere", str(tmp_path))


def test_digits_are_balanced_grey_and_disjoint():
    source = sets.open_source("digits")

    assert (source.facts.channels, source.facts.side, len(source.facts.classes)) == (1, 8, 10)
    assert len(source.labels["train"]) + len(source.labels["test"]) == 1797
    assert source.labels["test"].bincount().min() >= 57
    assert int(source.read("train", torch.arange(9), 8).max()) == 255


def test_images_in_memory_are_resized_by_area():
    images = torch.arange(32, dtype=torch.uint8).reshape(2, 1, 4, 4).repeat(1, 3, 1, 1)
    labels = dict.fromkeys(("train", "test"), torch.tensor([0, 1]))
    source = sets.arrays("a", {"train": images, "test": images}, labels, ("x", "y"))

    # the means of 16 17 20 21 and so on end in .5, which rounds up
    assert source.read("test", torch.tensor([1]), 2)[0, 2].tolist() == [[19, 21], [27, 29]]
    assert source.read("test", torch.tensor([1]), 4)[0, 2, 0].tolist() == [16, 17, 18, 19]


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist", "eurosat", "isic"])
def test_a_set_that_is_not_there_says_where_it_was_looked_for_and_how_to_get_it(name, tmp_path):
    with pytest.raises(DataMissing, match=f"{name}.*{tmp_path}.*(get it with|it holds train/CLASS)"):
        sets.open_source(name, str(tmp_path))


def cifar(root, spoil=False):
    """A cifar-10-batches-py folder that torchvision takes for whole; return what it must believe for that."""
    import hashlib
    import pickle

    from torchvision.datasets import CIFAR10

    place, sums = root / "cifar-10-batches-py", {}
    place.mkdir()
    names = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]
    for index, name in enumerate(names):
        rows = np.full((20, 3072), index, np.uint8)
        content = pickle.dumps({"data": rows, "labels": [n % 10 for n in range(20)]})
        (place / name).write_bytes(content + (b"x" if spoil else b""))
        sums[name] = hashlib.md5(content).hexdigest()
    content = pickle.dumps({"label_names": list("abcdefghij")})
    (place / "batches.meta").write_bytes(content)
    meta = {**CIFAR10.meta, "md5": hashlib.md5(content).hexdigest()}
    return {
        "train_list": [[name, sums[name]] for name in names[:5]],
        "test_list": [["test_batch", sums["test_batch"]]],
        "meta": meta,
    }


@pytest.mark.parametrize("spoil", [False, True])
def test_cifar10_is_read_where_it_lies_after_its_checksums_agree(tmp_path, monkeypatch, spoil):
    from torchvision.datasets import CIFAR10

    for name, value in cifar(tmp_path, spoil).items():
        monkeypatch.setattr(CIFAR10, name, value)
    if spoil:
        with pytest.raises(DataError, match="cifar-10-batches-py is damaged"):
            sets.open_source("auto", str(tmp_path))
        return
    source = sets.open_source("auto", str(tmp_path))

    assert (source.facts.name, source.note, source.facts.pool) == ("cifar10", "", 100)
    assert source.read("train", torch.tensor([0, 99]), 32)[:, 0, 0, 0].tolist() == [0, 4]
    assert source.facts.classes == tuple("abcdefghij")


def test_fashion_mnist_is_read_from_its_archives_after_their_checksums_agree(tmp_path, monkeypatch):
    import gzip
    import hashlib

    from torchvision.datasets import FashionMNIST

    place, sums = tmp_path / "FashionMNIST" / "raw", []
    place.mkdir(parents=True)
    for name, _ in FashionMNIST.resources:
        images = bytes(16) + bytes(20 * 784)
        body = images if "images" in name else bytes(8) + bytes(n % 10 for n in range(20))
        (place / name).write_bytes(gzip.compress(body))
        sums.append((name, hashlib.md5((place / name).read_bytes()).hexdigest()))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is missing or damaged"):
        sets.open_source("fashion_mnist", str(tmp_path))
    monkeypatch.setattr(FashionMNIST, "resources", sums)
    source = sets.open_source("fashion_mnist", str(tmp_path))

    assert (source.facts.channels, source.facts.side, source.facts.pool) == (1, 28, 20)
    assert source.read("test", torch.arange(2), 16).shape == (2, 1, 16, 16)


def test_a_download_that_fails_falls_back_to_glyphs_and_says_why(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        assert kwargs["timeout"] == 5
        raise OSError("no route")

    monkeypatch.delenv("LTHNB_OFFLINE")
    monkeypatch.setattr(sets.urllib.request, "urlopen", refuse)

    assert "it could not be downloaded (OSError)" in sets.open_source("auto", str(tmp_path / "data")).note
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "classes", "train", "val"), [("eurosat", 10, 300, 200), ("isic", 7, 350, 210)]
)
def test_few_shot_sets_come_with_their_published_split(real_images, name, classes, train, val):
    root = real_images(sets.FEW_SHOT[name]).parent
    source = sets.open_source(name, str(root))

    assert (source.facts.name, len(source.facts.classes), source.facts.few) == (name, classes, True)
    assert tuple(map(len, source.published)) == (train, val)
    assert not {*source.published[0].tolist()} & {*source.published[1].tolist()}


def test_a_book_build_never_downloads(tmp_path, monkeypatch):
    monkeypatch.delenv("LTHNB_OFFLINE")
    monkeypatch.setenv("LTHNB_HOST", "book")
    monkeypatch.setattr(sets.urllib.request, "urlopen", lambda *a, **k: pytest.fail("a download was tried"))

    assert "no download is tried here" in sets.open_source("auto", str(tmp_path)).note


def test_a_download_is_given_three_minutes_and_leaves_nothing_when_it_fails(tmp_path, monkeypatch):
    def slow(*args, timeout, **options):
        raise sets.subprocess.TimeoutExpired(args, timeout) if timeout == 180 else AssertionError(timeout)

    monkeypatch.delenv("LTHNB_OFFLINE")
    monkeypatch.setattr(
        sets.urllib.request, "urlopen", lambda *a, **k: type("Open", (), {"close": lambda self: 0})()
    )
    monkeypatch.setattr(sets.subprocess, "run", slow)

    assert "it could not be downloaded (TimeoutExpired)" in sets.open_source("auto", str(tmp_path)).note
    assert not list(tmp_path.iterdir())
