import io
import struct
import zlib

import numpy as np
import pytest
import torch
from conftest import opened, pack, tar_of
from PIL import Image

from lthnb.images.dataset import DataError


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

    assert len({source.info.name for source in sources}) == 1
    assert sources[0].info.name.startswith("folder:pets@")
    everything = torch.arange(8)
    assert all(
        torch.equal(s.read("train", everything, 16), sources[0].read("train", everything, 16))
        for s in sources
    )


def test_changed_pixels_change_the_name(image_folder):
    folder = image_folder({"cat": 2, "dog": 2})
    before = opened(folder).info.name
    (folder / "train" / "cat" / "000.png").write_bytes(png())

    assert opened(folder).info.name != before


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
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 4:8], pixels[:, 8:12] = 100, 200
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    path = tar_of(tmp_path / "pets.tar", small(**{"pets/train/cat/0.png": content.getvalue()}))

    assert opened(path).read("train", torch.tensor([0]), 2)[0, 0].tolist() == [[100, 200], [100, 200]]


def test_grey_sets_keep_one_channel(image_folder):
    source = opened(image_folder({"a": 2, "b": 2}, mode="L"))

    assert source.info.channels == 1
    assert source.read("test", torch.arange(2), 16).shape == (2, 1, 16, 16)


def test_hidden_files_and_folders_beside_the_splits_are_ignored(tmp_path):
    extra = {"pets/train/cat/.DS_Store": b"x", "pets/meta/notes.txt": b"x", "pets/README": b"x"}

    assert opened(tar_of(tmp_path / "pets.tar", small(**extra))).info.classes == ("cat", "dog")


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
    with pytest.raises(DataError, match=r"pets has the classes \['cat'\]; two are needed"):
        opened(image_folder({"cat": 3}))


def test_a_missing_split_is_named(image_folder, tmp_path):
    folder = image_folder({"cat": 2, "dog": 2})
    (folder / "test").rename(tmp_path / "elsewhere")

    with pytest.raises(DataError, match="class 'cat' has no images in test/ of pets"):
        opened(folder)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_an_archive_cut_anywhere_is_named(image_folder, tmp_path, mode):
    path = pack(image_folder({"cat": 9, "dog": 9}), tmp_path / "pets.tar", mode)
    content = path.read_bytes()
    end = len(content.rstrip(b"\0"))
    for share in range(60, 100, 3):
        path.write_bytes(content[: end * share // 100])

        with pytest.raises(DataError, match=r"pets\.tar is not a whole tar archive"):
            opened(path)


def test_a_damaged_header_inside_an_archive_is_named(tmp_path):
    path = tar_of(tmp_path / "pets.tar", small())
    content = bytearray(path.read_bytes())
    header = content.index(b"pets/test/dog/0.png")
    content[header + 6] ^= 1
    path.write_bytes(content)

    with pytest.raises(DataError, match=r"pets\.tar is not a whole tar archive"):
        opened(path)


def test_a_broken_link_is_named(image_folder, tmp_path):
    folder = image_folder({"cat": 2, "dog": 2})
    (folder / "train" / "dog" / "9.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"train/dog/9\.png in pets cannot be read"):
        opened(folder)


def test_pixels_of_sixteen_bits_are_refused_by_name(tmp_path):
    content = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(content, "PNG")

    with pytest.raises(DataError, match=r"train/cat/0\.png has I;16 pixels"):
        opened(tar_of(tmp_path / "pets.tar", small(**{"pets/train/cat/0.png": content.getvalue()})))


def test_large_images_are_read_at_224_pixels(tmp_path):
    files = {name: png(size=(300, 260)) for name in small()}

    assert opened(tar_of(tmp_path / "pets.tar", files)).info.side == 224


def listed(**lists):
    names = [
        f"pets/train/{label}/{label}_{number}.png" for label in ("cat", "dog") for number in (4, 44, 440)
    ]
    files = {name: png((index, 0, 0)) for index, name in enumerate(names)}
    files |= {f"pets/test/{label}/{number}.png": png() for label in ("cat", "dog") for number in (1, 2)}
    return files | {f"pets/splits/{name}.txt": text.encode() for name, text in lists.items()}


TRAIN, VAL = "cat/cat_44.png\ndog/dog_4.png\n", "cat/cat_4.png\ndog/dog_440.png\n"


def test_published_lists_match_names_exactly(tmp_path):
    lists = {"train2": TRAIN, "val2": VAL, "test_subset": "cat/1.png\ndog/2.png\n"}
    source = opened(tar_of(tmp_path / "pets.tar", listed(**lists)))
    train, val = source.published
    red = source.read("train", torch.arange(4), 20)[:, 0, 0, 0].tolist()

    assert sorted(red) == [0, 1, 3, 5]  # cat_4 cat_44 dog_4 dog_440, and neither cat_440 nor dog_44
    assert [red[index] for index in train] == [1, 3]
    assert [red[index] for index in val] == [0, 5]
    assert source.labels["test"].tolist() == [0, 1]
    assert source.info.few


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        (
            {"train2": TRAIN + "cat/cat_45.png\n", "val2": VAL},
            r"train2\.txt in pets\.tar lists train/cat/cat_45",
        ),
        ({"train2": TRAIN}, r"split lists for train; splits/train.*val\*\.txt are both needed"),
        ({"train1": TRAIN, "train2": VAL, "val2": VAL}, r"two lists of train images, splits/train2\.txt"),
        ({"train2": TRAIN, "val2": "\n"}, "the val list gives classes unequal numbers"),
        ({"train2": TRAIN + "dog/dog_44.png\n", "val2": VAL}, "the train list gives classes unequal numbers"),
        ({"train2": TRAIN, "val2": VAL + "cat/cat_44.png\n"}, r"name train/cat/cat_44\.png twice"),
    ],
)
def test_a_bad_list_is_an_error_that_names_it(tmp_path, lists, words):
    with pytest.raises(DataError, match=words):
        opened(tar_of(tmp_path / "pets.tar", listed(**lists)))


def test_a_list_that_names_a_hidden_file_says_so(tmp_path):
    files = listed(train2="cat/cat_44.png\ndog/.dog_4.png\n", val2=VAL)
    files["pets/train/dog/.dog_4.png"] = png()

    with pytest.raises(DataError, match=r"lists train/dog/\.dog_4\.png, which is not there or hidden"):
        opened(tar_of(tmp_path / "pets.tar", files))


def test_links_are_refused(tmp_path):
    import tarfile

    path = tar_of(tmp_path / "pets.tar", small())
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("pets/train/cat/9.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)

    with pytest.raises(DataError, match=r"train/cat/9\.png in pets\.tar is neither"):
        opened(path)


def test_a_link_that_leads_back_ends_in_an_error(image_folder):
    folder = image_folder({"cat": 2, "dog": 2})
    (folder / "train" / "cat" / "loop").symlink_to(folder / "train")

    with pytest.raises(DataError, match="train/cat/loop in pets does not fit"):
        opened(folder)


def test_a_huge_file_in_an_archive_is_refused_before_it_is_read(tmp_path):
    import tarfile

    path = tmp_path / "pets.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("pets/train/cat/0.png")
        member.size = 2**30
        archive.addfile(member)

    with pytest.raises(DataError, match=r"train/cat/0\.png in pets\.tar has 1,073,741,824 bytes"):
        opened(path)


def encoded(image, form="PNG", **options):
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def test_an_image_far_smaller_than_the_others_does_not_shrink_the_set(tmp_path):
    files = {name: png(size=(40, 32)) for name in small()}
    path = tar_of(tmp_path / "pets.tar", files | {"pets/test/dog/0.png": png(size=(8, 90))})
    assert opened(path).info.side == 8

    path = tar_of(tmp_path / "pets.tar", files | {"pets/test/dog/0.png": png(size=(90, 7))})
    with pytest.raises(
        DataError, match=r"test/dog/0\.png is 90 x 7 pixels.*the median.*32.*replace or remove it"
    ):
        opened(path)


def test_how_large_the_others_are_counts_to_224_pixels(tmp_path):
    files = {name: png(size=(3000, 1000)) for name in small()} | {"pets/test/dog/0.png": png(size=(56, 56))}

    assert opened(tar_of(tmp_path / "pets.tar", files)).info.side == 56


@pytest.mark.parametrize(
    ("form", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 99})]
)
@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (-1, -1)), (6, (0, -1)), (8, (-1, 0))])
def test_a_picture_is_turned_as_its_exif_says(tmp_path, form, options, orientation, corner):
    picture = Image.new("RGB", (32, 16))
    picture.paste((255, 255, 255), (8, 0, 16, 8))  # the upper left of the central square
    exif = Image.Exif()
    exif[274] = orientation
    turned = encoded(picture, form, exif=exif, **options)
    path = tar_of(tmp_path / "pets.tar", small(**{"pets/train/cat/0.png": turned}))

    pixels = opened(path).read("train", torch.tensor([0]), 2)[0, 0]

    assert pixels[corner] > 250
    assert pixels.sum() < 260


def test_equal_images_in_train_and_test_are_counted(image_folder):
    folder = image_folder({"cat": 3, "dog": 3})
    assert opened(folder).note == ""

    (folder / "test" / "dog" / "000.png").write_bytes((folder / "train" / "cat" / "001.png").read_bytes())
    assert opened(folder).note == "equal images in train and test: 1 of the 4 test images"


def test_a_file_that_changes_after_the_set_was_opened_is_named(image_folder):
    folder = image_folder({"cat": 2, "dog": 2})
    source = opened(folder)
    (folder / "test" / "cat" / "000.png").write_bytes(png())

    with pytest.raises(DataError, match=r"test/cat/000\.png was changed after the set was opened"):
        source.read("train", torch.tensor([0]), 16)


def test_moving_pictures_are_refused_by_name_and_photographs_with_a_second_picture_are_not(tmp_path):
    frames = [Image.new("RGB", (20, 20), (value, 0, 0)) for value in (0, 200)]
    for form in ("PNG", "WEBP"):
        moving = encoded(frames[0], form, save_all=True, append_images=frames[1:])
        path = tar_of(tmp_path / "pets.tar", small(**{"pets/train/cat/0.png": moving}))
        with pytest.raises(DataError, match=r"train/cat/0\.png holds 2 pictures"):
            opened(path)

    photograph = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    path = tar_of(tmp_path / "pets.tar", small(**{"pets/train/cat/0.png": photograph}))
    assert opened(path).read("train", torch.tensor([0]), 20)[0].max() < 5


def test_colours_of_sixteen_bits_are_refused_by_name(tmp_path):
    colour = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(8 * bytes(1 + 8 * 6)))
        + chunk(b"IEND", b"")
    )

    with pytest.raises(DataError, match=r"train/cat/0\.png has RGB pixels of 16 bits"):
        opened(tar_of(tmp_path / "pets.tar", small(**{"pets/train/cat/0.png": colour})))


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize(("one", "other"), [("Cat", "cat"), ("caf\u00e9", "cafe\u0301")])
def test_classes_that_some_disks_take_for_one_are_refused(tmp_path, one, other):
    files = {f"pets/{split}/{label}/0.png": png() for split in ("train", "test") for label in (one, other)}

    with pytest.raises(DataError, match="differ only in case or accents"):
        opened(tar_of(tmp_path / "pets.tar", files))


def test_a_list_may_begin_with_a_byte_order_mark(tmp_path):
    lists = {"train2": "\ufeff" + TRAIN, "val2": VAL}

    assert opened(tar_of(tmp_path / "pets.tar", listed(**lists))).published


@pytest.mark.parametrize("name", ["splits", "splits/Train.txt", "splits/folds.csv"])
def test_splits_that_are_no_lists_are_not_passed_over(tmp_path, name):
    with pytest.raises(DataError, match=r"pets\.tar has split lists for nothing; splits/train\*\.txt and"):
        opened(tar_of(tmp_path / "pets.tar", small(**{f"pets/{name}": TRAIN.encode()})))


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"train in pets\.tar does not fit: images belong in train/CLASS/"):
        opened(tar_of(tmp_path / "pets.tar", {"pets/train": png(), **small()}))


@pytest.mark.parametrize("letter", ["\n", "\x1b", "\x85", "\udcff"])
def test_names_that_a_record_or_a_terminal_cannot_show_are_refused(image_folder, tmp_path, letter):
    files = small(**{f"pets/{split}/{letter}/0.png": png() for split in ("train", "test")})
    with pytest.raises(DataError, match=r"holds control characters or is not UTF-8"):
        opened(tar_of(tmp_path / "pets.tar", files))

    folder = image_folder({"cat": 2, "dog": 2}, name=f"pets{letter}")
    with pytest.raises(DataError, match=r"the name 'pets\\.*' in .* holds control characters"):
        opened(folder)
