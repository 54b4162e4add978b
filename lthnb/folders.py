"""Image folders and archives: what a data set is before it is split. Nothing is extracted to disk."""

import functools
import hashlib
import io
import lzma
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lthnb.config import UserError

TOPS = ("train", "test", "splits")
FEW = 2000  # a folder with fewer training images chooses its round on a part of them, and is then run on all
FORMATS = {"PNG", "JPEG", "WEBP"}
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
LARGEST = 224  # pixels; images with longer edges are resized to it when they are read "as stored"
MOST_BYTES = 2**26  # a file in an archive may hold 64 MiB
MOST_PIXELS = 2**26  # an image may unpack to 64 megapixels
Files = dict[str, Path | bytes | None]  # name -> where a file lies, its content, or None for a folder
Lists = dict[str, list[str]]  # split -> names of images


class DataError(UserError, ValueError):
    """Images or archives are damaged or laid out wrongly; the message names the file or class."""


@dataclass(frozen=True)
class Facts:
    """What a record tells of its data set, enough to plan a run without the images."""

    name: str  # glyphs, folder:STEM@HASH8, ...; never a path
    sha256: str  # of the content
    classes: tuple[str, ...]
    channels: int
    side: int  # pixels, as stored
    pool: int  # training images after the cut to the smallest class
    few: bool = False  # so few that the round is chosen on a part of them and then run on all


@dataclass(frozen=True)
class Source:
    """A data set before it is split.

    ``labels``: "train" and "test" -> (N,) int64. ``read(split, indices, side)`` returns (n, channels, side,
    side) uint8.
    """

    facts: Facts
    labels: dict[str, Tensor]
    read: Callable[[str, Tensor, int], Tensor]
    note: str = ""  # why this set, when it was not asked for by name
    published: tuple[Tensor, Tensor] | None = None  # training and val images of a published few-shot split


def folder(path: Path) -> Source:
    """Open ``train/CLASS/*`` and ``test/CLASS/*`` in a directory or a tar archive (plain, gz, bz2, xz).

    Images are decoded at their first use, all of them, so that a damaged one never goes unnoticed; they are
    cropped to their central square and resized by area. Grey sets keep one channel. ``side`` is that of the
    smallest image, at most 224. Lists ``splits/{train,val,test}*.txt`` of lines CLASS/FILE, if there are any,
    say which images belong to a published split; names match exactly.

    Raises:
        DataError: no images, one class, an empty class, a file that is no image; names the file or class.
    """
    files = _archive(path) if path.is_file() else _directory(path)
    lists, names, published = _lists(path.name, files), _names(path.name, files), None
    classes = tuple(dict.fromkeys(name.split("/")[1] for name in names["train"]))
    if lists:
        names, published = _listed(names, lists, classes)
    place = {label: index for index, label in enumerate(classes)}
    labels = {split: torch.tensor([place[name.split("/")[1]] for name in names[split]]) for split in names}
    digest = hashlib.sha256()
    shortest, grey = 2**30, True
    for name in sorted(names["train"] + names["test"]):
        content = _content(files[name])
        digest.update(f"{name}\n".encode() + hashlib.sha256(content).digest())
        with _opened(name, content) as image:
            shortest, grey = min(shortest, *image.size), grey and image.mode in ("1", "L")
    for name, lines in lists.items():
        digest.update("\n".join([name, *lines]).encode())

    @functools.lru_cache(1)
    def decoded(side: int) -> dict[str, Tensor]:
        return {split: _decode(names[split], files, side, grey) for split in names}

    def read(split: str, indices: Tensor, side: int) -> Tensor:
        return decoded(side)[split][indices]

    stem = path.name.removesuffix(path.suffix).removesuffix(".tar") if path.is_file() else path.name
    pool = int(labels["train"].bincount(minlength=len(classes)).min()) * len(classes)
    few, side = pool < FEW or bool(lists), min(shortest, LARGEST)
    name = f"folder:{stem}@{digest.hexdigest()[:8]}"
    facts = Facts(name, digest.hexdigest(), classes, 1 if grey else 3, side, pool, few)
    return Source(facts, labels, read, published=published)


def _lists(source: str, files: Files) -> Lists:
    """The published split lists by role, each a list of names as in ``files``."""
    lists: Lists = {}
    for name in sorted(files):
        match = re.fullmatch(r"(?s)splits/(train|val|test).*\.txt", name)
        if not match:
            continue
        role, split = match[1], "test" if match[1] == "test" else "train"
        try:
            lines = _content(files[name]).decode().split("\n")
        except UnicodeDecodeError as error:
            raise DataError(f"{name} in {source} is no list of names: {error}") from error
        if role in lists:
            raise DataError(f"{source} has two lists of {role} images, {name} is the second")
        lists[role] = [f"{split}/{line.strip()}" for line in lines if line.strip()]
        for entry in lists[role]:
            if not files.get(entry) or any(map(_hidden, entry.split("/"))):
                raise DataError(f"{name} in {source} lists {entry}, which is not there or hidden")
    if lists and not {"train", "val"} <= lists.keys():
        raise DataError(f"{source} has split lists for {', '.join(lists)}; train and val are both needed")
    for name, times in Counter(name for entries in lists.values() for name in entries).items():
        if times > 1:
            raise DataError(f"the split lists of {source} name {name} twice")
    return lists


def _hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def _listed(names: Lists, lists: Lists, classes: tuple[str, ...]) -> tuple[Lists, tuple[Tensor, Tensor]]:
    """Only the images that the lists name, in the order of the files; which of them are train and val.

    Raises:
        DataError: a class has no images in a list, or not as many as others to train or to choose on.
    """
    for role, entries in lists.items():
        counts = dict.fromkeys(classes, 0) | Counter(name.split("/")[1] for name in entries)
        if min(counts.values()) == 0 or (role != "test" and len({*counts.values()}) > 1):
            raise DataError(f"the {role} list gives classes unequal numbers of images: {counts}")
    wanted = {"train": {*lists["train"], *lists["val"]}, "test": {*lists.get("test", names["test"])}}
    names = {split: [name for name in names[split] if name in wanted[split]] for split in names}
    place = {name: index for index, name in enumerate(names["train"])}
    train, val = (torch.tensor([place[name] for name in lists[role]]) for role in ("train", "val"))
    return names, (train, val)


def _directory(path: Path) -> Files:
    """What lies in the class folders; not what lies deeper, where links may lead back."""
    found = [each for top in TOPS for depth in ("*", "*/*") for each in (path / top).glob(depth)]
    return {each.relative_to(path).as_posix(): None if each.is_dir() else each for each in found}


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
    """Read an archive as a stream; names begin at ``train`` or ``test``, one folder above them is allowed."""
    files: Files = {}
    try:
        with tarfile.open(path, "r|*", tarinfo=_Strict) as archive:
            for member in archive:
                parts = [part for part in member.name.split("/") if part not in ("", ".")]
                parts = parts[0 if parts and parts[0] in TOPS else 1 :]
                if not parts or parts[0] not in TOPS or ".." in parts:
                    continue
                name, size = "/".join(parts), member.size
                if not (member.isdir() or member.isfile()):
                    raise DataError(f"{name} in {path.name} is neither a file nor a folder")
                if size > MOST_BYTES:
                    raise DataError(f"{name} in {path.name} has {size:,} bytes; at most {MOST_BYTES:,}")
                if member.isfile() and name in files:
                    raise DataError(f"{name} stands twice in {path.name}")
                content = archive.extractfile(member)
                files[name] = content.read() if content else None
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise DataError(f"{path.name} is not a whole tar archive: {error}") from error
    return files


def _names(source: str, files: Files) -> Lists:
    """The names of the images of "train" and "test", by class and then by file."""
    tree: dict[str, Lists] = {"train": {}, "test": {}}
    for name, content in files.items():
        split, *rest = name.split("/")
        if split == "splits" or any(map(_hidden, rest)):
            continue
        if content is None and len(rest) == 1:
            tree[split].setdefault(rest[0], [])
        elif content is not None and len(rest) == 2:
            tree[split].setdefault(rest[0], []).append(name)
        elif rest:
            raise DataError(f"{name} in {source} does not fit: images belong in {split}/CLASS/")
    labels = sorted(tree["train"].keys() | tree["test"].keys())
    for split, classes in tree.items():
        if not classes:
            raise DataError(f"{source} has no {split}/CLASS folders; expected train/CLASS/* and test/CLASS/*")
        for label in labels:
            if not classes.get(label):
                raise DataError(f"class {label!r} has no images in {split}/ of {source}")
    if len(labels) == 1:
        raise DataError(f"{source} has one class only, {labels[0]!r}; two or more are needed")
    return {split: [name for label in labels for name in sorted(tree[split][label])] for split in tree}


def _content(file: Path | bytes | None) -> bytes:
    try:
        return file.read_bytes() if isinstance(file, Path) else file or b""
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error


def _opened(name: str, content: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content), formats=sorted(FORMATS))
    except Exception as error:  # whatever a decoder raises, the file is at fault
        raise DataError(f"{name} is not a PNG, JPEG or WebP image, or its header is damaged") from error
    mode, (width, height) = image.mode, image.size
    if mode not in MODES:
        raise DataError(f"{name} has {mode} pixels; only 8-bit grey, palette and colour images are read")
    if width * height > MOST_PIXELS:
        raise DataError(f"{name} would unpack to {width} x {height} pixels; at most {MOST_PIXELS:,}")
    return image


def _decode(names: list[str], files: Files, side: int, grey: bool) -> Tensor:
    pixels = np.empty((len(names), side, side) + (() if grey else (3,)), np.uint8)
    for place, name in zip(pixels, names, strict=True):
        with _opened(name, _content(files[name])) as image:
            try:
                place[:] = np.asarray(square(image.convert("L" if grey else "RGB"), side))
            except Exception as error:
                raise DataError(f"{name} is damaged: {error}") from error
    images = torch.from_numpy(pixels)
    return images.unsqueeze(1) if grey else images.permute(0, 3, 1, 2)


def square(image: Image.Image, side: int) -> Image.Image:
    """Cut the central square and resize it by area."""
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    return image.resize((side, side), Image.Resampling.BOX, (left, top, left + edge, top + edge))
