"""Image folders and archives: what a data set is before it is split. Nothing is extracted to disk."""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

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
    lists = _lists(path, files)
    tree = _tree(path, {name: content for name, content in files.items() if not name.startswith("splits")})
    classes = tuple(sorted(tree["train"]))
    names = {split: [name for label in classes for name in sorted(tree[split][label])] for split in tree}
    _check_lists(names, lists)
    names = _listed(names, lists)
    place = {label: index for index, label in enumerate(classes)}
    labels = {split: torch.tensor([place[name.split("/")[1]] for name in names[split]]) for split in names}
    digest = hashlib.sha256()
    shortest, grey = 2**30, True
    for name in sorted(names["train"] + names["test"]):
        content = _content(files[name])
        digest.update(f"{name}\n".encode() + hashlib.sha256(content).digest())
        with _opened(name, io.BytesIO(content)) as image:
            shortest, grey = min(shortest, *image.size), grey and image.mode in ("1", "L")
    for name, lines in lists.items():
        digest.update("\n".join([name, *lines]).encode())
    decoded: dict[int, dict[str, Tensor]] = {}

    def read(split: str, indices: Tensor, side: int) -> Tensor:
        if side not in decoded:
            decoded.clear()
            decoded[side] = {part: _decode(names[part], files, side, grey) for part in names}
        return decoded[side][split][indices]

    stem = path.name.removesuffix(path.suffix).removesuffix(".tar") if path.is_file() else path.name
    pool = int(labels["train"].bincount(minlength=len(classes)).min()) * len(classes)
    few, side = pool < FEW or bool(lists), min(shortest, LARGEST)
    name = f"folder:{stem}@{digest.hexdigest()[:8]}"
    facts = Facts(name, digest.hexdigest(), classes, 1 if grey else 3, side, pool, few)
    return Source(facts, labels, read, published=_published(names["train"], lists))


def _lists(path: Path, files: dict[str, Path | bytes | None]) -> dict[str, list[str]]:
    """The published split lists by role, each a list of names as in ``files``."""
    lists: dict[str, list[str]] = {}
    for name in sorted(files):
        folder, _, file = name.partition("/")
        role = next((role for role in ("train", "val", "test") if file.startswith(role)), None)
        if folder != "splits" or role is None or not file.endswith(".txt"):
            continue
        try:
            lines = _content(files[name]).decode().split("\n")
        except UnicodeDecodeError as error:
            raise DataError(f"{name} in {path.name} is no list of names: {error}") from error
        if role in lists:
            raise DataError(f"{path.name} has two lists of {role} images, {name} is the second")
        lists[role] = [
            f"{'test' if role == 'test' else 'train'}/{line.strip()}" for line in lines if line.strip()
        ]
        for entry in lists[role]:
            if not files.get(entry):
                raise DataError(f"{name} in {path.name} lists {entry}, which is not there")
    if lists and not {"train", "val"} <= lists.keys():
        raise DataError(f"{path.name} has split lists for {', '.join(lists)}; train and val are both needed")
    everything = [name for entries in lists.values() for name in entries]
    if len(set(everything)) < len(everything):
        twice = next(name for name in everything if everything.count(name) > 1)
        raise DataError(f"the split lists of {path.name} name {twice} twice")
    return lists


def _listed(names: dict[str, list[str]], lists: dict[str, list[str]]) -> dict[str, list[str]]:
    """Only the images that the lists name, in the order of the files."""
    if not lists:
        return names
    wanted = {"train": {*lists["train"], *lists["val"]}, "test": {*lists.get("test", names["test"])}}
    return {split: [name for name in names[split] if name in wanted[split]] for split in names}


def _check_lists(names: dict[str, list[str]], lists: dict[str, list[str]]) -> None:
    """Every class must have images in every list, and as many as the others to train and to choose on."""
    classes = {name.split("/")[1] for name in names["train"] + names["test"]}
    for role, entries in lists.items():
        counts = dict.fromkeys(sorted(classes), 0) | Counter(name.split("/")[1] for name in entries)
        if min(counts.values()) == 0 or (role != "test" and len({*counts.values()}) > 1):
            raise DataError(f"the {role} list gives classes unequal numbers of images: {counts}")


def _published(train: list[str], lists: dict[str, list[str]]) -> tuple[Tensor, Tensor] | None:
    if not lists:
        return None
    place = {name: index for index, name in enumerate(train)}
    first, second = (torch.tensor([place[name] for name in lists[role]]) for role in ("train", "val"))
    return first, second


def _directory(path: Path) -> dict[str, Path | bytes | None]:
    files: dict[str, Path | bytes | None] = {}
    for top in TOPS:
        for place, folders, names in os.walk(path / top, followlinks=True):
            files |= {(Path(place) / name).relative_to(path).as_posix(): None for name in folders}
            files |= {(Path(place) / name).relative_to(path).as_posix(): Path(place) / name for name in names}
            if Path(place) != path / top:
                folders.clear()  # deeper folders are an error anyway, and links may lead back
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


def _archive(path: Path) -> dict[str, Path | bytes | None]:
    """Read an archive as a stream; names begin at ``train`` or ``test``, one folder above them is allowed."""
    files: dict[str, Path | bytes | None] = {}
    try:
        with tarfile.open(path, "r|*", tarinfo=_Strict) as archive:
            for member in archive:
                parts = [part for part in member.name.split("/") if part not in ("", ".")]
                parts = parts[0 if parts and parts[0] in TOPS else 1 :]
                if not parts or parts[0] not in TOPS or ".." in parts:
                    continue
                name = "/".join(parts)
                if not (member.isdir() or member.isfile()):
                    raise DataError(f"{name} in {path.name} is neither a file nor a folder")
                if member.size > MOST_BYTES:
                    raise DataError(
                        f"{name} in {path.name} has {member.size:,} bytes; at most {MOST_BYTES:,}"
                    )
                if member.isfile() and name in files:
                    raise DataError(f"{name} stands twice in {path.name}")
                content = archive.extractfile(member)
                files[name] = content.read() if content else None
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise DataError(f"{path.name} is not a whole tar archive: {error}") from error
    return files


def _tree(path: Path, files: dict[str, Path | bytes | None]) -> dict[str, dict[str, list[str]]]:
    tree: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    for name, content in files.items():
        split, *rest = name.split("/")
        if any(part.startswith(".") or part == "__MACOSX" for part in rest):
            continue
        if content is None and len(rest) == 1:
            tree[split].setdefault(rest[0], [])
        elif content is not None and len(rest) == 2:
            tree[split].setdefault(rest[0], []).append(name)
        elif rest:
            raise DataError(f"{name} in {path.name} does not fit: images belong in {split}/CLASS/")
    for split, classes in tree.items():
        if not classes:
            raise DataError(
                f"{path.name} has no {split}/CLASS folders; expected train/CLASS/* and test/CLASS/*"
            )
        for label in sorted(tree["train"].keys() | tree["test"].keys()):
            if not classes.get(label):
                raise DataError(f"class {label!r} has no images in {split}/ of {path.name}")
    if len(tree["train"]) == 1:
        raise DataError(
            f"{path.name} has one class only, {next(iter(tree['train']))!r}; two or more are needed"
        )
    return tree


def _content(file: Path | bytes | None) -> bytes:
    try:
        return file.read_bytes() if isinstance(file, Path) else file or b""
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error


def _opened(name: str, content: BinaryIO) -> Image.Image:
    try:
        image = Image.open(content, formats=sorted(FORMATS))
    except Exception as error:  # whatever a decoder raises, the file is at fault
        raise DataError(f"{name} is not a PNG, JPEG or WebP image, or its header is damaged") from error
    if image.mode not in MODES:
        raise DataError(
            f"{name} has {image.mode} pixels; only 8-bit grey, palette and colour images are read"
        )
    if image.width * image.height > MOST_PIXELS:
        raise DataError(
            f"{name} would unpack to {image.width} x {image.height} pixels; at most {MOST_PIXELS:,}"
        )
    return image


def _decode(names: list[str], files: dict[str, Path | bytes | None], side: int, grey: bool) -> Tensor:
    images = np.empty((len(names), side, side) + (() if grey else (3,)), np.uint8)
    for index, name in enumerate(names):
        with _opened(name, io.BytesIO(_content(files[name]))) as image:
            try:
                images[index] = np.asarray(square(image.convert("L" if grey else "RGB"), side))
            except Exception as error:
                raise DataError(f"{name} is damaged: {error}") from error
    stacked = torch.from_numpy(images)
    return stacked.unsqueeze(1) if grey else stacked.permute(0, 3, 1, 2)


def square(image: Image.Image, side: int) -> Image.Image:
    """Cut the central square and resize it by area."""
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    return image.resize((side, side), Image.Resampling.BOX, (left, top, left + edge, top + edge))
