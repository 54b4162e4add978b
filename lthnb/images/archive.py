"""The files of a directory or of a tar archive, by name. An archive is read as a stream, never extracted."""

import lzma
import tarfile
import zlib
from pathlib import Path

from lthnb.images.dataset import DataError

TOPS = ("train", "test", "splits")  # folders that are looked into
MOST_BYTES = 2**26  # a file in an archive may hold 64 MiB
DAMAGES = (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError)  # what unpacking may raise
Files = dict[str, Path | bytes | None]  # name -> where a file lies, its content, or None for a folder


def read_files(path: Path) -> Files:
    """What lies under train/, test/ and splits/ of a directory or a tar archive (plain, gz, bz2, xz).

    Raises:
        DataError: an archive is cut or damaged, or holds links, huge files or a name twice.
    """
    if path.is_file():
        return _archive(path)
    return _directory(path)


def content_of(file: Path | bytes | None) -> bytes:
    """The bytes of a file; those of a folder are none."""
    try:
        return file.read_bytes() if isinstance(file, Path) else file or b""
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error


def stem_of(path: Path) -> str:
    """What a data set is called after its directory or archive."""
    if path.is_file():
        return path.name.removesuffix(path.suffix).removesuffix(".tar")
    return path.name


def _directory(path: Path) -> Files:
    """What lies in the class folders; not what lies deeper, where links may lead back."""
    files: Files = {}
    for top in TOPS:
        for depth in ("*", "*/*"):
            for file in (path / top).glob(depth):
                name = file.relative_to(path).as_posix()
                files[name] = None if file.is_dir() else file
    return files


class _Strict(tarfile.TarInfo):
    """A header that is cut or damaged is an error; tarfile would take it for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


def _archive(path: Path) -> Files:
    files: Files = {}
    try:
        with tarfile.open(path, "r|*", tarinfo=_Strict) as archive:
            for member in archive:
                name = _name(member)
                if not name:
                    continue
                _accept(member, f"{name} in {path.name}")
                if member.isfile() and name in files:
                    raise DataError(f"{name} stands twice in {path.name}")
                stream = archive.extractfile(member)
                files[name] = stream.read() if stream else None
    except DAMAGES as error:
        raise DataError(f"{path.name} is not a whole tar archive: {error}") from error
    return files


def _name(member: tarfile.TarInfo) -> str:
    """A member's name from one of ``TOPS`` on, one folder above is allowed; empty if it lies elsewhere."""
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    if parts and parts[0] not in TOPS:
        parts = parts[1:]
    if not parts or parts[0] not in TOPS or ".." in parts:
        return ""
    return "/".join(parts)


def _accept(member: tarfile.TarInfo, described: str) -> None:
    """Raise ``DataError`` for what is never read: links, devices and files of an absurd size."""
    if not (member.isdir() or member.isfile()):
        raise DataError(f"{described} is neither a file nor a folder")
    if member.size > MOST_BYTES:
        raise DataError(f"{described} has {member.size:,} bytes; at most {MOST_BYTES:,}")
