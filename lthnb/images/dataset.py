"""What a data set is before it is split: images that can be read, labels, and what a record tells of them."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lthnb.config import UserError

Parts = dict[str, Tensor]  # "train" and "test" -> images or labels


class DataError(UserError, ValueError):
    """Images or archives are damaged or laid out wrongly; the message names the file or class."""


@dataclass(frozen=True)
class DatasetInfo:
    """What a record tells of its data set, enough to plan a run without the images."""

    name: str  # glyphs, folder:STEM@HASH8, ...; never a path
    sha256: str  # of the content
    classes: tuple[str, ...]
    channels: int
    side: int  # pixels, as stored
    pool: int  # training images after the cut to the smallest class
    few: bool = False  # so few that the round is chosen on a part of them and then run on all


@dataclass(frozen=True, eq=False)  # a key of caches, by identity
class Source:
    """A data set before it is split.

    ``labels``: "train" and "test" -> (N,) int64. ``read(split, indices, side)`` returns (n, channels, side,
    side) uint8.
    """

    info: DatasetInfo
    labels: Parts
    read: Callable[[str, Tensor, int], Tensor]
    note: str = ""  # what a reader of its results should know
    published: tuple[Tensor, Tensor] | None = None  # training and val images of a published few-shot split


def pool_size(labels: Tensor, classes: int) -> int:
    """How many of the training images are left when every class is cut to the smallest."""
    return int(labels.bincount(minlength=classes).min()) * classes


def in_both(train: Iterable[bytes], test: Sequence[bytes]) -> str:
    """Say how many test images, told by their bytes or hashes, are training images as well; empty if none."""
    known = set(train)
    shared = sum(image in known for image in test)
    if not shared:
        return ""
    return f"equal images in train and test: {shared:,} of the {len(test):,} test images"


def square(image: Image.Image, side: int) -> Image.Image:
    """Cut the central square and resize it by area."""
    edge = min(image.size)
    left = (image.width - edge) // 2
    top = (image.height - edge) // 2
    return image.resize((side, side), Image.Resampling.BOX, (left, top, left + edge, top + edge))


def stack(squares: Iterable[Image.Image], number: int, channels: int, side: int) -> Tensor:
    """Put ``number`` pictures of ``side`` pixels into one tensor (number, channels, side, side) uint8."""
    pixels = np.empty((number, side, side, channels), np.uint8)
    for index, picture in enumerate(squares):
        pixels[index] = np.asarray(picture).reshape(side, side, channels)  # grey ones have no channel axis
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def pictures(images: Tensor) -> Iterator[Image.Image]:
    """Images (N, C, H, W) uint8, grey or in colour, as Pillow's."""
    pixels = images.permute(0, 2, 3, 1).squeeze(3).cpu().numpy()  # Pillow's grey images have no channel axis
    return map(Image.fromarray, pixels)


def resized(images: Tensor, side: int) -> Tensor:
    """Square images (N, C, H, H) uint8 at another size, by area."""
    if images.shape[-1] == side:
        return images
    squares = (square(picture, side) for picture in pictures(images))
    return stack(squares, len(images), images.shape[1], side).to(images.device)


def arrays(name: str, images: Parts, labels: Parts, classes: tuple[str, ...]) -> Source:
    """A source of images that lie in memory, (N, C, side, side) uint8 per split."""
    digest = hashlib.sha256()
    rows: list[list[bytes]] = []
    for split in ("train", "test"):
        pixels = images[split].contiguous().numpy()
        rows.append([image.tobytes() for image in pixels])
        digest.update(pixels.tobytes())
        digest.update(labels[split].numpy().tobytes())
    channels, native = images["train"].shape[1:3]

    def read(split: str, indices: Tensor, side: int) -> Tensor:
        return resized(images[split][indices], side)

    pool = pool_size(labels["train"], len(classes))
    info = DatasetInfo(name, digest.hexdigest(), classes, channels, native, pool)
    return Source(info, labels, read, in_both(*rows))
