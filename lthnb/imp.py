"""Iterative magnitude pruning, as the paper tells it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from lthnb.checkpoints import Checkpoints, Saved
from lthnb.config import RunConfig
from lthnb.data import Data
from lthnb.masks import Masks, ones, prunable, prune_by_magnitude
from lthnb.models import build
from lthnb.parameters import Progress
from lthnb.train import Diverged, Resume, State, Trained, momentum, train


@dataclass(frozen=True)
class Round:
    """One train-prune-rewind pass; round 0 is dense. ``model`` is live: the next round trains it on."""

    index: int
    masks: Masks
    model: nn.Module
    trained: Trained
    rewind: State  # the weights that every later round starts from, before masking


def rounds(
    config: RunConfig,
    data: Data,
    *,
    precision: str = "fp32",
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
    saved: Saved | None = None,
) -> Iterator[Round]:
    """Train densely, then prune, rewind and train again, ``config.prune.rounds`` times.

    Yields each round after its training. The rewind weights, BatchNorm included, are those of round 0 after
    exactly ``rewind_epoch`` epochs; later rounds train the remaining epochs from there with momentum zero.
    ``saved`` goes on inside the round where a checkpoint was made; earlier rounds are not yielded again.

    Source: Frankle et al. (2020) for rewinding; ``as_released`` follows the code released with the paper.
    """
    released = config.prune.rewind == "as_released"  # rewinds to one epoch later, trains as long as round 0
    channels, side = data.train.images.shape[1:3]
    model = build(config.network, config.seed, channels=channels, classes=len(data.classes), side=side)
    model.to(data.train.labels.device)
    masks, rewind, first = ones(model), {}, 0
    if saved:
        masks = {name: mask.to(data.train.labels.device) for name, mask in saved.masks.items()}
        rewind, first = saved.states.get("rewind", {}), saved.progress["round"]
        model.load_state_dict(saved.states["model"])
    for index in range(first, config.prune.rounds + 1):
        start = config.prune.rewind_epoch if index else 0
        stop = config.train.epochs + (start if released else 0)
        try:
            keep = config.prune.rewind_epoch + released if index == 0 else None
            resume = _resume(saved) if saved and index == first else None
            after = _after(config, model, masks, rewind, index, stop, progress, checkpoints)
            options = {
                "seed": config.seed,
                "start": start,
                "stop": stop,
                "keep_at": keep,
                "precision": precision,
            }
            trained = train(model, masks, data, config.train, resume=resume, after=after, **options)
        except Diverged as error:
            raise Diverged(f"seed {config.seed}, round {index}, {error}") from error
        rewind = trained.kept if index == 0 else rewind
        yield Round(index, masks, model, trained, rewind)
        if index < config.prune.rounds:
            masks = prune_by_magnitude(prunable(model), masks, config.prune.rate)
            model.load_state_dict(rewind)


def _after(config, model, masks, rewind, index, stop, progress, checkpoints):  # types: see rounds
    """What happens at the end of every epoch: tell it, and make a checkpoint when one is due."""

    def after(done: int, sgd: torch.optim.SGD, trained: Trained) -> None:
        if progress:
            progress.advance(f"seed {config.seed}, round {index}, epoch {done} of {stop}")
        if checkpoints and checkpoints.due():
            states = {"model": model.state_dict(), "momentum": momentum(model, sgd)}
            states["rewind"] = trained.kept if index == 0 else rewind
            note = {"losses": trained.losses, "correct": trained.correct, "seconds": trained.seconds}
            checkpoints.save({"round": index, "epoch": done, **note}, masks, states)

    return after


def _resume(saved: Saved) -> Resume:
    note = saved.progress
    correct = {int(done): right for done, right in note["correct"].items()}
    kept = saved.states.get("rewind", {}) if note["round"] == 0 else {}
    trained = Trained(note["losses"], correct, kept, note["seconds"])
    return Resume(note["epoch"], saved.states.get("momentum", {}), trained)
