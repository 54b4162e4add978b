import re
import tracemalloc
from itertools import groupby

import numpy as np
import pytest
import torch
from conftest import tar_of

from lthnb.config import DataMissing, ParameterError
from lthnb.images import glyphs as rendered
from lthnb.images.archive import read_files
from lthnb.images.dataset import DataError, arrays
from lthnb.images.folder import folder
from lthnb.images.natural import CIFAR10, natural_shift, official_corruptions
from lthnb.images.places import DATASETS

REVERSED = CIFAR10[::-1]
V6 = "cifar10.1_v6"


def blank(path, kind, shape):
    """A .npy of zeros that takes no room on the disk; the array in it can be written to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(path, "w+", kind, shape)


def cifar101(place, version=V6, number=2000, label=3):
    """Both files as published; all images have one label, and the first one has a bright first row."""
    images = blank(place / f"{version}_data.npy", np.uint8, (number, 32, 32, 3))
    images[0, 0] = [200, 100, 50]
    blank(place / f"{version}_labels.npy", np.int32, (number,))[:] = label


def cifar102(place, **changed):
    """Both files as published, with a list of words that numpy keeps pickled; train is 1 and test is 2."""
    place.mkdir(parents=True, exist_ok=True)
    for value, (part, number) in enumerate((("train", 10_000), ("test", 2000)), 1):
        content = {
            "images": np.full((number, 32, 32, 3), value, np.uint8),
            "labels": np.full(number, value),
            "keywords": np.array(["tabby"], object),
        }
        np.savez_compressed(place / f"cifar102_{part}.npz", **content | changed)


def corrupted(place, kind="fog"):
    """A file of CIFAR-10-C and its labels; every image tells its severity, every label its row."""
    images = blank(place / f"CIFAR-10-C/{kind}.npy", np.uint8, (50_000, 32, 32, 3))
    images[::10_000, 0, 0] = np.arange(1, 6)[:, None]
    blank(place / "CIFAR-10-C/labels.npy", np.uint8, (50_000,))[:] = np.arange(50_000) % 10


def shift(root, name="cifar10.1", classes=CIFAR10, **options):
    return natural_shift(name, classes, side=options.pop("side", 32), root=str(root), **options)


def told(error, root):
    """What an error says, one sentence without the names of exceptions; the data root is ROOT."""
    text = str(error.value).replace(str(root), "ROOT")
    assert not re.search(r"\n|\. |\.$|Traceback|[a-z]Error", text)
    return text


def test_images_come_under_the_numbers_that_the_training_set_gives_their_classes(tmp_path):
    cifar101(tmp_path, label=CIFAR10.index("cat"))

    same, other = shift(tmp_path), shift(tmp_path, classes=REVERSED)

    assert same.labels.tolist() == [3] * 2000
    assert other.labels.tolist() == [REVERSED.index("cat")] * 2000
    assert (same.name, same.images.shape, same.images.dtype) == ("cifar10.1", (2000, 3, 32, 32), torch.uint8)
    assert same.images[0, :, 0, 31].tolist() == [200, 100, 50]
    assert same.labels.dtype == torch.int64


@pytest.mark.parametrize("place", [".", "CIFAR-10.1", "CIFAR-10.1/datasets"])
def test_cifar10_1_lies_under_the_data_root_or_in_a_clone(tmp_path, place):
    cifar101(tmp_path / place)

    assert len(shift(tmp_path).labels) == 2000


def test_version_6_is_preferred_and_version_4_serves_without_it(tmp_path):
    cifar101(tmp_path, "cifar10.1_v4", 2021)
    fourth = shift(tmp_path)
    cifar101(tmp_path / "CIFAR-10.1")
    sixth = shift(tmp_path)

    assert (len(fourth.labels), len(sixth.labels)) == (2021, 2000)
    assert fourth.sha256 != sixth.sha256


@pytest.mark.parametrize("place", [".", "cifar-10.2"])
def test_cifar10_2_is_both_of_its_files_and_its_words_are_left_alone(tmp_path, place):
    cifar102(tmp_path / place)

    both = shift(tmp_path, "cifar10.2")

    assert both.images.shape == (12_000, 3, 32, 32)
    assert both.images[[9_999, 10_000], 0, 0, 0].tolist() == [1, 2]
    assert both.labels[[9_999, 10_000]].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "cifar10.1",
            "cifar10.1: cifar10.1_v6_*.npy or cifar10.1_v4_*.npy is in none of ROOT, ROOT/CIFAR-10.1, "
            "ROOT/CIFAR-10.1/datasets; get it from github.com/modestyachts/CIFAR-10.1",
        ),
        (
            "cifar10.2",
            "cifar10.2: cifar102_train.npz and cifar102_test.npz is in none of ROOT, ROOT/cifar-10.2, "
            "ROOT/cifar-10.2/datasets; get it from github.com/modestyachts/cifar-10.2",
        ),
    ],
)
def test_a_published_set_that_is_not_there_says_where_it_was_looked_for_and_where_to_get_it(
    tmp_path, name, says
):
    with pytest.raises(DataMissing) as error:
        shift(tmp_path, name)

    assert told(error, tmp_path) == says


def test_a_folder_that_is_not_there_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(DataMissing) as error:
        shift(tmp_path, "folder:pets")

    assert told(error, tmp_path).startswith("pets was found neither under the data root ROOT nor under ")


IMAGES = "expected uint8 (2000, 32, 32, 3)"
UNREAD = "is missing or has no images that can be read"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, UNREAD),
        (b"", UNREAD),
        (b"no array at all", UNREAD),
        (np.array([print]), UNREAD),
        (np.zeros((2, 32, 32, 3), np.uint8), "has images of uint8 (2, 32, 32, 3)"),
        (np.zeros((2000, 3072), np.uint8), "has images of uint8 (2000, 3072)"),
        (np.zeros((2000, 32, 32, 3), np.int8), "has images of int8 (2000, 32, 32, 3)"),
    ],
)
def test_images_that_cannot_be_had_are_told_with_what_is_there(tmp_path, content, says):
    cifar101(tmp_path)
    file = tmp_path / f"{V6}_data.npy"
    file.unlink()
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        np.save(file, content)

    with pytest.raises(DataError) as error:
        shift(tmp_path)

    assert told(error, tmp_path) == f"ROOT/{V6}_data.npy {says}, {IMAGES}"


def test_a_file_that_was_cut_is_told(tmp_path):
    cifar101(tmp_path)
    file = tmp_path / f"{V6}_data.npy"
    file.write_bytes(file.read_bytes()[:-1])

    with pytest.raises(DataError) as error:
        shift(tmp_path)

    assert told(error, tmp_path) == f"ROOT/{V6}_data.npy {UNREAD}, {IMAGES}"


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (None, "is missing or has no labels that can be read, expected (2000,)"),
        (np.zeros(1999, int), "has labels of int64 (1999,), expected (2000,)"),
        (np.zeros((2000, 1), int), "has labels of int64 (2000, 1), expected (2000,)"),
        (np.full(2000, 10), "has the label 10, expected 0 to 9"),
        (np.full(2000, -1), "has the label -1, expected 0 to 9"),
        (np.full(2000, 0.5), "has the label 0.5, expected 0 to 9"),
        (np.full(2000, "cat"), "has the label 'cat', expected 0 to 9"),
    ],
)
def test_labels_that_are_no_numbers_of_classes_are_told(tmp_path, labels, says):
    cifar101(tmp_path)
    file = tmp_path / f"{V6}_labels.npy"
    file.unlink()
    if labels is not None:
        np.save(file, labels)

    with pytest.raises(DataError) as error:
        shift(tmp_path)

    assert told(error, tmp_path) == f"ROOT/{V6}_labels.npy {says}"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"images": np.zeros((3, 32, 32, 3), np.uint8)}, "has images of uint8 (3, 32, 32, 3)"),
        ({"images": np.array([print])}, UNREAD),
    ],
)
def test_an_npz_with_other_images_is_told(tmp_path, changed, says):
    cifar102(tmp_path, **changed)

    with pytest.raises(DataError) as error:
        shift(tmp_path, "cifar10.2")

    assert told(error, tmp_path) == f"ROOT/cifar102_train.npz {says}, expected uint8 (10000, 32, 32, 3)"


# numpy leaves a file open that turns out to be no archive
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "spoil", [lambda c: b"", lambda c: c[:5000], lambda c: c.replace(b"images", b"spoilt")]
)
def test_an_npz_that_is_damaged_is_told(tmp_path, spoil):
    cifar102(tmp_path)
    file = tmp_path / "cifar102_test.npz"
    file.write_bytes(spoil(file.read_bytes()))

    with pytest.raises(DataError) as error:
        shift(tmp_path, "cifar10.2")

    assert told(error, tmp_path) == f"ROOT/cifar102_test.npz {UNREAD}, {IMAGES}"


def test_half_a_set_is_no_reason_to_take_another(tmp_path):
    cifar101(tmp_path, "cifar10.1_v4", 2021)
    cifar101(tmp_path)
    (tmp_path / f"{V6}_data.npy").unlink()

    with pytest.raises(DataError, match=f"{V6}_data.npy is missing"):
        shift(tmp_path)


def test_an_unknown_shift_is_an_error_that_suggests_the_right_one(tmp_path):
    with pytest.raises(ParameterError) as error:
        shift(tmp_path, "cifar10.3")

    assert told(error, tmp_path) == (
        "shift must be one of cifar10.1, cifar10.2, glyphs-shifted, folder:PATH, got 'cifar10.3'; "
        "did you mean 'cifar10.2'?"
    )


@pytest.mark.parametrize("name", DATASETS)
def test_the_test_images_of_a_known_set_are_no_natural_shift(tmp_path, name):
    with pytest.raises(ParameterError, match="shift must be one of"):
        shift(tmp_path, name)


def test_shifted_glyphs_are_those_of_unseen_fonts(glyphs, monkeypatch):
    monkeypatch.setitem(rendered.SIZES, "shifted", 20)
    digits = tuple("9876543210")

    unseen = shift("", "glyphs-shifted", digits)

    assert (unseen.name, unseen.sha256) == ("glyphs-shifted", rendered.glyphs().info.sha256)
    assert unseen.labels.tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0] * 2
    assert torch.equal(unseen.images, glyphs.read("shifted", torch.arange(20), 32))


def test_the_test_images_of_a_folder_are_named_by_its_content(image_folder, tmp_path):
    source = folder(image_folder({"cat": 2, "dog": 2}, {"cat": 1, "dog": 3}))

    pets = shift(tmp_path, "folder:pets", ("dog", "cat", "eel"), side=16)

    assert (pets.name, pets.sha256) == (source.info.name, source.info.sha256)
    assert pets.labels.tolist() == [1, 0, 0, 0]
    assert torch.equal(pets.images, source.read("test", torch.arange(4), 16))


def test_a_class_map_joins_classes_and_leaves_others_out(image_folder, tmp_path):
    source = folder(image_folder({"cat": 2, "dog": 2, "eel": 2, "puma": 2}))
    chosen = {"cat": "feline", "dog": "canine", "eel": "", "puma": "feline"}

    pets = shift(tmp_path, "folder:pets", ("canine", "feline"), class_map=chosen, side=20)

    assert pets.labels.tolist() == [1, 1, 0, 0, 1, 1]
    assert torch.equal(pets.images, source.read("test", torch.tensor([0, 1, 2, 3, 6, 7]), 20))


def test_an_empty_class_map_is_none(image_folder, tmp_path):
    image_folder({"cat": 2, "dog": 2})

    assert shift(tmp_path, "folder:pets", ("cat", "dog"), class_map={}).labels.tolist() == [0, 0, 1, 1]


ALLOWED = "of the shifted set must be one of the training set, or '' to leave it out"


@pytest.mark.parametrize(
    ("classes", "class_map", "says"),
    [
        (
            ("cats", "dog"),
            None,
            f"class 'cat' {ALLOWED}, got 'cat'; did you mean 'cats'?",
        ),
        (
            ("cat", "dog"),
            {"cat": "cat"},
            f"class 'dog' {ALLOWED}, got None",
        ),
        (
            ("feline", "canine"),
            {"cat": "feline", "dog": "canin"},
            f"class 'dog' {ALLOWED}, got 'canin'; did you mean 'canine'?",
        ),
        (
            ("cat", "dog"),
            {"cat": "cat", "doge": "dog"},
            "a class that class_map names must be one of cat, dog, got 'doge'; did you mean 'dog'?",
        ),
    ],
)
def test_a_hole_in_the_classes_is_told(image_folder, tmp_path, classes, class_map, says):
    image_folder({"cat": 2, "dog": 2})

    with pytest.raises(ParameterError) as error:
        shift(tmp_path, "folder:pets", classes, class_map=class_map)

    assert told(error, tmp_path) == says


def test_images_of_other_channels_are_told(image_folder, tmp_path):
    image_folder({"cat": 2, "dog": 2}, mode="L")
    cifar101(tmp_path)

    with pytest.raises(DataError, match=r"have 1 channels, training images 3$"):
        shift(tmp_path, "folder:pets", ("cat", "dog"))
    with pytest.raises(DataError, match=r"^images of cifar10\.1 have 3 channels, training images 1$"):
        shift(tmp_path, channels=1)
    assert shift(tmp_path, "folder:pets", ("cat", "dog"), channels=1).images.shape == (4, 1, 32, 32)


def test_published_images_are_resized_as_test_images_are(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2000, 32, 32, 3), np.uint8)
    cifar101(tmp_path)
    np.save(tmp_path / f"{V6}_data.npy", pixels)
    images = {"train": torch.tensor(pixels).permute(0, 3, 1, 2)[:2]}
    images["test"] = images["train"]
    labels = dict.fromkeys(images, torch.tensor([0, 1]))
    source = arrays("a", images, labels, ("x", "y"))

    smaller = shift(tmp_path, side=16).images

    assert smaller.shape == (2000, 3, 16, 16)
    assert torch.equal(smaller[:2], source.read("test", torch.arange(2), 16))


def few(archive, target, number=20):
    """An archive of the first test images of every class of another one, to train on as well."""
    files = read_files(archive)
    names = sorted(name for name, content in files.items() if content and name.startswith("test/"))
    chosen = {}
    for _, group in groupby(names, key=lambda name: name.split("/")[1]):
        for name in [*group][:number]:
            chosen[f"few/{name}"] = chosen[f"few/{name.replace('test', 'train', 1)}"] = files[name]
    return tar_of(target, chosen)


def test_cifar10_as_jpeg_shows_what_the_original_pixels_show(real_images, tmp_path):
    exact = folder(few(real_images("cifar10_exact"), tmp_path / "exact.tar"))
    few(real_images("cifar10_jpeg"), tmp_path / "jpeg.tar")

    lossy = shift(tmp_path, "folder:jpeg.tar", exact.info.classes)

    original = exact.read("test", torch.arange(200), 32)
    assert exact.info.classes == CIFAR10
    assert lossy.name == f"folder:jpeg@{lossy.sha256[:8]}"
    assert lossy.labels.tolist() == exact.labels["test"].tolist() == [n // 20 for n in range(200)]
    assert 1 < (lossy.images.float() - original.float()).abs().mean() < 10


def test_without_the_folder_there_are_no_official_corruptions(tmp_path):
    assert official_corruptions("fog", 1, CIFAR10, str(tmp_path)) is None


@pytest.mark.parametrize("severity", [1, 5])
def test_official_corruptions_are_those_of_one_severity(tmp_path, severity):
    corrupted(tmp_path)

    images, labels = official_corruptions("fog", severity, REVERSED, str(tmp_path))

    assert (images.shape, images.dtype) == ((10_000, 3, 32, 32), torch.uint8)
    assert images[0, :, 0, 0].tolist() == [severity] * 3
    assert images[1:].max() == 0
    assert labels.tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0] * 1000


def test_only_the_rows_of_that_severity_are_read(tmp_path):
    corrupted(tmp_path)
    tracemalloc.start()
    official_corruptions("fog", 3, CIFAR10, str(tmp_path))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 10_000 * 32 * 32 * 3


@pytest.mark.parametrize(
    ("kind", "content", "says"),
    [
        ("snow", None, "snow.npy is missing or has no images that can be read"),
        ("fog", b"damaged", "fog.npy is missing or has no images that can be read"),
        ("fog", np.zeros((50, 32, 32, 3), np.uint8), "fog.npy has images of uint8 (50, 32, 32, 3)"),
        ("fog", np.zeros(3), "fog.npy has images of float64 (3,)"),
    ],
)
def test_official_corruptions_that_cannot_be_had_are_told(tmp_path, kind, content, says):
    corrupted(tmp_path)
    file = tmp_path / "CIFAR-10-C/fog.npy"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        np.save(file, content)

    with pytest.raises(DataError) as error:
        official_corruptions(kind, 1, CIFAR10, str(tmp_path))

    assert told(error, tmp_path) == f"ROOT/CIFAR-10-C/{says}, expected uint8 (50000, 32, 32, 3)"


def test_a_wrong_type_of_official_corruptions_is_told(tmp_path):
    corrupted(tmp_path)
    blank(tmp_path / "CIFAR-10-C/fog.npy", np.uint16, (50_000, 32, 32, 3))

    with pytest.raises(DataError, match=r"has images of uint16 \(50000, 32, 32, 3\), expected uint8 \(50000"):
        official_corruptions("fog", 1, CIFAR10, str(tmp_path))


def test_labels_of_another_length_are_told(tmp_path):
    corrupted(tmp_path)
    np.save(tmp_path / "CIFAR-10-C/labels.npy", np.zeros(10_000, np.uint8))

    with pytest.raises(DataError) as error:
        official_corruptions("fog", 1, CIFAR10, str(tmp_path))

    says = "ROOT/CIFAR-10-C/labels.npy has labels of uint8 (10000,), expected (50000,)"
    assert told(error, tmp_path) == says


def test_official_corruptions_need_the_classes_of_cifar10(tmp_path):
    corrupted(tmp_path)

    with pytest.raises(
        ParameterError, match="class 'truck' of the shifted set must be one of the training set"
    ):
        official_corruptions("fog", 1, CIFAR10[:-1], str(tmp_path))
