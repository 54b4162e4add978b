"""The one training loop, and the one way to count correct answers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lthnb.augment import augment
from lthnb.config import TrainConfig, stream
from lthnb.data import Data, Split
from lthnb.masks import Masks
from lthnb.step import Diverged, State, Step, graphed

AT_ONCE = {"cpu": 4000, "cuda": 50_000}  # images of up to 32 pixels augmented in one call; fewer larger ones


@dataclass
class Trained:
    """What a training leaves behind, beside the weights in the model."""

    losses: list[float] = field(default_factory=list)  # mean training loss of each epoch
    correct: dict[int, dict[str, int]] = field(default_factory=dict)  # epochs done -> right answers per split
    kept: State = field(default_factory=dict)  # the state after ``keep_at`` epochs
    seconds: dict[str, float] = field(default_factory=lambda: {"train": 0.0, "evaluate": 0.0})
    captured: bool = False  # whether its steps were replays of a CUDA graph


@dataclass
class Resume:
    """Where an interrupted training goes on: the model already holds its weights."""

    epoch: int  # epochs done
    momentum: State
    trained: Trained


def cosine(config: TrainConfig, epoch: int) -> float:
    """Learning rate of an epoch, from ``lr`` to 0 after ``epochs``. Source: Loshchilov & Hutter (2017)."""
    return config.lr * (1 + math.cos(math.pi * epoch / config.epochs)) / 2


def order(number: int, batch_size: int, generator: torch.Generator, device: str = "cpu") -> list[Tensor]:
    """Cut a random order of ``number`` images into batches; a last batch of one joins the one before it."""
    batches = list(torch.randperm(number, generator=generator).to(device).split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def stepper(model: nn.Module, data: Data, config: TrainConfig, precision: str = "fp32") -> Step:
    """The step of a model on its device, captured where that is possible."""
    return Step(model, data, config, precision, graphed if data.train.labels.is_cuda else None)


def train(
    model: nn.Module,
    masks: Masks,
    data: Data,
    config: TrainConfig,
    *,
    seed: int,
    start: int = 0,
    stop: int | None = None,
    keep_at: int | None = None,
    precision: str = "fp32",
    resume: Resume | None = None,
    after: Callable[[int, Step, Trained], None] | None = None,
    step: Step | None = None,
) -> Trained:
    """Train ``model`` in place with fresh momentum; pruned weights are exactly +0.0 after every step.

    Args:
        masks: name -> bool; the weights of ``model`` are masked before the first step too.
        start: epochs already done; learning rate, order and augmentation go on from there.
        stop: epochs done at the end; ``config.epochs`` if not given.
        keep_at: number of epochs done when a copy of the state is kept.
        resume: takes the place of ``start`` and of fresh momentum.
        after: called at the end of every epoch with the number done.
        step: the step of this model, to use it again; made with ``precision`` if not given.

    Raises:
        Diverged: loss, gradient or weights are not finite.
    """
    step = step or stepper(model, data, config, precision)
    step.begin(masks, resume and resume.momentum)
    result, stop, ahead = Trained(), config.epochs if stop is None else stop, {}
    if resume:
        result, start = resume.trained, resume.epoch
    for epoch in range(start, stop + 1):
        if epoch == keep_at and not result.kept:
            result.kept = copy(model)
        if epoch == stop:
            return result
        began = time.perf_counter()
        ahead = ahead or _augmented(data, config, seed, range(epoch, stop))
        images = ahead.pop(epoch)
        result.losses.append(_epoch(step, images, config, seed, epoch))
        trained, result.captured = time.perf_counter(), step.captured
        if epoch >= stop - config.evaluate_last:
            result.correct[epoch + 1] = evaluate(model, data) if epoch == stop - 1 else _glance(step)
        result.seconds["train"] += trained - began
        result.seconds["evaluate"] += time.perf_counter() - trained
        if after:
            after(epoch + 1, step, result)
    return result


def _augmented(data: Data, config: TrainConfig, seed: int, epochs: range) -> dict[int, Tensor]:
    """Augmented images of the next epochs, as many as make a call worth its overhead."""
    larger = max(1, (data.train.images.shape[-1] / 32) ** 2)
    epochs = epochs[: max(1, int(AT_ONCE[data.train.labels.device.type] / larger / len(data.train)))]
    generators = [stream(seed, "augment", epoch) for epoch in epochs]
    images = augment(data.train.images, config.augment, generators, config.cutout)
    return dict(zip(epochs, images, strict=True))


def _epoch(step: Step, images: Tensor, config: TrainConfig, seed: int, epoch: int) -> float:
    """Train on every image once; return the mean loss. A GPU is waited for at the end only."""
    step.epoch(cosine(config, epoch))
    step.model.train()
    labels = step.data.train.labels
    try:
        batches = order(len(images), config.batch_size, stream(seed, "order", epoch), labels.device)
        for number, batch in enumerate(batches):  # noqa: B007
            step(images[batch], labels[batch])
        return step.finished(len(images))
    except Diverged as error:
        raise Diverged(f"epoch {epoch}, step {number}: {error}") from error


def copy(model: nn.Module) -> State:
    """Return the state of a model, BatchNorm included, as tensors of its own."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@torch.no_grad()
def predict(model: nn.Module, data: Data, images: Tensor) -> Tensor:
    """Return fp32 logits (N, classes) of (N, C, H, W) uint8 images, BatchNorm by its running statistics."""
    model.eval()
    size = 2000 if images.is_cuda else 100  # a CPU is fastest where a batch fits its cache
    return torch.cat([model(data.normalise(batch)) for batch in images.split(size)])


def evaluate(model: nn.Module, data: Data) -> dict[str, int]:
    """Count the right answers on every split."""
    return {name: correct(model, data, split) for name, split in data.splits.items()}


def _glance(step: Step) -> dict[str, int]:
    """Test alone, in the precision of the training: for the best epoch, never for a choice."""
    with torch.autocast(step.device.type, torch.bfloat16, enabled=step.precision == "bf16"):
        return {"test": correct(step.model, step.data, step.data.test)}


def correct(model: nn.Module, data: Data, split: Split) -> int:
    """Count the images of a split that are classified rightly; an empty split has none."""
    return int((predict(model, data, split.images).argmax(1) == split.labels).sum()) if len(split) else 0
