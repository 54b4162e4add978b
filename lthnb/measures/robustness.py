"""How the networks of a run do under a shift: corrupted images, images of other sources, attacks."""

import functools
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from lthnb.config import DataMissing
from lthnb.images.dataset import DataError, Source, resized
from lthnb.images.natural import Shift, natural_shift, official_corruptions
from lthnb.images.places import demand
from lthnb.images.shifts import CORRUPTIONS, corrupt
from lthnb.images.splits import Split, balanced_order, test_images
from lthnb.measures.attacks import withstood
from lthnb.measures.finished import FinishedRun
from lthnb.training.loop import correct

FEW = 500  # test images, balanced, where they are made smaller; at the size as stored all of them
NATURAL = {  # data set -> shifts that are tested where their images are at hand
    "glyphs": ("glyphs-shifted",),
    "cifar10": (
        "cifar10.1",
        "cifar10.2",
    ),
    "folder:cifar10_exact": (
        "cifar10.1",
        "cifar10.2",
        "folder:cifar10_jpeg",
    ),
}
ATTACKS: dict[str, dict[str, Any]] = {
    "FGSM 8/255": {
        "radius": 8 / 255,
    },
    "PGD 8/255": {
        "radius": 8 / 255,
        "step": 2 / 255,
        "steps": 10,
    },
    "PGD 2/255": {
        "radius": 2 / 255,
        "step": 0.5 / 255,
        "steps": 10,
    },
}
ATTACKED = 0.5  # share of those images that is attacked, the first ones, balanced too
Networks = dict[int, nn.Module]  # by round


def measure(run: FinishedRun) -> dict[str, Any]:
    """Count what the networks of a run classify rightly under every kind of shift.

    Returns:
        ``rounds``: those whose weights are kept; each list of counts below has a number for every one.
        ``precision`` in which they were trained, and ``test``: right answers on all test images.
        ``images``: number of test images, and ``clean``: counts on them. ``corrupted`` {kind: counts at each
        severity} of the same images, and whether they are the ``published`` files.
        ``natural`` {name: {sha256, images, correct: counts}}. ``attacked`` {images, clean: counts, attack:
        counts}.
    """
    config = run.record.config.data
    side = config.side or run.source.info.side
    number = config.test_limit if side == run.source.info.side else min(FEW, config.test_limit or FEW)
    models = networks(run)
    clean = on(run, test_images(run.source, side, number))
    first = slice(round(ATTACKED * len(clean)))
    few = Split(clean.images[first], clean.labels[first])
    sets = corrupted(run.source, side, number, run.root)
    return {
        "rounds": list(models),
        "precision": run.record.made["precision"],
        "test": [row["correct"]["test"] for row in run.record.rounds if row["round"] in models],
        "images": len(clean),
        "clean": counts(run, models, clean),
        "published": published(run.source, "fog", 1, run.root) is not None,
        "corrupted": {
            kind: [counts(run, models, on(run, split)) for split in severities]
            for kind, severities in sets.items()
        },
        "natural": dict(natural(run, models, side, number)),
        "attacked": {
            "images": len(few),
            "clean": counts(run, models, few),
            **attacked(run, models, few),
        },
    }


def networks(run: FinishedRun) -> Networks:
    """The trained networks of a run's rounds whose weights are kept, on the device of its images."""
    device = run.data.mean.device
    models = {}
    for row in run.record.rounds:
        ticket = run.ticket(row["round"])
        if "trained" in ticket.states:
            models[row["round"]] = ticket.model().to(device)
    return models


def counts(run: FinishedRun, models: Networks, split: Split) -> list[int]:
    """Right answers of every network."""
    return [correct(model, run.data, split) for model in models.values()]


def on(run: FinishedRun, split: Split) -> Split:
    """Images and labels where the networks are."""
    device = run.data.mean.device
    images = split.images.contiguous(memory_format=torch.channels_last)
    return Split(images.to(device), split.labels.to(device))


@functools.lru_cache(maxsize=1)  # the same for all runs of a page
def corrupted(source: Source, side: int, number: int, root: str) -> dict[str, list[Split]]:
    """The same images under every corruption at severities 1 to 5, resized after they were corrupted."""
    return {
        kind: [_corrupted(source, kind, severity, side, number, root) for severity in range(1, 6)]
        for kind in CORRUPTIONS
    }


def _corrupted(source: Source, kind: str, severity: int, side: int, number: int, root: str) -> Split:
    """Those of CIFAR-10-C where its files are at hand, else made here."""
    if files := published(source, kind, severity, root):
        images, labels = files
        rows = balanced_order(labels, None)[: number or None]
        return Split(resized(images[rows], side), labels[rows])
    stored = test_images(source, source.info.side, number)
    return Split(resized(corrupt(stored.images, kind, severity), side), stored.labels)


def published(source: Source, kind: str, severity: int, root: str) -> tuple[Tensor, Tensor] | None:
    """Images and labels of CIFAR-10-C, where that is the corrupted test set of a source and at hand."""
    if "cifar10.2" not in natural_of(source):
        return None
    return official_corruptions(kind, severity, source.info.classes, root)


def natural(
    run: FinishedRun, models: Networks, side: int, number: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name of every natural shift whose images are at hand, with what was counted on it."""
    info = run.source.info
    for name in natural_of(run.source):
        with suppress(DataMissing):
            if name.startswith("folder:"):
                name = f"folder:{demand(name.removeprefix('folder:'), run.root)}"
            shift = opened(name, info.classes, side, info.channels, run.root)
            rows = balanced_order(shift.labels, None)[: number or None]
            split = on(run, Split(shift.images[rows], shift.labels[rows]))
            yield (
                shift.name,
                {
                    "sha256": shift.sha256,
                    "images": len(split),
                    "correct": counts(run, models, split),
                },
            )


def natural_of(source: Source) -> tuple[str, ...]:
    """The shifts that are looked for where a set was trained on."""
    return NATURAL.get(source.info.name.partition("@")[0], ())


def under(run: FinishedRun, index: int, name: str, class_map: dict[str, str] | None) -> tuple[float, float]:
    """Accuracy of a round's network on its own test images, and on all images of a natural shift.

    Raises:
        DataError: the class map leaves no image; and whatever ``natural_shift`` raises.
    """
    info = run.source.info
    side = run.record.config.data.side or info.side
    pairs = None if class_map is None else tuple(class_map.items())
    shift = opened(name, info.classes, side, info.channels, run.root, pairs)
    if not len(shift.labels):
        raise DataError(f"class_map leaves no image of {name}")
    model = run.ticket(index).model().to(run.data.mean.device)
    shifted = on(run, Split(shift.images, shift.labels))
    own, other = (correct(model, run.data, split) / len(split) for split in (run.data.test, shifted))
    return own, other


@functools.lru_cache(maxsize=4)
def opened(
    name: str,
    classes: tuple[str, ...],
    side: int,
    channels: int,
    root: str,
    class_map: tuple[tuple[str, str], ...] | None = None,
) -> Shift:
    """A natural shift; see ``natural_shift``."""
    pairs = None if class_map is None else dict(class_map)
    return natural_shift(name, classes, side=side, channels=channels, class_map=pairs, root=root)


def attacked(run: FinishedRun, models: Networks, split: Split) -> dict[str, list[int]]:
    """Name of every attack with the right answers that it leaves."""
    return {
        name: [withstood(model, run.data, split, **how) for model in models.values()]
        for name, how in ATTACKS.items()
    }
