"""Three disjoint splits of a data set, on the device: which images train, which choose, which report."""

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from lthnb.config import DataConfig, ParameterError, stream
from lthnb.images.dataset import DatasetInfo, Source

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
    mean: Tensor  # (1, C, 1, 1)
    std: Tensor
    classes: tuple[str, ...]
    wrong: Split | None = None  # the training images whose labels are noise, with those labels

    @property
    def splits(self) -> dict[str, Split]:
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return splits if self.wrong is None else {**splits, "wrong": self.wrong}

    def normalise(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8 to float32 with mean 0 and standard deviation 1."""
        return (images.float() / 255 - self.mean) / self.std


def load(source: Source, config: DataConfig, seed: int, device: str = "cpu") -> Data:
    """Draw the splits of one run and put them on the device. The only place where the test split is made.

    ``holdout``: val, a tenth of the balanced pool, is set aside first, the same for all sizes; the training
    subset is drawn from the rest, nested across sizes. ``refit``: the subset trains, there is no val.
    ``choosing``: that subset is cut 60/40 into train and val, or as published when all images are asked for.
    """
    side = config.side or source.info.side

    def take(split: str, indices: Tensor) -> Split:
        images = source.read(split, indices, side).contiguous(memory_format=torch.channels_last)
        return Split(images.to(device), source.labels[split][indices].to(device))

    chosen, val = _indices(source, config, seed)
    train = take("train", chosen)
    wrong = None
    if config.label_noise:
        noisy = noisy_labels(train.labels.cpu(), config.label_noise, len(source.info.classes), seed).to(
            device
        )
        changed = noisy != train.labels
        wrong = Split(train.images[changed], noisy[changed])
        train = Split(train.images, noisy)
    values = train.images.float().cpu() / 255
    mean = values.mean((0, 2, 3), keepdim=True)
    std = values.std((0, 2, 3), keepdim=True)
    std = torch.where(std > 0, std, 1)  # a constant channel stays 0
    return Data(
        train=train,
        val=take("train", val),
        test=take("test", _test_indices(source, config)),
        mean=mean.to(device),
        std=std.to(device),
        classes=source.info.classes,
        wrong=wrong,
    )


def _indices(source: Source, config: DataConfig, seed: int) -> tuple[Tensor, Tensor]:
    """Which of the training images train, and which are val."""
    labels = source.labels["train"]
    classes = source.info.classes
    if config.long_tail:
        train = long_tailed(labels, config.long_tail, seed, classes)
        pool = len(train)
        val = train[:0]
    else:
        order = balanced_order(labels, seed)[: config.pool_limit or None]
        pool = len(order)
        held = _val_size(pool, len(classes), config)
        train = order[held : held + config.images]
        val = order[:held]
    if config.split != "choosing":
        return train, val
    if source.published and len(train) == pool:
        return source.published
    cut = round(CHOOSING * len(train))
    return train[:cut], train[cut:]


def test_images(source: Source, side: int, number: int) -> Split:
    """The first test images of every class, as many of each; 0: all that are left of an even number."""
    rows = balanced_order(source.labels["test"], None)[: number or None]
    return Split(source.read("test", rows, side), source.labels["test"][rows])


def _test_indices(source: Source, config: DataConfig) -> Tensor:
    labels = source.labels["test"]
    if config.test_limit:
        return balanced_order(labels, None)[: config.test_limit]
    return torch.arange(len(labels))


def _val_size(pool: int, classes: int, config: DataConfig) -> int:
    """Number of pool images set aside as val: a tenth, class-balanced."""
    if config.split != "holdout" or config.long_tail:
        return 0
    return min(pool // 10, config.val_limit) // classes * classes


def subset_size(info: DatasetInfo, config: DataConfig, fraction: float) -> int:
    """Turn a share of the balanced pool, or a number of images, into a number that can be had.

    A refit and the run that chooses its round get the same number.

    Raises:
        ParameterError: fewer images than classes. Warns when a number asks for more than is left beside val.
    """
    if config.long_tail:
        return info.pool  # the tail has its own counts
    classes = len(info.classes)
    asked = round(fraction * info.pool) if fraction <= 1 else int(fraction)
    pool = min(info.pool, config.pool_limit or info.pool)
    left = pool - _val_size(pool, classes, config)
    if asked > left and fraction != 1:
        message = f"{asked:,} images asked for, {left:,} are left beside val: training on those"
        warnings.warn(message, stacklevel=2)
    images = min(asked, left)
    least = 1.0 if config.split == "holdout" else 1 - CHOOSING  # share of the part that must hold every class
    if round(least * images) < classes:
        raise ParameterError(
            f"fraction {fraction:g} of {info.name} gives {images} images, too few for {classes} classes: "
            f"some would be empty, say {info.classes[-1]!r}; ask for {math.ceil(classes / least)} or more"
        )
    return images


def balanced_order(labels: Tensor, seed: int | None) -> Tensor:
    """Order the images of a pool so that every prefix is class-balanced within one image.

    The pool is cut to its smallest class. With a seed the order inside and across classes is drawn from it,
    so that prefixes of different lengths are nested; without one it is that of the files.
    """
    number = int(labels.max()) + 1
    rows = [(labels == label).nonzero().flatten() for label in range(number)]
    classes = torch.arange(number)
    if seed is not None:
        generator = stream(seed, "subset")
        rows = [row[torch.randperm(len(row), generator=generator)] for row in rows]
        classes = torch.randperm(number, generator=generator)
    smallest = min(len(row) for row in rows)
    columns = torch.stack([row[:smallest] for row in rows], dim=1)  # (smallest, classes)
    return columns[:, classes].flatten()


def long_tailed(labels: Tensor, factor: float, seed: int, classes: tuple[str, ...]) -> Tensor:
    """Cut a pool to an exponential long tail: class c of C keeps int(largest * factor ** (c / (C - 1))).

    Which images a class keeps is drawn from the seed.

    Raises:
        ParameterError: a class has fewer images than the tail takes.

    Source: Cui et al. (2019), section 5; the counts are those of the long-tailed CIFAR sets.
    """
    generator = stream(seed, "subset")
    sizes = labels.bincount(minlength=len(classes)).tolist()
    chosen = []
    for label, size in enumerate(sizes):
        rank = label / (len(classes) - 1)
        wanted = int(max(sizes) * factor**rank)
        if not 0 < wanted <= size:
            owner = f"class {classes[label]!r}, which has {size}"
            raise ParameterError(f"long_tail {factor:g} takes {wanted} images of {owner}")
        row = (labels == label).nonzero().flatten()
        order = torch.randperm(size, generator=generator)
        chosen.append(row[order][:wanted])
    return torch.cat(chosen)


def noisy_labels(labels: Tensor, share: float, classes: int, seed: int) -> Tensor:
    """Replace ``round(share * len)`` labels by other classes, chosen evenly; drawn from the seed."""
    generator = stream(seed, "label_noise")
    number = round(share * len(labels))
    positions = torch.randperm(len(labels), generator=generator)[:number]
    noisy = labels.clone()
    noisy[positions] += torch.randint(1, classes, (number,), generator=generator)
    return noisy % classes
