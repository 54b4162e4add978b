"""The one training loop, and the one way to count correct answers."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lthnb.config import TrainConfig, stream
from lthnb.images.splits import Data, Split
from lthnb.training.augment import augment
from lthnb.training.step import Diverged, State, Step, graphed

SETTLED = {"cpu": 1, "cuda": 10}  # epochs after which the device is waited for
AT_ONCE = {"cpu": 4000, "cuda": 50_000}  # images of up to 32 pixels augmented in one call; fewer larger ones


@dataclass
class History:
    """What a training leaves behind, beside the weights in the model."""

    losses: list[float] = field(default_factory=list)  # mean training loss of each epoch
    correct: dict[int, dict[str, int]] = field(default_factory=dict)  # epochs done -> right answers per split
    seconds: dict[str, float] = field(default_factory=lambda: {"train": 0.0, "evaluate": 0.0})


def cosine(config: TrainConfig, epoch: int) -> float:
    """Learning rate of an epoch, from ``lr`` to 0 in every cycle. Source: Loshchilov & Hutter (2017)."""
    cycle = config.epochs // config.cycles
    began = min(epoch // cycle, config.cycles - 1) * cycle  # a training as released goes on after the last
    return config.lr * (1 + math.cos(math.pi * (epoch - began) / cycle)) / 2


def in_batches(order: Tensor, batch_size: int) -> list[Tensor]:
    """Cut an order of images into batches; a last batch of one joins the one before it."""
    batches = list(order.split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def make_step(model: nn.Module, data: Data, config: TrainConfig, precision: str = "fp32") -> Step:
    """The step of a model on its device, captured where that is possible."""
    return Step(model, data, config, precision, graphed if data.train.labels.is_cuda else None)


def train(
    step: Step,
    config: TrainConfig,
    history: History,
    *,
    seed: int,
    start: int = 0,
    stop: int | None = None,
    pause: int = 0,
) -> Iterator[int]:
    """Train the model of a step in place, which ``step.begin`` has made ready; yield the epochs done.

    A CPU yields after every epoch; a GPU, which is not waited for in between, after every tenth.

    Args:
        history: what is known of the epochs before ``start``; this training adds to it.
        seed: of augmentation and order, which are those of an epoch's number whoever trains.
        start: epochs already done; learning rate, order and augmentation go on from there.
        stop: epochs done at the end; ``config.epochs`` if not given.
        pause: so many epochs done are yielded in any case.

    Raises:
        Diverged: loss, gradient or weights are not finite.
    """
    stop = config.epochs if stop is None else stop
    ahead: dict[int, tuple[Tensor, Tensor]] = {}  # augmented images of the next epochs, and their order
    for epoch in range(start, stop):
        began = time.perf_counter()
        done = epoch + 1
        evaluated = done > stop - config.evaluate_last
        ahead = ahead or _ahead(step.data, config, seed, range(epoch, stop))
        _epoch(step, *ahead.pop(epoch), config, epoch)
        settled = evaluated or done == pause or done % SETTLED[step.device.type] == 0
        if settled:
            history.losses += _losses(step, epoch)
        trained = time.perf_counter()
        if done == stop:
            history.correct[done] = evaluate(step.model, step.data)
        elif evaluated:
            history.correct[done] = _glance(step)
        history.seconds["train"] += trained - began
        history.seconds["evaluate"] += time.perf_counter() - trained
        if settled:
            yield done


def _ahead(data: Data, config: TrainConfig, seed: int, epochs: range) -> dict[int, tuple[Tensor, Tensor]]:
    """Augmented images of the next epochs and their order, as many as make a call worth its overhead.

    A GPU is waited for here, since what was drawn on the CPU is copied to it; not within an epoch.
    """
    images = data.train.images
    larger = max(1, (images.shape[-1] / 32) ** 2)
    number = int(AT_ONCE[images.device.type] / larger / len(images))
    epochs = epochs[: max(1, number)]
    generators = [stream(seed, "augment", epoch) for epoch in epochs]
    augmented = augment(images, config.augment, generators, config.cutout)
    orders = [torch.randperm(len(images), generator=stream(seed, "order", epoch)) for epoch in epochs]
    pairs = zip(augmented, torch.stack(orders).to(images.device), strict=True)
    return dict(zip(epochs, pairs, strict=True))


def _epoch(step: Step, images: Tensor, order: Tensor, config: TrainConfig, epoch: int) -> None:
    """Train on every image once, in an order of theirs; a GPU is not waited for."""
    step.begin_epoch(cosine(config, epoch))
    step.model.train()
    labels = step.data.train.labels
    for number, batch in enumerate(in_batches(order, config.batch_size)):
        try:
            step(images[batch], labels[batch])
        except Diverged as error:
            raise Diverged(f"epoch {epoch}, step {number}: {error}") from error
    step.end_epoch()


def _losses(step: Step, epoch: int) -> list[float]:
    """Mean losses of the epochs up to this one that nobody has looked at yet."""
    try:
        return step.losses(len(step.data.train))
    except Diverged as error:
        raise Diverged(f"up to epoch {epoch}: {error}") from error


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
    if not len(split):
        return 0
    guesses = predict(model, data, split.images).argmax(1)
    return int((guesses == split.labels).sum())
