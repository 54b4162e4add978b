"""Iterative magnitude pruning, as the paper tells it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from lthnb.config import RunConfig
from lthnb.data import Data
from lthnb.masks import Masks, ones, prunable, prune_by_magnitude
from lthnb.models import build
from lthnb.train import Ticker, Trained, train


@dataclass(frozen=True)
class Round:
    """One train-prune-rewind pass; round 0 is dense. ``model`` is live: the next round trains it on."""

    index: int
    masks: Masks
    model: nn.Module
    trained: Trained


def rounds(
    config: RunConfig, data: Data, *, precision: str = "fp32", progress: Ticker | None = None
) -> Iterator[Round]:
    """Train densely, then prune, rewind and train again, ``config.prune.rounds`` times.

    Yields each round after its training. The rewind weights, BatchNorm included, are those of round 0 after
    exactly ``rewind_epoch`` epochs; later rounds train the remaining epochs from there with momentum zero.

    Source: Frankle et al. (2020) for rewinding; ``as_released`` follows the code released with the paper.
    """
    released = config.prune.rewind == "as_released"  # rewinds to one epoch later, trains as long as round 0
    channels, side = data.train.images.shape[1], data.train.images.shape[2]
    model = build(config.network, config.seed, channels=channels, classes=len(data.classes), side=side)
    model.to(data.train.labels.device)
    masks, rewind, start, stop = ones(model), {}, 0, config.train.epochs
    for index in range(config.prune.rounds + 1):
        trained = train(
            model,
            masks,
            data,
            config.train,
            seed=config.seed,
            start=start,
            stop=stop,
            keep_at=config.prune.rewind_epoch + released if index == 0 else None,
            precision=precision,
            progress=progress,
            label=f"seed {config.seed}, round {index}",
        )
        yield Round(index, masks, model, trained)
        if index == config.prune.rounds:
            return
        if index == 0:
            rewind, start = trained.kept, config.prune.rewind_epoch
            stop = config.train.epochs + (start if released else 0)
        masks = prune_by_magnitude(prunable(model), masks, config.prune.rate)
        model.load_state_dict(rewind)
