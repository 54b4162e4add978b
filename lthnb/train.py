"""The one training loop, and the one way to count correct answers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lthnb.augment import augment
from lthnb.config import TrainConfig, UserError, stream
from lthnb.data import Data, Split
from lthnb.masks import Masks, dropped, prunable, zero_

AT_ONCE = 4000  # images augmented in one call
State = dict[str, Tensor]


class Diverged(UserError, ArithmeticError):
    """A loss, gradient or weight is no longer finite; nothing of that epoch is kept."""


ADVICE = "the state of the epoch before is kept; the learning rate may be too high"


@dataclass
class Trained:
    """What a training leaves behind, beside the weights in the model."""

    losses: list[float] = field(default_factory=list)  # mean training loss of each epoch
    correct: dict[int, dict[str, int]] = field(default_factory=dict)  # epochs done -> right answers per split
    kept: State = field(default_factory=dict)  # the state after ``keep_at`` epochs
    seconds: dict[str, float] = field(default_factory=lambda: {"train": 0.0, "evaluate": 0.0})


@dataclass
class Resume:
    """Where an interrupted training goes on: the model already holds its weights."""

    epoch: int  # epochs done
    momentum: State
    trained: Trained

    def restore(self, model: nn.Module, sgd: torch.optim.SGD) -> None:
        for name, value in model.named_parameters():
            if name in self.momentum:
                sgd.state[value]["momentum_buffer"] = torch.empty_like(value).copy_(self.momentum[name])


def cosine(config: TrainConfig, epoch: int) -> float:
    """Learning rate of an epoch, from ``lr`` to 0 after ``epochs``. Source: Loshchilov & Hutter (2017)."""
    return config.lr * (1 + math.cos(math.pi * epoch / config.epochs)) / 2


def order(number: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """Cut a random order of ``number`` images into batches; a last batch of one joins the one before it."""
    batches = list(torch.randperm(number, generator=generator).split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def optimiser(model: nn.Module, config: TrainConfig) -> torch.optim.SGD:
    return torch.optim.SGD(
        model.parameters(),
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        foreach=True,
    )


def momentum(model: nn.Module, sgd: torch.optim.SGD) -> State:
    """Return the momentum of every parameter that has one, by name; the tensors are live."""
    named = {name: sgd.state[value].get("momentum_buffer") for name, value in model.named_parameters()}
    return {name: value for name, value in named.items() if value is not None}


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
    after: Callable[[int, torch.optim.SGD, Trained], None] | None = None,
) -> Trained:
    """Train ``model`` in place with fresh momentum; pruned weights are exactly +0.0 after every step.

    Args:
        masks: name -> bool; the weights of ``model`` are masked before the first step too.
        start: epochs already done; learning rate, order and augmentation go on from there.
        stop: epochs done at the end; ``config.epochs`` if not given.
        keep_at: number of epochs done when a copy of the state is kept.
        precision: ``fp32``, or ``bf16`` for forward and backward passes (weights stay in fp32).
        resume: takes the place of ``start`` and of fresh momentum.
        after: called at the end of every epoch with the number done.

    Raises:
        Diverged: loss, gradient or weights are not finite.
    """
    pruned, sgd = dropped(masks), optimiser(model, config)
    zero_(prunable(model), pruned)
    result, stop, ahead = Trained(), config.epochs if stop is None else stop, {}
    if resume:
        result, start = resume.trained, resume.epoch
        resume.restore(model, sgd)
    for epoch in range(start, stop + 1):
        if epoch == keep_at and not result.kept:
            result.kept = copy(model)
        if epoch == stop:
            return result
        began = time.perf_counter()
        ahead = ahead or _augmented(data, config, seed, range(epoch, stop))
        images = ahead.pop(epoch)
        result.losses.append(_epoch(model, pruned, sgd, data, images, config, seed, epoch, precision))
        trained = time.perf_counter()
        if epoch >= stop - config.evaluate_last:
            result.correct[epoch + 1] = evaluate(model, data)
        result.seconds["train"] += trained - began
        result.seconds["evaluate"] += time.perf_counter() - trained
        if after:
            after(epoch + 1, sgd, result)
    return result


def _augmented(data: Data, config: TrainConfig, seed: int, epochs: range) -> dict[int, Tensor]:
    """Augmented images of the next epochs, as many as make a call worth its overhead."""
    epochs = epochs[: max(1, AT_ONCE // len(data.train))]
    generators = [stream(seed, "augment", epoch) for epoch in epochs]
    images = augment(data.train.images, config.augment, generators, config.cutout)
    return dict(zip(epochs, images, strict=True))


def _epoch(model, pruned, sgd, data, images, config, seed, epoch, precision) -> float:  # types: see train
    """Train on every image once; return the mean loss. A GPU is waited for at the end only."""
    device, weights, parameters = data.train.labels.device, prunable(model), list(model.parameters())
    for group in sgd.param_groups:
        group["lr"] = cosine(config, epoch)
    model.train()
    total, sound = torch.zeros((), device=device), torch.ones((), dtype=torch.bool, device=device)
    for step, batch in enumerate(order(len(images), config.batch_size, stream(seed, "order", epoch))):
        batch = batch.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = model(data.normalise(images[batch]))
        loss = F.cross_entropy(logits.float(), data.train.labels[batch])
        sgd.zero_grad(set_to_none=True)
        loss.backward()
        sound &= (loss.detach() + nn.utils.get_total_norm([value.grad for value in parameters])).isfinite()
        if device.type == "cpu" and not sound:
            raise Diverged(f"epoch {epoch}, step {step}: loss or gradient is not finite, {ADVICE}")
        sgd.step()
        zero_(weights, pruned)  # momentum and decay would revive them
        total += loss.detach() * len(batch)
    floats = [value for value in model.state_dict().values() if value.is_floating_point()]
    if not (sound & torch.stack([value.isfinite().all() for value in floats]).all()):
        raise Diverged(f"epoch {epoch}: a loss, gradient or weight is not finite, {ADVICE}")
    return total.item() / len(images)


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


def correct(model: nn.Module, data: Data, split: Split) -> int:
    """Count the images of a split that are classified rightly; an empty split has none."""
    return int((predict(model, data, split.images).argmax(1) == split.labels).sum()) if len(split) else 0
