"""Iterative magnitude pruning, as the paper tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from lthnb.checkpoints import Checkpoints, Saved
from lthnb.config import RunConfig
from lthnb.data import Data
from lthnb.masks import Masks, ones, prunable, prune_by_magnitude
from lthnb.models import build
from lthnb.parameters import Progress
from lthnb.step import Diverged, State, Step
from lthnb.train import Resume, Trained, stepper, train


@dataclass(frozen=True)
class Round:
    """One train-prune-rewind pass; round 0 is dense. ``model`` is live: the next round trains it on."""

    index: int
    masks: Masks
    model: nn.Module
    trained: Trained
    rewind: State  # the weights that every later round starts from, before masking


def trainings(config: RunConfig) -> dict[int, tuple[int, int]]:
    """Round -> the epochs at which its training starts and stops, in the order they are run.

    Round 0 of a control only makes the rewind weights; a reinitialised ticket has none.
    """
    prune, epochs = config.prune, config.train.epochs
    released = prune.rewind == "as_released"  # rewinds to one epoch later, trains as long as round 0
    begin = 0 if prune.control == "reinit" else prune.rewind_epoch
    first = epochs if prune.control == "none" else prune.rewind_epoch + released
    later = {index: (begin, epochs + begin * released) for index in range(0, prune.rounds + 1, prune.every)}
    if prune.control == "reinit":
        return {index: span for index, span in later.items() if index}
    return {**later, 0: (0, first)}


def rounds(
    config: RunConfig,
    data: Data,
    *,
    precision: str = "fp32",
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
    saved: Saved | None = None,
    masks_of: Callable[[int], Masks] | None = None,
) -> Iterator[Round]:
    """Train densely, then prune, rewind and train again, ``config.prune.rounds`` times.

    Yields each round after its training. The rewind weights, BatchNorm included, are those of round 0 after
    exactly ``rewind_epoch`` epochs; later rounds train the remaining epochs from there with momentum zero.
    ``saved`` goes on inside the round where a checkpoint was made; earlier rounds are not yielded again.
    Controls take the masks of a round from ``masks_of`` in place of pruning; ``reinit`` trains them from
    newly drawn weights for all epochs, the others from the rewind weights.

    Source: Frankle et al. (2020) for rewinding; ``as_released`` follows the code released with the paper.
    """
    device, control = data.train.labels.device, config.prune.control
    _, channels, side, _ = data.train.images.shape
    shape = {"channels": channels, "side": side, "classes": len(data.classes)}
    model = build(config.network, config.seed, **shape).to(device)
    masks, rewind, first = ones(model), {}, 0
    if control == "reinit":
        rewind = build(config.network, config.seed, **shape, name="reinit").state_dict()
    if saved:
        masks = {name: mask.to(device) for name, mask in saved.masks.items()}
        rewind, first = saved.states.get("rewind", {}), saved.progress["round"]
        model.load_state_dict(saved.states["model"])
    step, late = stepper(model, data, config.train, precision), config.prune.rewind == "as_released"
    left = [each for each in trainings(config).items() if each[0] >= first]
    for index, (start, stop) in left:
        resume = _resume(saved) if saved and index == first else None
        if index and not resume:
            if masks_of:
                masks = {name: mask.to(device) for name, mask in masks_of(index).items()}
            else:
                masks = prune_by_magnitude(prunable(model), masks, config.prune.rate)
            model.load_state_dict(rewind)
        options = {"seed": config.seed, "start": start, "stop": stop, "step": step, "resume": resume}
        options["keep_at"] = None if index else config.prune.rewind_epoch + late
        options["after"] = _after(config, model, masks, rewind, index, stop, progress, checkpoints)
        try:
            trained = train(model, masks, data, config.train, **options)
        except Diverged as error:
            raise Diverged(f"seed {config.seed}, round {index}, {error}") from error
        rewind = rewind if index else trained.kept
        if index or control == "none":
            yield Round(index, masks, model, trained, rewind)


def _after(config, model, masks, rewind, index, stop, progress, checkpoints):  # types: see rounds
    """What happens at the end of every epoch: tell it, and make a checkpoint when one is due."""

    def after(done: int, step: Step, trained: Trained) -> None:
        if progress:
            progress.advance(f"seed {config.seed}, round {index}, epoch {done} of {stop}")
        if checkpoints and checkpoints.due():
            states = {"model": model.state_dict(), "momentum": step.momentum()}
            states["rewind"] = trained.kept if index == 0 else rewind
            note = {"losses": trained.losses, "correct": trained.correct, "seconds": trained.seconds}
            note["captured"] = trained.captured
            checkpoints.save({"round": index, "epoch": done, **note}, masks, states)

    return after


def _resume(saved: Saved) -> Resume:
    note = saved.progress
    correct = {int(done): right for done, right in note["correct"].items()}
    kept = saved.states.get("rewind", {}) if note["round"] == 0 else {}
    trained = Trained(note["losses"], correct, kept, note["seconds"], note.get("captured", False))
    return Resume(note["epoch"], saved.states.get("momentum", {}), trained)
