"""The one small run of all tests, and the one way to make it."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from lthnb.config import ROOT, RunConfig
from lthnb.images.dataset import Source
from lthnb.images.splits import Data
from lthnb.runs import record
from lthnb.runs.execute import execute
from lthnb.runs.machine import Settings
from lthnb.runs.record import Record
from lthnb.training import imp
from lthnb.training.imp import Pass
from lthnb.training.masks import Masks
from lthnb.training.networks import Architecture

SMALL = RunConfig.of(
    name="glyphs",
    images=60,
    side=16,
    val_limit=50,
    test_limit=50,
    model="resnet10",
    width=2,
    epochs=4,
    batch_size=20,
    rounds=3,
    rate=0.4,
    rewind_epoch=2,
)
TINY = SMALL.replace(epochs=2, rounds=1, rewind_epoch=1)
WIDER = SMALL.replace(width=4)  # where a test looks at weights
DIGITS = tuple("0123456789")


def rounds(config: RunConfig, data: Data, **settings: Any) -> Iterator[Pass]:
    """Train densely, then prune, rewind and train again; yield each round after its training."""
    for current in imp.passes(config, data, **settings):
        if current.complete and imp.is_round(config, current.index):
            yield current


def architecture(config: RunConfig = WIDER, channels: int = 3) -> Architecture:
    """What the network of a run on glyphs is built from."""
    return Architecture(config.network, channels, config.data.side or 32, DIGITS)


def on_cpu(runs: Path | str, precision: str = "fp32") -> Settings:
    """Records in a folder of the test, equal bits wherever it runs."""
    return Settings(runs=str(runs), device="cpu", precision=precision)


KNOWN: dict[tuple, Tensor] = {}  # images that were read


def remembered(source: Source) -> Source:
    """The same images, read once for all runs of this process and of those forked from it."""

    def read(split: str, indices: Tensor, side: int) -> Tensor:
        key = (source.read, split, tuple(indices.tolist()), side)
        if key not in KNOWN:
            KNOWN[key] = source.read(split, indices, side)
        return KNOWN[key].clone()

    return dataclasses.replace(source, read=read)


def make(
    config: RunConfig,
    source: Source,
    runs: Path | str,
    *,
    precision: str = "fp32",
    every: float = 1000,
    again: bool = False,
) -> Record:
    """Make a run, after the one it requires unless that is on record, or go on with it."""
    required = config.requires
    if required and not (Path(runs) / f"{required.key}.json").exists():
        make(required, source, runs, precision=precision, every=every)
    for _ in execute(config, remembered(source), on_cpu(runs, precision), every=every, again=again):
        pass
    return record.load(config, str(runs))


def environment(**values: str) -> dict[str, str]:
    """What a process of a test starts with: this repository, one thread, no download."""
    path = os.pathsep.join(str(folder) for folder in (ROOT, ROOT / "tests"))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "LTHNB_OFFLINE": "1", **values}


def density(masks: Masks) -> float:
    """Fraction of the prunable weights that survive."""
    return sum(int(mask.sum()) for mask in masks.values()) / sum(mask.numel() for mask in masks.values())
