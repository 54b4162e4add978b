"""Anybody's images: ``train/CLASS/*`` and ``test/CLASS/*`` in a directory or a tar archive."""

import functools
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from lthnb.images.archive import Files, content_of, read_files, stem_of
from lthnb.images.dataset import DataError, DatasetInfo, Parts, Source, pool_size, square, stack

FEW = 2000  # a folder with fewer training images chooses its round on a part of them, and is then run on all
FORMATS = ("JPEG", "PNG", "WEBP")
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
LARGEST = 224  # pixels; images with longer edges are resized to it when they are read "as stored"
MOST_PIXELS = 2**26  # an image may unpack to 64 megapixels
Lists = dict[str, list[str]]  # split -> names of images, such as train/CLASS/FILE


def folder(path: Path) -> Source:
    """Open ``train/CLASS/*`` and ``test/CLASS/*`` in a directory or a tar archive (plain, gz, bz2, xz).

    Images are decoded at their first use, all of them, so that a damaged one never goes unnoticed; they are
    cropped to their central square and resized by area. Grey sets keep one channel. ``side`` is that of the
    smallest image, at most 224. Lists ``splits/{train,val,test}*.txt`` of lines CLASS/FILE, if there are any,
    say which images belong to a published split; names match exactly.

    Raises:
        DataError: no images, one class, an empty class, a file that is no image; names the file or class.
    """
    files = read_files(path)
    lists = _split_lists(path.name, files)
    names = _image_names(path.name, files)
    classes = tuple(dict.fromkeys(_class_of(name) for name in names["train"]))
    published = None
    if lists:
        _check_balance(lists, classes)
        names = _only_listed(names, lists)
        train = _positions(lists["train"], names["train"])
        val = _positions(lists["val"], names["train"])
        published = (train, val)
    sha256, side, channels = _survey(names, lists, files)

    @functools.lru_cache(1)
    def decoded(side: int) -> Parts:
        return {split: _decode(names[split], files, side, channels) for split in names}

    def read(split: str, indices: Tensor, side: int) -> Tensor:
        return decoded(side)[split][indices]

    labels = {split: _positions(map(_class_of, names[split]), classes) for split in names}
    pool = pool_size(labels["train"], len(classes))
    info = DatasetInfo(
        name=f"folder:{stem_of(path)}@{sha256[:8]}",
        sha256=sha256,
        classes=classes,
        channels=channels,
        side=side,
        pool=pool,
        few=pool < FEW or bool(lists),
    )
    return Source(info, labels, read, published=published)


def _class_of(name: str) -> str:
    return name.split("/")[1]


def _hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def _image_names(source: str, files: Files) -> Lists:
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
    classes = sorted(tree["train"].keys() | tree["test"].keys())
    for split, images in tree.items():
        if not images:
            raise DataError(f"{source} has no {split}/CLASS folders; expected train/CLASS/* and test/CLASS/*")
        for label in classes:
            if not images.get(label):
                raise DataError(f"class {label!r} has no images in {split}/ of {source}")
    if len(classes) == 1:
        raise DataError(f"{source} has one class only, {classes[0]!r}; two or more are needed")
    return {split: [name for label in classes for name in sorted(tree[split][label])] for split in tree}


def _split_lists(source: str, files: Files) -> Lists:
    """The published split lists by role (train, val, test), each a list of names as in ``files``."""
    lists: Lists = {}
    for name in sorted(files):
        match = re.fullmatch(r"(?s)splits/(train|val|test).*\.txt", name)
        if not match:
            continue
        role = match[1]
        entries = _entries(name, source, files, "test" if role == "test" else "train")
        if role in lists:
            raise DataError(f"{source} has two lists of {role} images, {name} is the second")
        lists[role] = entries
        for entry in entries:
            if not files.get(entry) or any(map(_hidden, entry.split("/"))):
                raise DataError(f"{name} in {source} lists {entry}, which is not there or hidden")
    if lists and not {"train", "val"} <= lists.keys():
        raise DataError(f"{source} has split lists for {', '.join(lists)}; train and val are both needed")
    times = Counter(entry for entries in lists.values() for entry in entries)
    for entry, count in times.items():
        if count > 1:
            raise DataError(f"the split lists of {source} name {entry} twice")
    return lists


def _entries(name: str, source: str, files: Files, split: str) -> list[str]:
    """The lines CLASS/FILE of one list as names of ``split``, where val images lie under train/ as well."""
    try:
        text = content_of(files[name]).decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{name} in {source} is no list of names: {error}") from error
    return [f"{split}/{line.strip()}" for line in text.split("\n") if line.strip()]


def _check_balance(lists: Lists, classes: tuple[str, ...]) -> None:
    """Raise when a class has no images in a list, or not as many as others to train or to choose on."""
    for role, entries in lists.items():
        counts = dict.fromkeys(classes, 0) | Counter(map(_class_of, entries))
        sizes = set(counts.values())
        if 0 in sizes or (role != "test" and len(sizes) > 1):
            raise DataError(f"the {role} list gives classes unequal numbers of images: {counts}")


def _only_listed(names: Lists, lists: Lists) -> Lists:
    """Only the images that the lists name, in the order of the files; all test images without a test list."""
    test = lists.get("test", names["test"])
    listed = {*lists["train"], *lists["val"], *test}
    return {split: [name for name in names[split] if name in listed] for split in names}


def _positions(entries: Iterable[str], order: Sequence[str]) -> Tensor:
    """Where each of the entries stands in ``order``, (N,) int64."""
    position = {name: index for index, name in enumerate(order)}
    return torch.tensor([position[entry] for entry in entries])


def _survey(names: Lists, lists: Lists, files: Files) -> tuple[str, int, int]:
    """Look at every file once.

    Returns:
        SHA-256 over the sorted names with their contents and the lists; pixels of the shortest edge, at most
        ``LARGEST``; channels, 1 where all images are grey.
    """
    digest = hashlib.sha256()
    side = LARGEST
    grey = True
    for name in sorted(names["train"] + names["test"]):
        content = content_of(files[name])
        digest.update(f"{name}\n".encode() + hashlib.sha256(content).digest())
        with _opened(name, content) as image:
            side = min(side, *image.size)
            grey = grey and image.mode in ("1", "L")
    for name, entries in lists.items():
        digest.update("\n".join([name, *entries]).encode())
    return digest.hexdigest(), side, 1 if grey else 3


def _opened(name: str, content: bytes) -> Image.Image:
    """An image whose header has been read and found harmless; its pixels are not decoded yet."""
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Exception as error:  # whatever a decoder raises, the file is at fault
        raise DataError(f"{name} is not a PNG, JPEG or WebP image, or its header is damaged") from error
    if image.mode not in MODES:
        raise DataError(
            f"{name} has {image.mode} pixels; only 8-bit grey, palette and colour images are read"
        )
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise DataError(f"{name} would unpack to {width} x {height} pixels; at most {MOST_PIXELS:,}")
    return image


def _squared(name: str, content: bytes, side: int, channels: int) -> Image.Image:
    with _opened(name, content) as image:
        try:
            return square(image.convert("L" if channels == 1 else "RGB"), side)
        except Exception as error:
            raise DataError(f"{name} is damaged: {error}") from error


def _decode(names: list[str], files: Files, side: int, channels: int) -> Tensor:
    """All images of a split, (N, channels, side, side) uint8."""
    squares = (_squared(name, content_of(files[name]), side, channels) for name in names)
    images = stack(squares, len(names), channels, side)
    if channels == 1:  # the stride of a single channel says "not channels last", which picks torch's kernels
        images = images.squeeze(1).unsqueeze(1)
    return images
