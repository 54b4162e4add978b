import io
import re
import shutil
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
import torch

from lthnb.config import DataMissing, ParameterError
from lthnb.images import glyphs as rendered
from lthnb.images import places, sources
from lthnb.images.dataset import DataError, arrays


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
    assert (glyphs.info.side, glyphs.info.channels) == (32, 3)


def test_the_shifted_split_uses_fonts_of_its_own():
    assert not set(rendered.FONTS) & set(rendered.UNSEEN)


def test_auto_is_cifar10_and_never_another_set(tmp_path):
    told = (
        rf"cifar10: cifar-10-batches-py is not under {re.escape(str(tmp_path))}; get it with.*; no download"
    )
    with pytest.raises(DataMissing, match=told):
        sources.open_source("auto", str(tmp_path))


def test_a_set_that_needs_a_package_says_which(tmp_path, monkeypatch):
    (tmp_path / "cifar-10-batches-py").mkdir()
    monkeypatch.setattr(sources, "find_spec", lambda package: None)

    with pytest.raises(DataMissing, match="cifar10 needs torchvision: pip install torchvision"):
        sources.open_source("cifar10", str(tmp_path))


def test_a_missing_folder_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(DataMissing, match=re.escape(str(tmp_path))):
        sources.open_source("folder:nowhere", str(tmp_path))


def test_digits_are_balanced_grey_and_disjoint():
    source = sources.open_source("digits")

    assert (source.info.channels, source.info.side, len(source.info.classes)) == (1, 8, 10)
    assert len(source.labels["train"]) + len(source.labels["test"]) == 1797
    assert source.labels["test"].bincount().min() >= 57
    assert int(source.read("train", torch.arange(9), 8).max()) == 255


def test_images_in_memory_are_resized_by_area():
    images = torch.arange(32, dtype=torch.uint8).reshape(2, 1, 4, 4).repeat(1, 3, 1, 1)
    labels = dict.fromkeys(("train", "test"), torch.tensor([0, 1]))
    source = arrays("a", {"train": images, "test": images}, labels, ("x", "y"))

    # the means of 16 17 20 21 and so on end in .5, which rounds up
    assert source.read("test", torch.tensor([1]), 2)[0, 2].tolist() == [[19, 21], [27, 29]]
    assert source.read("test", torch.tensor([1]), 4)[0, 2, 0].tolist() == [16, 17, 18, 19]


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist", "eurosat", "isic"])
def test_a_set_that_is_not_there_says_where_it_was_looked_for_and_how_to_get_it(name, tmp_path):
    with pytest.raises(
        DataMissing,
        match=rf"{sources.KNOWN[name].stem}.*{re.escape(str(tmp_path))}.*(get it with|it holds train/CLASS)",
    ):
        sources.open_source(name, str(tmp_path))


def cifar(root, spoil=False):
    """A cifar-10-batches-py folder that torchvision takes for whole; return what it must believe for that."""
    import hashlib
    import pickle

    from torchvision.datasets import CIFAR10

    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    sums = {}
    names = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]
    for index, name in enumerate(names):
        rows = np.full((20, 3072), index, np.uint8)
        content = pickle.dumps({"data": rows, "labels": [n % 10 for n in range(20)]})
        (folder / name).write_bytes(content + (b"x" if spoil else b""))
        sums[name] = hashlib.md5(content).hexdigest()
    content = pickle.dumps({"label_names": list("abcdefghij")})
    (folder / "batches.meta").write_bytes(content)
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
            sources.open_source("auto", str(tmp_path))
        return
    source = sources.open_source("auto", str(tmp_path))

    assert (source.info.name, source.info.pool) == ("cifar10", 100)
    assert source.read("train", torch.tensor([0, 99]), 32)[:, 0, 0, 0].tolist() == [0, 4]
    assert source.info.classes == tuple("abcdefghij")


def test_fashion_mnist_is_read_from_its_archives_after_their_checksums_agree(tmp_path, monkeypatch):
    import gzip
    import hashlib

    from torchvision.datasets import FashionMNIST

    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    sums = []
    for name, _ in FashionMNIST.resources:
        images = bytes(16) + bytes(20 * 784)
        body = images if "images" in name else bytes(8) + bytes(n % 10 for n in range(20))
        (folder / name).write_bytes(gzip.compress(body))
        sums.append((name, hashlib.md5((folder / name).read_bytes()).hexdigest()))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is missing or damaged"):
        sources.open_source("fashion_mnist", str(tmp_path))
    monkeypatch.setattr(FashionMNIST, "resources", sums)
    source = sources.open_source("fashion_mnist", str(tmp_path))

    assert (source.info.channels, source.info.side, source.info.pool) == (1, 28, 20)
    assert source.read("test", torch.arange(2), 16).shape == (2, 1, 16, 16)


def test_a_download_that_fails_is_told_with_its_reason(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        assert kwargs["timeout"] == 5
        raise OSError("no route")

    monkeypatch.delenv("LTHNB_OFFLINE")
    monkeypatch.setattr(urllib.request, "urlopen", refuse)

    with pytest.raises(DataMissing, match=r"it could not be downloaded \(OSError\)"):
        sources.open_source("auto", str(tmp_path / "data"))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "classes", "train", "val"), [("eurosat", 10, 300, 200), ("isic", 7, 350, 210)]
)
def test_few_shot_sets_come_with_their_published_split(real_images, name, classes, train, val):
    root = real_images(sources.KNOWN[name].stem).parent
    source = sources.open_source(name, str(root))

    assert (source.info.name, len(source.info.classes), source.info.few) == (name, classes, True)
    assert tuple(map(len, source.published)) == (train, val)
    assert not {*source.published[0].tolist()} & {*source.published[1].tolist()}


def test_a_book_build_never_downloads(tmp_path, monkeypatch):
    def refuse(*args, **options):
        pytest.fail("a download was tried")

    monkeypatch.delenv("LTHNB_OFFLINE")
    monkeypatch.setenv("LTHNB_HOST", "book")
    monkeypatch.setattr(urllib.request, "urlopen", refuse)

    with pytest.raises(DataMissing, match="no download is tried here"):
        sources.open_source("auto", str(tmp_path))


def test_a_download_is_given_three_minutes_and_leaves_nothing_when_it_fails(tmp_path, monkeypatch):
    def slow(*args, timeout, **options):
        assert timeout == 180
        raise subprocess.TimeoutExpired(args, timeout)

    monkeypatch.delenv("LTHNB_OFFLINE")
    monkeypatch.setattr(urllib.request, "urlopen", lambda *args, **options: io.BytesIO())
    monkeypatch.setattr(subprocess, "run", slow)

    with pytest.raises(DataMissing, match=r"it could not be downloaded \(TimeoutExpired\)"):
        sources.open_source("auto", str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_every_name_a_page_may_give_is_known():
    assert tuple(sources.KNOWN) == places.DATASETS


def test_an_unknown_name_is_an_error_that_suggests_the_right_one():
    with pytest.raises(ParameterError, match=r"or folder:PATH, got 'cifar1'; did you mean 'cifar10'\?"):
        sources.open_source("cifar1")


def test_a_name_asked_for_serves_every_role():
    assert sources.serving("whole_set", "digits", "nowhere") == "digits"


@pytest.mark.parametrize(
    ("role", "present", "serves"),
    [
        ("original_pixels", ["cifar10_exact.tar.xz", "cifar10_jpeg.tar"], "folder:cifar10_exact.tar.xz"),
        ("original_pixels", ["cifar10_exact.tar.xz", "cifar-10-batches-py"], "cifar10"),
        ("original_pixels", ["cifar10_jpeg.tar"], "auto"),
        ("whole_set", ["cifar10_jpeg.tar", "cifar10_exact"], "folder:cifar10_jpeg.tar"),
        ("cifar100", ["cifar100_exact"], "folder:cifar100_exact"),
        ("cifar100", [], "cifar100"),
        ("eurosat", ["eurosat_rgb.tar.gz"], "eurosat"),
        ("eurosat", [], "eurosat"),
        ("any", ["cifar-10-batches-py"], "auto"),
    ],
)
def test_a_role_is_served_by_the_best_set_under_the_data_root(tmp_path, role, present, serves):
    for name in present:
        (tmp_path / name).touch()

    assert sources.serving(role, "auto", str(tmp_path)) == serves


def test_sets_of_torchvision_serve_only_where_it_is_installed(tmp_path, monkeypatch):
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar10_exact").mkdir()
    monkeypatch.setattr(sources, "find_spec", lambda package: None)

    assert sources.serving("original_pixels", "auto", str(tmp_path)) == "folder:cifar10_exact"


def test_the_set_of_a_record_is_found_again_by_its_stem(image_folder, tmp_path):
    source = sources.open_source("folder:pets", str(image_folder({"cat": 2, "dog": 2}).parent))

    assert sources.bare_name(source.info.name) == "pets"
    assert sources.bare_name("folder:pets@home@01234567") == "pets@home"
    assert sources.by_record(source.info.name, str(tmp_path)) == "folder:pets"
    assert sources.by_record("cifar10", str(tmp_path)) == "cifar10"
    shutil.rmtree(tmp_path / "pets")
    with pytest.raises(DataMissing, match="neither a folder nor a tar archive pets is under"):
        sources.by_record(source.info.name, str(tmp_path))


def test_the_data_root_is_the_one_given_then_the_environment_then_data(monkeypatch, tmp_path):
    monkeypatch.setenv("LTHNB_DATA", str(tmp_path / "set"))

    assert places.data_root(str(tmp_path)) == tmp_path
    assert places.data_root() == tmp_path / "set"
    monkeypatch.delenv("LTHNB_DATA")
    assert places.data_root() == places.ROOT / "data"


def test_a_path_is_looked_for_under_the_data_root_then_in_the_repository(tmp_path):
    (tmp_path / "tests").mkdir()

    assert places.find("tests", str(tmp_path)) == tmp_path / "tests"
    assert places.find("notebooks", str(tmp_path)) == places.ROOT / "notebooks"
    assert places.find(str(tmp_path / "tests"), "nowhere") == tmp_path / "tests"


def test_where_sets_lie_is_known_without_torch():
    code = "import sys; from lthnb.images import places; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=places.ROOT, check=False).returncode == 0
