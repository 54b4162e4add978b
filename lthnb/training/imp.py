"""Iterative magnitude pruning, as the paper tells it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch import nn

from lthnb.config import RunConfig
from lthnb.images.splits import Data
from lthnb.training import loop
from lthnb.training.loop import History
from lthnb.training.masks import CONTROLS, Masks, ones, prune_by_magnitude
from lthnb.training.networks import Architecture, build, prunable
from lthnb.training.step import Diverged, State, Step


@dataclass
class Pass:
    """One train-prune-rewind pass, after some of its epochs; round 0 is dense.

    ``step.model`` is live: the next epoch trains it on. ``rewind`` holds the weights that every later round
    starts from, before masking; round 0 makes them.
    """

    index: int
    epoch: int  # epochs done
    stop: int  # epochs done at its end
    masks: Masks
    rewind: State
    step: Step
    history: History = field(default_factory=History)

    @property
    def model(self) -> nn.Module:
        """The network, as it is after ``epoch`` epochs."""
        return self.step.model

    @property
    def complete(self) -> bool:
        """Whether all of its epochs are done."""
        return self.epoch == self.stop


@dataclass
class Saved:
    """Where an interrupted run goes on: a pass taken apart."""

    index: int
    epoch: int
    history: History
    masks: Masks
    states: dict[str, State]  # model, momentum, and rewind as far as it was made


def epoch_spans(config: RunConfig) -> dict[int, tuple[int, int]]:
    """Round -> the epochs at which its training starts and stops, in the order they are run.

    Round 0 of a control only makes the rewind weights; a control with new weights has none.
    """
    prune = config.prune
    released = prune.rewind == "as_released"  # rewinds to one epoch later, trains as long as round 0
    epochs = config.train.epochs
    if prune.control != "none" and CONTROLS[prune.control].new_weights:
        return {index: (0, epochs) for index in range(prune.every, prune.rounds + 1, prune.every)}
    start = prune.rewind_epoch
    stop = epochs + start * released
    spans = {index: (start, stop) for index in range(0, prune.rounds + 1, prune.every)}
    spans[0] = (0, epochs if prune.control == "none" else start + released)
    return spans


def epochs(config: RunConfig) -> int:
    """Epochs of all trainings of a run."""
    return sum(stop - start for start, stop in epoch_spans(config).values())


def epochs_done(config: RunConfig, index: int, epoch: int) -> int:
    """Epochs done of all trainings of a run, when a pass has come to an epoch."""
    spans = epoch_spans(config)
    earlier = [stop - start for other, (start, stop) in spans.items() if other < index]
    return sum(earlier) + epoch - spans[index][0]


def is_round(config: RunConfig, index: int) -> bool:
    """Whether a pass is a round of its run; the first pass of a control only makes the rewind weights."""
    return index > 0 or config.prune.control == "none"


def passes(
    config: RunConfig,
    data: Data,
    *,
    precision: str = "fp32",
    saved: Saved | None = None,
    masks_of: Callable[[int], Masks] | None = None,
) -> Iterator[Pass]:
    """Train densely, then prune, rewind and train again, ``config.prune.rounds`` times.

    Yields the pass that is trained whenever ``loop.train`` yields: on a CPU after every epoch.

    The rewind weights, BatchNorm included, are those of round 0 after exactly ``rewind_epoch`` epochs; later
    rounds train the remaining epochs from there with momentum zero. Controls take the masks of a round from
    ``masks_of`` in place of pruning; those with new weights train them for all epochs.

    Args:
        saved: goes on from there; earlier rounds are not yielded again, and a pass that was complete is
            yielded as such once more.

    Source: Frankle et al. (2020) for rewinding; ``as_released`` follows the code released with the paper.
    """
    device = data.train.labels.device
    architecture = architecture_of(config, data)
    model = build(architecture, config.seed).to(device)
    step = loop.make_step(model, data, config.train, precision)
    masks = ones(model)
    rewind: State = {}
    control = CONTROLS.get(config.prune.control)
    if control and control.new_weights:
        rewind = build(architecture, config.seed, "reinit").state_dict()
    for index, (start, stop) in epoch_spans(config).items():
        if saved and index < saved.index:
            continue
        if saved and index == saved.index:
            current = _resumed(saved, step, stop)
        else:
            if index and masks_of:
                masks = {name: mask.to(device) for name, mask in masks_of(index).items()}
            elif index:
                masks = prune_by_magnitude(prunable(model), masks, config.prune.rate)
            if index:
                model.load_state_dict(rewind)
            step.begin(masks)
            current = Pass(index, start, stop, masks, rewind, step)
        yield from _trained(config, current)
        masks = current.masks
        rewind = current.rewind


def architecture_of(config: RunConfig, data: Data) -> Architecture:
    """What the network of a run is built from."""
    _, channels, side, _ = data.train.images.shape
    return Architecture(config.network, channels, side, data.classes)


def _trained(config: RunConfig, current: Pass) -> Iterator[Pass]:
    """Train a pass to its end; yield it after every epoch, and once if no epoch was left."""
    keep_at = config.prune.rewind_epoch + (config.prune.rewind == "as_released")
    if current.index == 0 and current.epoch == keep_at and not current.rewind:
        current.rewind = loop.copy(current.model)
    if current.complete:
        yield current
        return
    span = {"start": current.epoch, "stop": current.stop, "pause": keep_at}
    schedule = config.train if current.index else config.finding
    try:
        for done in loop.train(current.step, schedule, current.history, seed=config.seed, **span):
            current.epoch = done
            if current.index == 0 and done == keep_at:
                current.rewind = loop.copy(current.model)
            yield current
    except Diverged as error:
        raise Diverged(f"seed {config.seed}, round {current.index}, {error}") from error


def _resumed(saved: Saved, step: Step, stop: int) -> Pass:
    """The pass in which a run was interrupted, with model and momentum put back into the step."""
    device = step.device
    masks = {name: mask.to(device) for name, mask in saved.masks.items()}
    step.model.load_state_dict(saved.states["model"])
    step.begin(masks, saved.states.get("momentum"))
    rewind = saved.states.get("rewind", {})
    return Pass(saved.index, saved.epoch, stop, masks, rewind, step, saved.history)
