"""Anybody's images: ``train/CLASS/*`` and ``test/CLASS/*`` in a directory or a tar archive."""

import functools
import hashlib
import io
import itertools
import re
import statistics
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor

from lthnb.images.archive import Files, content_of, read_files
from lthnb.images.dataset import DataError, DatasetInfo, Parts, Source, in_both, pool_size, square, stack

FEW = 2000  # a folder with fewer training images chooses its round on a part of them, and is then run on all
FORMATS = ("JPEG", "PNG", "WEBP")
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
LARGEST = 224  # pixels; images with longer edges are resized to it when they are read "as stored"
MOST_PIXELS = 2**26  # an image may unpack to 64 megapixels
Lists = dict[str, list[str]]  # split -> names of images, such as train/CLASS/FILE


def folder(path: Path) -> Source:
    """Open ``train/CLASS/*`` and ``test/CLASS/*`` in a directory or a tar archive (plain, gz, bz2, xz).

    Images are decoded at their first use, all of them, so that one that cannot be decoded never goes
    unnoticed. Damage that decodes to other pixels does: nothing but the hash in the set's name tells of it.
    Images are turned as their EXIF says, cropped to their central square and resized by area. Grey sets keep
    one channel. ``side`` is that of the smallest image, at most 224. Lists ``splits/{train,val,test}*.txt``
    of lines CLASS/FILE, if there are any, say which images belong to a published split; names match exactly.

    Raises:
        DataError: no images, one class, an empty class, a file that is no image, is far smaller than the
            others or changes later; names the file or class.
    """
    files = read_files(path)
    lists = _split_lists(path.name, files)
    names = _image_names(path.name, files)
    classes = tuple(dict.fromkeys(_class_of(name) for name in names["train"]))
    published = None
    if lists:  # only the images that they name; all test images without a test list
        _check_balance(lists, classes)
        listed = {*lists["train"], *lists["val"], *lists.get("test", names["test"])}
        names = {split: [name for name in names[split] if name in listed] for split in names}
        published = tuple(_positions(lists[role], names["train"]) for role in ("train", "val"))
    sha256, hashes, side, channels = _survey(names, lists, files)

    def picture(name: str, side: int) -> Image.Image:
        content = content_of(files[name])
        if hashlib.sha256(content).digest() != hashes[name]:
            raise DataError(f"{name} was changed after the set was opened; open it again")
        return squared(name, content, side, channels)

    @functools.lru_cache(1)
    def decoded(side: int) -> Parts:
        return {split: _decode(names[split], picture, side, channels) for split in names}

    def read(split: str, indices: Tensor, side: int) -> Tensor:
        return decoded(side)[split][indices]

    labels = {split: _positions(map(_class_of, names[split]), classes) for split in names}
    stem = path.name.removesuffix(path.suffix).removesuffix(".tar") if path.is_file() else path.name
    pool = pool_size(labels["train"], len(classes))
    few = pool < FEW or bool(lists)
    info = DatasetInfo(f"folder:{stem}@{sha256[:8]}", sha256, classes, channels, side, pool, few)
    note = in_both(*([hashes[name] for name in names[split]] for split in ("train", "test")))
    return Source(info, labels, read, note, published)


def _class_of(name: str) -> str:
    return name.split("/")[1]


def _image_names(source: str, files: Files) -> Lists:
    """The names of the images of "train" and "test", by class and then by file."""
    names = {"train": [], "test": []}
    classes = set()
    for name, content in files.items():
        split, *rest = name.split("/")
        if split == "splits":
            continue
        if content is not None and len(rest) == 2:
            names[split].append(name)
        elif content is not None or len(rest) > 1:
            raise DataError(f"{name} in {source} does not fit: images belong in {split}/CLASS/")
        classes.update(rest[:1])
    if len(classes) < 2:
        raise DataError(f"{source} has the classes {[*classes]}; two are needed, train/CLASS/*, test/CLASS/*")
    for split in names:
        for label in sorted(classes - {*map(_class_of, names[split])}):
            raise DataError(f"class {label!r} has no images in {split}/ of {source}")
    spellings = {unicodedata.normalize("NFC", label).casefold() for label in classes}
    if len(spellings) < len(classes):
        among = ", ".join(sorted(classes))
        raise DataError(f"{source} has classes that differ only in case or accents: {among}")
    return {split: sorted(names[split], key=lambda name: name.split("/")) for split in names}


def _split_lists(source: str, files: Files) -> Lists:
    """The published split lists by role (train, val, test), each a list of names as in ``files``."""
    lists = {}
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
            if not files.get(entry):
                raise DataError(f"{name} in {source} lists {entry}, which is not there or hidden")
    given = [name for name, content in files.items() if name.startswith("splits") and content is not None]
    if given and not {"train", "val"} <= lists.keys():
        roles = ", ".join(lists) or "nothing"
        raise DataError(
            f"{source} has split lists for {roles}; splits/train*.txt and splits/val*.txt are both needed"
        )
    times = Counter(itertools.chain(*lists.values()))
    for entry, count in times.items():
        if count > 1:
            raise DataError(f"the split lists of {source} name {entry} twice")
    return lists


def _entries(name: str, source: str, files: Files, split: str) -> list[str]:
    """The lines CLASS/FILE of one list as names of ``split``, where val images lie under train/ as well."""
    try:
        text = content_of(files[name]).decode("utf-8-sig")
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


def _positions(entries: Iterable[str], order: Sequence[str]) -> Tensor:
    """Where each of the entries stands in ``order``, (N,) int64."""
    position = {name: index for index, name in enumerate(order)}
    return torch.tensor([position[entry] for entry in entries])


def _survey(names: Lists, lists: Lists, files: Files) -> tuple[str, dict[str, bytes], int, int]:
    """Look at every file once.

    Returns:
        SHA-256 over the sorted names with their contents and the lists; that of each content by name; pixels
        of the shortest edge, at most ``LARGEST``; channels, 1 where all images are grey.
    """
    digest = hashlib.sha256()
    hashes = {}
    sizes = {}
    modes = set()
    for name in sorted(names["train"] + names["test"]):
        content = content_of(files[name])
        hashes[name] = hashlib.sha256(content).digest()
        digest.update(f"{name}\n".encode() + hashes[name])
        with _opened(name, content) as image:
            sizes[name] = image.size
            modes.add(image.mode)
    for name, entries in lists.items():
        digest.update("\n".join([name, *entries]).encode())
    return digest.hexdigest(), hashes, _shortest_edge(sizes), 1 if modes <= {"1", "L"} else 3


def _shortest_edge(sizes: dict[str, tuple[int, int]]) -> int:
    """The shortest edge of all images; raise where one image would shrink the whole set."""
    edges = {name: min(LARGEST, *size) for name, size in sizes.items()}
    name = min(edges, key=edges.__getitem__)
    median = statistics.median(edges.values())
    if edges[name] < median / 4:
        width, height = sizes[name]
        raise DataError(
            f"{name} is {width} x {height} pixels, and all images would be made as small; the median edge is "
            f"{median:g}: replace or remove it"
        )
    return edges[name]


def _opened(name: str, content: bytes) -> Image.Image:
    """An image whose header has been read and found harmless; its pixels are not decoded yet."""
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Exception as error:  # whatever a decoder raises, the file is at fault
        raise DataError(f"{name} is not a PNG, JPEG or WebP image, or its header is damaged") from error
    bits = content[24] if image.format == "PNG" else 8  # Pillow drops the lower 8 of 16 without a word
    if image.mode not in MODES or bits > 8:
        raise DataError(
            f"{name} has {image.mode} pixels of {bits} bits; only 8-bit grey, palette and colour are read"
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a photograph that carries a second one, such as its depth
        raise DataError(f"{name} holds {frames} pictures; only still images are read")
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise DataError(f"{name} would unpack to {width} x {height} pixels; at most {MOST_PIXELS:,}")
    return image


def squared(name: str, content: bytes, side: int, channels: int) -> Image.Image:
    """Decode a picture, turn it as its EXIF says, cut its central square and resize it; grey for one channel.

    Raises:
        DataError: it is no still picture of 8 bits, or damaged; names it.
    """
    with _opened(name, content) as image:
        try:
            ImageOps.exif_transpose(image, in_place=True)
            return square(image.convert("L" if channels == 1 else "RGB"), side)
        except Exception as error:
            raise DataError(f"{name} is damaged: {error}") from error


def _decode(names: list[str], picture: Callable[[str, int], Image.Image], side: int, channels: int) -> Tensor:
    """All images of a split, (N, channels, side, side) uint8."""
    images = stack((picture(name, side) for name in names), len(names), channels, side)
    if channels == 1:  # the stride of a single channel says "not channels last", which picks torch's kernels
        images = images.squeeze(1).unsqueeze(1)
    return images
