"""Three disjoint splits of a data set, on the device: which images train, which choose, which report."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from lthnb.config import DataConfig, ParameterError, stream
from lthnb.folders import Facts, Source

CHOOSING = 0.6  # share of a small set's images that the run which chooses the round trains on


@dataclass(frozen=True)
class Split:
    """``images`` (N, C, H, W) uint8 and ``labels`` (N,) int64 on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Data:
    """Three disjoint splits; ``mean`` and ``std`` per channel, in [0, 1], of the training images."""

    train: Split
    val: Split
    test: Split
    mean: Tensor
    std: Tensor
    classes: tuple[str, ...]

    @property
    def splits(self) -> dict[str, Split]:
        return {"train": self.train, "val": self.val, "test": self.test}

    def normalise(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8 to float32 with mean 0 and standard deviation 1."""
        return (images.float() / 255 - self.mean) / self.std


def ranked(labels: Tensor, seed: int | None) -> Tensor:
    """Order the images of a pool so that every prefix is class-balanced within one image.

    The pool is cut to its smallest class. With a seed the order inside and across classes is drawn from it,
    so that prefixes of different lengths are nested; without one it is that of the files.
    """
    rows = [(labels == label).nonzero().flatten() for label in range(int(labels.max()) + 1)]
    smallest, order = min(map(len, rows)), torch.arange(len(rows))
    if seed is not None:
        generator = stream(seed, "subset")
        rows = [row[torch.randperm(len(row), generator=generator)] for row in rows]
        order = torch.randperm(len(rows), generator=generator)
    return torch.stack([row[:smallest] for row in rows], 1)[:, order].flatten()


def count(facts: Facts, config: DataConfig, fraction: float) -> int:
    """Turn a share of the balanced pool, or a number of images, into a number that can be had.

    Raises:
        ParameterError: fewer images than classes. Warns when a number asks for more than is left beside val.
    """
    asked = round(fraction * facts.pool) if fraction <= 1 else int(fraction)
    limited = min(facts.pool, config.pool_limit or facts.pool)
    left = limited - _held(limited, len(facts.classes), config)
    if asked > left and fraction != 1:
        warnings.warn(
            f"{asked:,} images asked for, {left:,} are left beside val: training on those", stacklevel=2
        )
    images, classes = min(asked, left), len(facts.classes)
    share = CHOOSING if config.split == "refit" else 1.0
    least = min(share, 1 - share or 1)  # share of the smaller part that has to hold every class
    if round(least * images) < classes:
        raise ParameterError(
            f"fraction {fraction:g} of {facts.name} gives {images} images, too few for {classes} classes: "
            f"class {facts.classes[-1]!r} would be empty; ask for {math.ceil(classes / least)} or more"
        )
    return images


def _held(pool: int, classes: int, config: DataConfig) -> int:
    """Number of pool images set aside as val: a tenth, class-balanced."""
    return 0 if config.split == "refit" else min(pool // 10, config.val_limit) // classes * classes


def _indices(source: Source, config: DataConfig, seed: int, choosing: bool) -> tuple[Tensor, Tensor, Tensor]:
    pool = ranked(source.labels["train"], seed)[: config.pool_limit or None]
    held = _held(len(pool), len(source.facts.classes), config)
    train, val = pool[held : held + config.images], pool[:held]
    if choosing:
        cut = round(CHOOSING * len(train))
        train, val = train[:cut], train[cut:]
    test = torch.arange(len(source.labels["test"]))
    return train, val, ranked(source.labels["test"], None)[: config.test_limit] if config.test_limit else test


def load(source: Source, config: DataConfig, seed: int, device: str = "cpu", choosing: bool = False) -> Data:
    """Draw the splits of one run and put them on the device. The only place where the test split is made.

    Val, a tenth of the balanced pool, is set aside first, the same for all sizes; the training subset is
    drawn from the rest, nested across sizes. A ``refit`` set has no val; ``choosing`` splits its subset 60/40
    instead.
    """
    side = config.side or source.facts.side

    def take(split: str, indices: Tensor) -> Split:
        images = source.read(split, indices, side).contiguous(memory_format=torch.channels_last)
        return Split(images.to(device), source.labels[split][indices].to(device))

    train, val, test = _indices(source, config, seed, choosing)
    fit = take("train", train)
    values = fit.images.float().cpu() / 255
    mean, std = values.mean((0, 2, 3), keepdim=True), values.std((0, 2, 3), keepdim=True)
    std = torch.where(std > 0, std, 1)  # a constant channel stays 0
    return Data(
        fit, take("train", val), take("test", test), mean.to(device), std.to(device), source.facts.classes
    )
