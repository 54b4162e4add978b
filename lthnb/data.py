"""Three disjoint splits of a data set, on the device: which images train, which choose, which report."""

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


def long_tailed(labels: Tensor, factor: float, seed: int, classes: tuple[str, ...]) -> Tensor:
    """Cut a pool to an exponential long tail: class c of C keeps int(largest * factor ** (c / (C - 1))).

    Which images a class keeps is drawn from the seed.

    Raises:
        ParameterError: a class has fewer images than the tail takes.

    Source: Cui et al. (2019), section 5; the counts are those of the long-tailed CIFAR sets.
    """
    sizes, generator = labels.bincount(minlength=len(classes)).tolist(), stream(seed, "subset")
    chosen = []
    for label, size in enumerate(sizes):
        wanted = int(max(sizes) * factor ** (label / (len(classes) - 1)))
        if not 0 < wanted <= size:
            has = f"class {classes[label]!r}, which has {size}"
            raise ParameterError(f"long_tail {factor:g} takes {wanted} images of {has}")
        row = (labels == label).nonzero().flatten()
        chosen.append(row[torch.randperm(size, generator=generator)][:wanted])
    return torch.cat(chosen)


def noisy(labels: Tensor, share: float, classes: int, seed: int) -> Tensor:
    """Replace ``round(share * len)`` labels by other classes, chosen evenly; drawn from the seed."""
    generator, wrong = stream(seed, "label_noise"), labels.clone()
    places = torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]
    wrong[places] += torch.randint(1, classes, (len(places),), generator=generator)
    return wrong % classes


def count(facts: Facts, config: DataConfig, fraction: float) -> int:
    """Turn a share of the balanced pool, or a number of images, into a number that can be had.

    Raises:
        ParameterError: fewer images than classes. Warns when a number asks for more than is left beside val.
    """
    if config.long_tail:
        return facts.pool  # the tail has its own counts
    asked = round(fraction * facts.pool) if fraction <= 1 else int(fraction)
    limited = min(facts.pool, config.pool_limit or facts.pool)
    left = limited - _held(limited, len(facts.classes), config)
    if asked > left and fraction != 1:
        said = f"{asked:,} images asked for, {left:,} are left beside val: training on those"
        warnings.warn(said, stacklevel=2)
    images, classes = min(asked, left), len(facts.classes)
    least = 1 - CHOOSING if config.split == "refit" else 1.0  # share of the part that must hold every class
    if round(least * images) < classes:
        raise ParameterError(
            f"fraction {fraction:g} of {facts.name} gives {images} images, too few for {classes} classes: "
            f"some would be empty, say {facts.classes[-1]!r}; ask for {math.ceil(classes / least)} or more"
        )
    return images


def _held(pool: int, classes: int, config: DataConfig) -> int:
    """Number of pool images set aside as val: a tenth, class-balanced."""
    if config.split == "refit" or config.long_tail:
        return 0
    return min(pool // 10, config.val_limit) // classes * classes


def _indices(source: Source, config: DataConfig, seed: int, choosing: bool) -> tuple[Tensor, Tensor, Tensor]:
    if config.long_tail:
        pool = long_tailed(source.labels["train"], config.long_tail, seed, source.facts.classes)
    else:
        pool = ranked(source.labels["train"], seed)[: config.pool_limit or None]
    held = _held(len(pool), len(source.facts.classes), config)
    train, val = pool[held:] if config.long_tail else pool[held : held + config.images], pool[:held]
    if choosing and source.published and len(train) == len(pool):
        train, val = source.published
    elif choosing:
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
    if config.label_noise:
        labels = noisy(fit.labels.cpu(), config.label_noise, len(source.facts.classes), seed)
        fit = Split(fit.images, labels.to(device))
    values = fit.images.float().cpu() / 255
    mean, std = values.mean((0, 2, 3), keepdim=True), values.std((0, 2, 3), keepdim=True)
    std = torch.where(std > 0, std, 1)  # a constant channel stays 0
    parts = (fit, take("train", val), take("test", test))
    return Data(*parts, mean.to(device), std.to(device), source.facts.classes)
