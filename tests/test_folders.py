import io

import numpy as np
import pytest
import torch
from conftest import opened, pack, tar_of
from PIL import Image

from lthnb.folders import DataError


def png(colour=(10, 20, 30), size=(20, 20)):
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, "PNG")
    return content.getvalue()


def small(**changes):
    files = {f"pets/{split}/{label}/0.png": png() for split in ("train", "test") for label in ("cat", "dog")}
    return files | changes


def test_a_directory_and_its_archives_are_one_data_set(image_folder, tmp_path):
    folder = image_folder({"cat": 4, "dog": 4})
    sources = [opened(folder)]
    for suffix, mode in ((".tar", "w"), (".tar.gz", "w:gz"), (".tar.xz", "w:xz")):
        sources.append(opened(pack(folder, tmp_path / f"pets{suffix}", mode)))

    assert len({source.facts.name for source in sources}) == 1
    assert sources[0].facts.name.startswith("folder:pets@")
    everything = torch.arange(8)
    assert all(
        torch.equal(s.read("train", everything, 16), sources[0].read("train", everything, 16))
        for s in sources
    )


def test_changed_pixels_change_the_name(image_folder):
    folder = image_folder({"cat": 2, "dog": 2})
    before = opened(folder).facts.name
    (folder / "train" / "cat" / "000.png").write_bytes(png())

    assert opened(folder).facts.name != before


@pytest.mark.parametrize(
    ("form", "options"), [("PNG", {}), ("JPEG", {"quality": 95}), ("WEBP", {"lossless": True})]
)
def test_formats_are_read_by_content(tmp_path, form, options):
    content = io.BytesIO()
    Image.new("RGB", (20, 20), (200, 100, 50)).save(content, form, **options)
    path = tar_of(tmp_path / "pets.tar", small(**{"pets/train/cat/0.png": content.getvalue()}))

    pixel = opened(path).read("train", torch.tensor([0]), 20)[0, :, 5, 5]

    assert (pixel.int() - torch.tensor([200, 100, 50])).abs().max() <= 3


def test_images_are_cut_to_their_central_square_and_resized_by_area(tmp_path):
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, 2:4], pixels[:, 4:6] = 100, 200
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    path = tar_of(tmp_path / "pets.tar", small(**{"pets/train/cat/0.png": content.getvalue()}))

    assert opened(path).read("train", torch.tensor([0]), 2)[0, 0].tolist() == [[100, 200], [100, 200]]


def test_grey_sets_keep_one_channel(image_folder):
    source = opened(image_folder({"a": 2, "b": 2}, mode="L"))

    assert source.facts.channels == 1
    assert source.read("test", torch.arange(2), 16).shape == (2, 1, 16, 16)


def test_hidden_files_and_folders_beside_the_splits_are_ignored(tmp_path):
    extra = {"pets/train/cat/.DS_Store": b"x", "pets/meta/notes.txt": b"x", "pets/README": b"x"}

    assert opened(tar_of(tmp_path / "pets.tar", small(**extra))).facts.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pets/train/cat/0.png": png()[:-30]}, "train/cat/0.png is damaged"),
        ({"pets/test/dog/notes.txt": b"hello"}, "test/dog/notes.txt is not a PNG, JPEG or WebP image"),
        ({"pets/train/notes.txt": b"hello"}, "train/notes.txt in pets.tar does not fit"),
        ({"pets/train/cat/more/1.png": png()}, "train/cat/more/1.png in pets.tar does not fit"),
        ({"pets/train/bird/0.png": png()}, "class 'bird' has no images in test/"),
        (
            {"pets/train/cat/0.png": png(size=(9000, 9000))},
            "train/cat/0.png would unpack to 9000 x 9000 pixels",
        ),
    ],
)
def test_a_bad_file_is_an_error_that_names_it(tmp_path, change, words):
    with pytest.raises(DataError, match=words):
        opened(tar_of(tmp_path / "pets.tar", small(**change))).read("train", torch.tensor([0]), 16)


def test_an_empty_class_folder_is_named(image_folder):
    folder = image_folder({"cat": 2, "dog": 2})
    (folder / "train" / "emu").mkdir()
    (folder / "test" / "emu").mkdir()

    with pytest.raises(DataError, match="class 'emu' has no images in train/ of pets"):
        opened(folder)


def test_one_class_is_too_few(image_folder):
    with pytest.raises(DataError, match="one class only, 'cat'"):
        opened(image_folder({"cat": 3}))


def test_a_missing_split_is_named(image_folder, tmp_path):
    folder = image_folder({"cat": 2, "dog": 2})
    (folder / "test").rename(tmp_path / "elsewhere")

    with pytest.raises(DataError, match="has no test/CLASS folders"):
        opened(folder)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_truncated_archive_is_named(image_folder, tmp_path, mode):
    path = pack(image_folder({"cat": 9, "dog": 9}), tmp_path / "pets.tar", mode)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    with pytest.raises(DataError, match=r"pets\.tar"):
        opened(path)


def test_links_are_refused(tmp_path):
    import tarfile

    path = tar_of(tmp_path / "pets.tar", small())
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("pets/train/cat/9.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)

    with pytest.raises(DataError, match=r"train/cat/9\.png in pets\.tar is neither"):
        opened(path)
