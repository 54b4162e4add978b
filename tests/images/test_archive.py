import bz2
import gzip
import io
import lzma
import os
import tarfile
import tracemalloc

import pytest
from conftest import opened, tar_of

from lthnb.images import archive
from lthnb.images.archive import read_files
from lthnb.images.dataset import DataError

FILES = {
    f"pets/{split}/{label}/{n}.png": b"x" * 700 for split in ("train", "test") for label in "ab" for n in "12"
}
COMPRESSED = {"tar": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
BROKEN = r"pets\.tar is not a whole tar archive"


def member(name="pets/train/a/3.png", **fields):
    made = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def with_members(path, *members, content=b""):
    """FILES, then the given members, whose content is cut or padded to their size."""
    tar_of(path, FILES)
    with tarfile.open(path, "a", format=tarfile.GNU_FORMAT) as tar:
        for added in members:
            tar.format = tarfile.PAX_FORMAT if added.pax_headers else tarfile.GNU_FORMAT
            tar.addfile(added, io.BytesIO(content) if content else None)
    return path


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_zeroed_header_does_not_end_an_archive_early(tmp_path, kind):
    path = tar_of(tmp_path / "pets.tar", FILES)
    content = bytearray(path.read_bytes())
    header = content.index(b"pets/test/a/1.png")
    content[header : header + 512] = bytes(512)
    path.write_bytes(COMPRESSED[kind](content))

    with pytest.raises(DataError, match=BROKEN + ".*two blocks of zeros"):
        read_files(path)


@pytest.mark.parametrize("kind", COMPRESSED)
@pytest.mark.parametrize("tail", [b"", bytes(512), bytes(1024) + b"x", bytes(1024) + b"pets" * 128])
def test_the_end_is_two_blocks_of_zeros_and_nothing_after(tmp_path, kind, tail):
    path = tar_of(tmp_path / "pets.tar", FILES)
    content = path.read_bytes()
    path.write_bytes(COMPRESSED[kind](content + bytes(1_000_000)))
    assert len(read_files(path)) == len(FILES)

    path.write_bytes(COMPRESSED[kind](content[: 1536 * len(FILES)] + tail))
    with pytest.raises(DataError, match=BROKEN):
        read_files(path)


@pytest.mark.parametrize("kind", COMPRESSED)
def test_archives_one_after_the_other_are_refused(tmp_path, kind):
    path = tar_of(tmp_path / "pets.tar", FILES)
    path.write_bytes(2 * COMPRESSED[kind](path.read_bytes()))

    with pytest.raises(DataError, match=BROKEN):
        read_files(path)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_what_follows_or_lacks_in_compressed_data_is_refused(tmp_path, kind):
    path = tar_of(tmp_path / "pets.tar", FILES)
    content = path.read_bytes()
    packed = COMPRESSED[kind](content)
    for wrong in (packed + b"junk and more junk", packed[:-1], packed[:-4] + b"abcd"):
        path.write_bytes(wrong)
        with pytest.raises(DataError, match=BROKEN):
            read_files(path)

    parts = [COMPRESSED[kind](part) for part in (content[:5000], content[5000:])]  # as parallel packers do
    path.write_bytes(b"".join(parts))
    assert len(read_files(path)) == len(FILES)


@pytest.mark.parametrize("position", [-8, -4])
def test_a_wrong_checksum_or_length_of_gzip_is_refused(tmp_path, position):
    path = tar_of(tmp_path / "pets.tar", FILES)
    content = bytearray(gzip.compress(path.read_bytes()))
    content[position] ^= 1
    path.write_bytes(content)

    with pytest.raises(DataError, match=BROKEN):
        read_files(path)


@pytest.mark.parametrize("name", ["pets/meta/film", "pets/train/a/.cache"])
def test_an_archive_that_would_unpack_to_too_much_is_refused_before_that(tmp_path, name):
    path = with_members(tmp_path / "pets.tar", member(name, size=2**40))

    with pytest.raises(DataError, match=r"pets\.tar would unpack to 1,099,511,\d+,\d+ bytes.*unpack it"):
        read_files(path)


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_bomb_does_not_fill_the_memory(tmp_path, kind):
    path = with_members(tmp_path / "pets.tar", member("pets/meta/zeros", size=2**26), content=bytes(2**26))
    path.write_bytes(COMPRESSED[kind](path.read_bytes()))
    tracemalloc.start()
    assert len(read_files(path)) == len(FILES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 2**25  # half of what is passed over


def test_padding_has_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_BYTES", 2**15)
    path = tar_of(tmp_path / "pets.tar", FILES)
    path.write_bytes(path.read_bytes() + bytes(2**16))

    with pytest.raises(DataError, match=BROKEN):
        read_files(path)


@pytest.mark.parametrize("kind", [b"x", b"g", b"X", b"L", b"K"])
@pytest.mark.parametrize("size", [2**29, -512])
def test_a_header_of_an_absurd_size_is_not_read(tmp_path, kind, size):
    path = with_members(tmp_path / "pets.tar", member(type=kind, size=size))

    with pytest.raises(DataError, match=BROKEN + f".*{size:,} bytes"):
        read_files(path)


def test_a_file_of_negative_size_is_refused(tmp_path):
    for fields in ({"size": -5}, {"pax_headers": {"size": "-2000"}}):
        path = with_members(tmp_path / "pets.tar", member(**fields))

        with pytest.raises(DataError, match=r"3\.png in pets\.tar has -\d,?\d* bytes"):
            read_files(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"type": tarfile.GNUTYPE_SPARSE},
        {"pax_headers": {"GNU.sparse.map": "0,one"}},
        {"pax_headers": {"GNU.sparse.size": "9"}},
        {"pax_headers": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}},
    ],
)
def test_sparse_files_are_refused_before_their_map_is_read(tmp_path, fields):
    path = with_members(tmp_path / "pets.tar", member(**fields))

    with pytest.raises(DataError, match=BROKEN + ".*--sparse"):
        read_files(path)


def test_headers_that_follow_one_another_without_end_are_refused(tmp_path):
    path = with_members(tmp_path / "pets.tar", *[member(type=b"x", size=0)] * 1500)

    with pytest.raises(DataError, match=BROKEN):
        read_files(path)


def test_hidden_names_are_neither_read_nor_judged(tmp_path):
    link, huge = tarfile.SYMTYPE, archive.MOST_BYTES + 1
    hidden = [
        member("pets/train/a/.link", type=link, linkname="/etc"),
        member("pets/train/a/._1.png", type=tarfile.FIFOTYPE),
        member("pets/train/.git/deeper/config"),
        member("__MACOSX/train/a/1.png"),
        member("__MACOSX/pets/train/._a", type=link, linkname="/etc"),
        member("pets/test/.huge", size=huge),
    ]
    path = with_members(tmp_path / "pets.tar", *hidden[:-1])
    assert read_files(path).keys() == FILES_READ

    path = with_members(tmp_path / "pets.tar", *hidden, content=bytes(huge))
    assert read_files(path).keys() == FILES_READ


FILES_READ = {name.removeprefix("pets/") for name in FILES}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            member("cats/train/a/3.png"),
            r"pets\.tar holds train, test or splits in 'cats' and 'pets'",
        ),
        (member("train/a/3.png"), r"pets\.tar holds train, test or splits in '' and 'pets'; pack one"),
        (
            member("pets/train/../test/a/3.png"),
            r"a file of an impossible name, 'pets/train/\.\./test",
        ),
        (member(""), r"pets\.tar holds a file of an impossible name, ''"),
        (
            member("pets/train/a/\udcff.png"),
            r"'train/a/\\udcff\.png' in pets\.tar holds control characters or is not UTF-8",
        ),
        (member(type=tarfile.FIFOTYPE), r"train/a/3\.png in pets\.tar is neither a file nor a folder"),
        (member(type=tarfile.CHRTYPE), r"train/a/3\.png in pets\.tar is neither a file nor a folder"),
        (member(type=tarfile.LNKTYPE, linkname="a"), r"train/a/3\.png in pets\.tar is neither"),
        (member("pets/train/a/1.png"), r"train/a/1\.png stands twice in pets\.tar"),
        (member("./pets//train/a/1.png"), r"train/a/1\.png stands twice in pets\.tar"),
    ],
)
def test_a_member_that_does_not_belong_is_named(tmp_path, changed, words):
    with pytest.raises(DataError, match=words):
        read_files(with_members(tmp_path / "pets.tar", changed))


@pytest.mark.parametrize("name", ["pets.zip", "pets.tar"])
def test_zip_is_refused_with_what_to_do(tmp_path, name):
    import zipfile

    with zipfile.ZipFile(tmp_path / name, "w") as packed:
        packed.writestr("pets/train/a/1.png", b"x")

    with pytest.raises(DataError, match=rf"{name} is a zip archive.*unpack it, or pack it with tar"):
        opened(tmp_path / name)


def test_a_pipe_in_a_folder_is_named_and_not_waited_for(image_folder):
    folder = image_folder({"cat": 2, "dog": 2})
    os.mkfifo(folder / "train" / "cat" / "9.png")

    with pytest.raises(DataError, match=r"train/cat/9\.png in pets cannot be read: it is neither a file"):
        opened(folder)


@pytest.mark.parametrize("link", ["train", "train/cat", "train/cat/9.png", "splits"])
def test_a_link_that_leads_out_of_the_folder_is_named(image_folder, tmp_path, link):
    folder = image_folder({"cat": 2, "dog": 2})
    source = folder / link
    if not source.exists():
        (tmp_path / "elsewhere").touch()
    else:
        source.rename(tmp_path / "elsewhere")
    source.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(DataError, match=f"{link} in pets is a link that leads out of the folder"):
        opened(folder)


def test_links_inside_the_folder_are_followed(image_folder, tmp_path):
    folder = image_folder({"cat": 2, "dog": 2})
    name = opened(folder).info.name
    (folder / "train" / "cat").rename(folder / "photos")
    (folder / "train" / "cat").symlink_to("../photos")
    (tmp_path / "alias").mkdir()
    (tmp_path / "alias" / "pets").symlink_to(folder)

    assert opened(tmp_path / "alias" / "pets").info.name == opened(folder).info.name == name


def test_a_folder_that_cannot_be_listed_is_named(image_folder, monkeypatch):
    folder = image_folder({"cat": 2, "dog": 2})
    whole = os.scandir

    def scandir(path):
        if os.fspath(path).rstrip("/").endswith("cat"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return whole(path)

    monkeypatch.setattr(os, "scandir", scandir)

    with pytest.raises(DataError, match="test/cat cannot be read: Permission denied"):
        opened(folder)


def test_names_that_are_not_utf8_are_refused_in_folders_too(image_folder):
    folder = image_folder({"cat": 2, "dog": 2})
    (folder / "train" / "cat" / "\udcff.png").touch()

    with pytest.raises(DataError, match=r"'train/cat/\\udcff\.png' in pets holds control"):
        opened(folder)


def test_a_huge_file_in_a_folder_is_refused_before_it_is_read(image_folder):
    folder = image_folder({"cat": 2, "dog": 2})
    with open(folder / "train" / "cat" / "9.png", "wb") as file:
        file.truncate(2**40)

    with pytest.raises(DataError, match=r"9\.png has 1,099,511,627,776 bytes; at most 67,108,864"):
        opened(folder)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_neither_a_folder_nor_an_archive_is_named(tmp_path, make):
    make(tmp_path / "pets")

    with pytest.raises(DataError, match=r"pets cannot be read: Not a directory"):
        opened(tmp_path / "pets")
