"""The files of a directory or of a tar archive, by name. An archive is read as a stream, never extracted."""

import bz2
import gzip
import lzma
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

from lthnb.images.dataset import DataError

TOPS = ("train", "test", "splits")  # folders that are looked into
MOST_BYTES = 2**26  # a file may hold 64 MiB
MOST_UNPACKED = 2**32  # an archive 4 GiB, since its files are kept in memory
MOST_HEADER = 2**14  # a long name or attributes 16 KiB, since tarfile reads them at once
MOST_DICTIONARY = 2**28  # what xz may ask for; its strongest setting takes 65 MiB
PIECE = tarfile.RECORDSIZE  # bytes that are unpacked at once
UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # neither a record nor a terminal can show it

Files = dict[str, Path | bytes | None]  # name -> where a file lies, its content, or None for a folder


def read_files(path: Path) -> Files:
    """What lies under train/, test/ and splits/ of a directory or a tar archive (plain, gz, bz2, xz).

    Hidden names (.x, __MACOSX) are passed over.

    Raises:
        DataError: an archive is cut, damaged or goes on after its end, unpacks to too much, holds two sets or
            a name twice; a file is huge, a pipe or a link that leads out of the directory; a name holds
            control characters or is not UTF-8; a folder cannot be listed. Names the file.
    """
    _check_name(path.name, path.parent.name)
    if path.is_file():
        return _archive(path)
    try:
        return dict(_listed(path))
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from error


def content_of(file: Path | bytes | None) -> bytes:
    """The bytes of a file; those of a folder are none."""
    if not isinstance(file, Path):
        return file or b""
    try:
        _check_size(str(file), file.stat().st_size)
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error


def _hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def _check_name(name: str, source: str) -> None:
    if UNFIT.search(name):
        raise DataError(f"the name {name!r} in {source} holds control characters or is not UTF-8; rename it")


def _check_size(described: str, size: int) -> None:
    if not 0 <= size <= MOST_BYTES:
        raise DataError(f"{described} has {size:,} bytes; at most {MOST_BYTES:,}")


def _listed(root: Path, folder: str = "") -> Iterator[tuple[str, Path | None]]:
    """What lies in the class folders; not what lies deeper, where links may lead back."""
    for entry in sorted(os.scandir(root / folder), key=lambda entry: entry.name):
        name = folder + entry.name
        if _hidden(entry.name) or not (folder or name in TOPS):
            continue
        _check_name(name, root.name)
        described = f"{name} in {root.name}"
        if not (entry.is_dir() or entry.is_file()):
            raise DataError(f"{described} cannot be read: it is neither a file nor a folder")
        if entry.is_symlink() and not Path(entry).resolve().is_relative_to(root.resolve()):
            raise DataError(f"{described} is a link that leads out of the folder; put a copy in its place")
        yield name, None if entry.is_dir() else root / name
        if entry.is_dir() and name.count("/") < 2:
            yield from _listed(root, f"{name}/")


class _Header(tarfile.TarInfo):
    """A header that is damaged, huge or of a sparse file is an error, not an end, and not read."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error
        if header.type in b"LKxgX" and not 0 <= header.size <= MOST_HEADER:  # long names and attributes
            raise tarfile.ReadError(f"it has a header of {header.size:,} bytes; at most {MOST_HEADER:,}")
        return header

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        archive.pax_headers.clear()  # those for all later members would pile up; none of them is needed
        return super()._proc_member(archive)

    def _refuse_sparse(self, *_: object) -> None:
        raise tarfile.ReadError("it holds a sparse file; pack it again without --sparse")

    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


def _archive(path: Path) -> Files:
    files = {}
    tops = set()
    try:
        with path.open("rb") as file, _streamed(path.name, file) as archive:
            for member in archive:
                archive.members.clear()  # tarfile would keep every header
                if archive.offset > MOST_UNPACKED:
                    raise DataError(
                        f"{path.name} would unpack to {archive.offset:,} bytes, at most {MOST_UNPACKED:,} "
                        "are held in memory; unpack it yourself and name the folder"
                    )
                top, name = _name(member.name, path.name)
                if not name:
                    continue
                tops.add(top)
                _accept(member, name, path.name, tops)
                if member.isfile() and name in files:
                    raise DataError(f"{name} stands twice in {path.name}")
                stream = archive.extractfile(member)
                files[name] = stream.read() if stream else None
            rest = archive.fileobj.read(MOST_BYTES)  # behind the first block of zeros
            if len(rest) < tarfile.BLOCKSIZE or rest.strip(b"\0") or archive.fileobj.read(1):
                raise tarfile.ReadError("it does not end with two blocks of zeros and nothing after them")
    except (DataError, MemoryError):
        raise
    except Exception as error:  # whatever an unpacker raises, the file is at fault
        raise DataError(f"{path.name} is not a whole tar archive (plain, gz, bz2 or xz): {error}") from error
    return files


def _name(name: str, source: str) -> tuple[str, str]:
    """The folder above one of ``TOPS``, if any, and the name from there on; empty if hidden or elsewhere."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not name or ".." in parts:
        raise DataError(f"{source} holds a file of an impossible name, {name!r}")
    top = "" if not parts or parts[0] in TOPS else parts.pop(0)
    if not parts or parts[0] not in TOPS or any(map(_hidden, [top, *parts])):
        return "", ""
    return top, "/".join(parts)


def _accept(member: tarfile.TarInfo, name: str, source: str, tops: set[str]) -> None:
    """Raise ``DataError`` for what is never read: links, devices, files of an absurd size, a second set."""
    _check_name(name, source)
    if len(tops) > 1:
        folders = " and ".join(map(repr, sorted(tops)))
        raise DataError(f"{source} holds train, test or splits in {folders}; pack one folder alone")
    if not (member.isdir() or member.isfile()):
        raise DataError(f"{name} in {source} is neither a file nor a folder")
    _check_size(f"{name} in {source}", member.size)


def _streamed(source: str, file: BinaryIO) -> tarfile.TarFile:
    """A tar archive as a stream, unpacked a piece at a time."""
    magic = file.peek(6)
    if magic.startswith(b"PK"):
        raise DataError(f"{source} is a zip archive, which is not read: unpack it, or pack it with tar")
    stream = file
    if magic.startswith(b"\x1f\x8b"):
        stream = gzip.GzipFile(fileobj=file)
    elif magic.startswith(b"BZh"):
        stream = _unpacked(file, bz2.BZ2Decompressor)
    elif magic.startswith(b"\xfd7zXZ"):
        stream = _unpacked(file, partial(lzma.LZMADecompressor, memlimit=MOST_DICTIONARY))
    return tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header, encoding="utf-8")


def _unpacked(file: BinaryIO, unpacker: Callable[[], bz2.BZ2Decompressor]) -> SimpleNamespace:
    """Unpack bz2 or xz; their own readers would pass over what follows the compressed data."""
    pieces = filter(None, _pieces(file, unpacker))
    return SimpleNamespace(read=lambda size: next(pieces, b""))  # what tarfile needs of a file


def _pieces(file: BinaryIO, unpacker: Callable[[], bz2.BZ2Decompressor]) -> Iterator[bytes]:
    """Unpacked bytes, at most so many at once that a bomb cannot fill the memory."""
    packed = file.read(PIECE)
    while packed:
        stream = unpacker()
        while not stream.eof:
            if stream.needs_input and not packed:
                raise EOFError("its compressed data is cut")
            yield stream.decompress(packed, PIECE)
            packed = file.read(PIECE) if stream.needs_input and not stream.eof else b""
        packed = stream.unused_data or file.read(PIECE)
