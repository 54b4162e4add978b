"""The one way to write, seal, check and lock a file of ours.

A sealed file carries the SHA-256 of all its other bytes as ``"seal":"<64 hex digits>"``: in the JSON of a
record, in the header of a safetensors file. So it can be copied alone, and nothing is parsed before its hash
agrees.
"""

import errno
import hashlib
import itertools
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lthnb.rules import UserError

UNSEALED = "0" * 64  # what a writer puts where the seal will stand
OPEN_SEAL = f'"seal":"{UNSEALED}"'.encode()
SEAL = re.compile(rb'"seal":"([0-9a-f]{64})"')
FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows knows no quota


class Damaged(UserError, ValueError):
    """A file is not what was written; the message names it and what was expected and found."""


class DiskFull(UserError, OSError):
    """No room for a file; what was on disk before is whole."""


class RunBusy(UserError, BlockingIOError):
    """Another process runs the same run."""


class NotWritable(UserError, OSError):
    """A folder of runs cannot be made or written to."""


class NotReadable(UserError, OSError):
    """A file is there, and the system does not let it be read."""


class FileMissing(UserError, FileNotFoundError):
    """A file that was asked for by name, or was here a moment ago, is not here."""


def write(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path``; a reader, or a crash at any point, meets the old file or the new one.

    Raises:
        DiskFull: names the file, its size and the room that is left; no temporary file stays.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with told(path, len(content)):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync(path.parent)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextmanager
def told(path: Path, size: int = 0) -> Iterator[None]:
    """Say in a sentence which file of a run the system refuses to change, and what to do."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        if error.errno not in FULL:
            place = path if size else error.filename or path  # a write has a file of another name
            why = f"cannot write {place}: {error.strerror or error}"
            raise NotWritable(f"{why}; mend or remove it, or pass another folder as runs") from error
        room = shutil.disk_usage(next(place for place in path.parents if place.exists())).free
        raise DiskFull(
            f"no room for {path} ({size:,} bytes, {room:,} free); make room and run the same command again, "
            "it goes on from the last checkpoint"
        ) from error


def _sync(folder: Path) -> None:
    """Make a rename last; only where folders can be opened, as on Linux and macOS."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def seal(content: bytes) -> bytes:
    """Fill in the seal of a file that says ``"seal":"000..."`` once."""
    sealed = f'"seal":"{hashlib.sha256(content).hexdigest()}"'
    return content.replace(OPEN_SEAL, sealed.encode(), 1)


def sealed_json(schema: int, document: dict[str, Any]) -> bytes:
    """A document as one line of sealed JSON; NaN and infinity are refused."""
    opened = {"schema": schema, "seal": UNSEALED, **document}
    return seal((json.dumps(opened, separators=(",", ":"), allow_nan=False) + "\n").encode())


def read(path: Path) -> bytes:
    """Return a sealed file's bytes.

    Raises:
        Damaged: they are not those that were sealed, or a folder, pipe or broken link has the name.
        FileMissing, NotReadable: there is no such file, or the system refuses it.
    """
    try:
        if os.path.lexists(path) and not path.is_file():  # a pipe would be waited for
            raise Damaged(f"{path.name} is damaged: it is no file, but a folder, pipe or broken link")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise FileMissing(f"there is no file {path}") from error
    except OSError as error:
        raise NotReadable(f"cannot read {path}: {error.strerror or error}; mend or remove it") from error
    match = SEAL.search(content)
    if match is None:
        raise Damaged(f"{path.name} is damaged: it has no seal")
    opened = content.replace(match[0], OPEN_SEAL, 1)
    expected, found = match[1].decode(), hashlib.sha256(opened).hexdigest()
    if found != expected:
        raise Damaged(f"{path.name} is damaged: SHA-256 {expected[:16]} expected, {found[:16]} found")
    return content


def set_aside(path: Path, why: object) -> None:
    """Rename a damaged file to ``NAME.damaged``, or with a number behind it, and say so."""
    names = (f"{path.name}.damaged{number or ''}" for number in itertools.count())
    aside = next(free for free in map(path.with_name, names) if not os.path.lexists(free))
    path.rename(aside)
    print(f"NOTE {path.name} is set aside as {aside.name}: {why}")


def clean(folder: Path) -> None:
    """Remove what killed writers and removers of a run left behind; only for the holder of its lock."""
    beside = folder.parent.glob(f".{folder.name}*.????????")  # folder, record and what was measured later
    for left in [*folder.glob(".*.????????"), *beside]:
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Remove a run's folder, by its holder; somebody who waits for its lock meets none or a new one."""
    clean(folder)
    aside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        folder.rename(aside)
    except PermissionError:  # Windows renames no folder with an open file; the lock alone stays
        aside = folder
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def lock(folder: Path, wait: float = 10.0) -> Iterator[None]:
    """Hold a run's folder for this process; the system lets go of it when the process ends, however it ends.

    Raises:
        RunBusy: another process holds it for ``wait`` seconds (a killed papermill's kernel lives on for 3).
        NotWritable: the folder cannot be made.
    """
    held = _acquired(folder, wait)
    holder = folder / "holder"
    try:
        with suppress(OSError):
            holder.write_text(str(os.getpid()))
        yield
    finally:
        with suppress(OSError):
            holder.unlink()
        held.release()


def _acquired(folder: Path, wait: float) -> FileLock:
    until = time.monotonic() + wait
    with told(folder):
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            held = FileLock(folder / "lock")
            try:
                held.acquire(timeout=max(0, until - time.monotonic()), poll_interval=0.1)
                return held
            except Timeout as error:
                raise RunBusy(f"{folder.name} is run by {_holder(folder)}; wait for it or stop it") from error
            except FileNotFoundError:  # the folder was removed in between, by its holder
                if time.monotonic() > until:
                    raise


def _holder(folder: Path) -> str:
    with suppress(OSError, ValueError):
        return f"process {int((folder / 'holder').read_text())}"
    return "another process"


def is_locked(folder: Path) -> bool:
    """Whether some process holds a run's folder now."""
    path = folder / "lock"
    if not path.exists():
        return False
    with told(folder):
        try:
            with FileLock(path).acquire(timeout=0):
                return False
        except Timeout:
            return True
