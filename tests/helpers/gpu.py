"""How fast the parts of a run of the paper's scale are on a GPU, in under a minute."""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from lthnb.config import ParameterError, RunConfig, stream
from lthnb.images.splits import Data, Split
from lthnb.runs.checkpoint import Checkpoints
from lthnb.runs.machine import set_determinism
from lthnb.training import imp, loop, masks
from lthnb.training.augment import augment
from lthnb.training.networks import build, prunable
from lthnb.training.step import Step, graphed

Row = dict[str, Any]
ACTIVITIES = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
STEP = 3.329e9 * 100  # operations of a step of the paper's network on 100 images, forward and backward
MOVED = (
    1.84e9 + 24 * 11_173_962
)  # bytes that it reads and writes: activations, and weights with their momentum


def measure(width: int = 64, images: int = 500, test: int = 10_000, times: int = 100) -> Iterator[Row]:
    """Time the parts of a run on 500 images of noise, in milliseconds on the clock.

    Args:
        width: of ResNet-18; the bounds by arithmetic and memory hold for 64.
        images: to train on; ``test``: to evaluate.
        times: steps that are timed.

    Raises:
        ParameterError: torch finds no GPU.
    """
    if not torch.cuda.is_available():
        raise ParameterError("bench --gpu needs a GPU, and torch finds none; leave --gpu out")
    set_determinism()
    config = RunConfig.of("paper", augment="rand+cutout", width=width, images=images, batch_size=images // 5)
    data = noise(images, test)
    square = torch.ones(8192 * width // 64, 8192 * width // 64, device="cuda", dtype=torch.bfloat16)
    flops = 2 * len(square) ** 3 / milliseconds(lambda: square @ square, 20)
    moved = 2 * square.nbytes / milliseconds(square.clone, 20)
    yield row("least for a step of the paper by arithmetic", STEP / flops)
    yield row("least for a step of the paper by memory", MOVED / moved)
    for precision in ("fp32", "bf16"):
        for name, capture in (("eager", None), ("captured", graphed)):
            step = new_step(config, data, precision, capture)
            batch = data.train.images[: images // 5], data.train.labels[: images // 5]
            yield row(
                f"step, {precision}, {name}", milliseconds(lambda step=step, batch=batch: step(*batch), times)
            )
            assert step.captured == (capture is not None), "the step was not captured"
    yield row("epoch of five steps", milliseconds(lambda: epoch(step, config), times // 2))
    yield row("losses of an epoch, waited for", milliseconds(lambda: settled(step, images), times // 2))
    for name in ("base", "rand+cutout", "auto+cutout"):
        generators = [stream(0, "bench", epoch) for epoch in range(times)]
        taken = milliseconds(
            lambda name=name, generators=generators: augment(data.train.images, name, generators), 2
        )
        yield row(f"augmentation of {times} epochs, {name}", taken)
    yield row("test in the precision of training", milliseconds(lambda: loop._glance(step), 5))
    yield from evaluation(step.model, data)
    yield from keeping(config, step)
    yield row("peak memory, MiB", torch.cuda.max_memory_allocated() / 2**20)


def noise(images: int, test: int) -> Data:
    """Images of noise on the device, 32 x 32, ten classes."""

    def split(number: int) -> Split:
        pixels = torch.randint(0, 256, (number, 3, 32, 32), dtype=torch.uint8, generator=stream(0, "bench"))
        images = pixels.contiguous(memory_format=torch.channels_last).to("cuda")
        return Split(images, (torch.arange(number) % 10).to("cuda"))

    middle = torch.full((1, 3, 1, 1), 0.5).to("cuda")
    return Data(split(images), split(test // 10), split(test), middle, middle, tuple("0123456789"))


def new_step(config: RunConfig, data: Data, precision: str, capture: Callable | None) -> Step:
    """The step of a dense network, ready."""
    model = build(imp.architecture_of(config, data), 0).to("cuda")
    step = Step(model, data, config.train, precision, capture)
    step.begin(masks.ones(model))
    step.begin_epoch(0.01)
    return step


def epoch(step: Step, config: RunConfig) -> None:
    """One epoch, its images and their order drawn beforehand."""
    images = step.data.train.images
    loop._epoch(step, images, torch.arange(len(images), device=images.device), config.train, 0)


def settled(step: Step, images: int) -> None:
    """An epoch of no steps, and the look at it."""
    step.end_epoch()
    step.losses(images)


def evaluation(model: nn.Module, data: Data) -> Iterator[Row]:
    """All splits in fp32 and in TF32, and how many test images are answered otherwise."""
    answers = {}
    for name, allowed in (("fp32", False), ("TF32", True)):
        torch.backends.cudnn.allow_tf32 = allowed
        yield row(f"evaluation of all splits, {name}", milliseconds(lambda: loop.evaluate(model, data), 3))
        answers[name] = loop.predict(model, data, data.test.images).argmax(1)
    torch.backends.cudnn.allow_tf32 = False
    yield row("test images that TF32 answers otherwise", int((answers["fp32"] != answers["TF32"]).sum()))


def keeping(config: RunConfig, step: Step) -> Iterator[Row]:
    """Pruning, and a checkpoint of the dense network."""
    full = masks.ones(step.model)
    yield row("pruning", milliseconds(lambda: masks.prune_by_magnitude(prunable(step.model), full, 0.2), 3))
    with tempfile.TemporaryDirectory() as folder:
        keeper = Checkpoints(Path(folder), config.key, {})
        current = imp.Pass(0, 1, 2, full, loop.copy(step.model), step)
        yield row("checkpoint of a dense network", milliseconds(lambda: keeper.save(current, {}), 2))


def kernels(width: int = 64, images: int = 500) -> str:
    """The kernels of five eager steps in bf16 that take longest, as a table."""
    set_determinism()
    config = RunConfig.of("paper", width=width, images=images)
    data = noise(images, 100)
    step = new_step(config, data, "bf16", None)
    batch = data.train.images[:100], data.train.labels[:100]
    step(*batch)
    with profile(activities=ACTIVITIES) as seen:
        for _ in range(5):
            step(*batch)
        torch.cuda.synchronize()
    sort = "self_cuda_time_total"
    return seen.key_averages().table(sort_by=sort, row_limit=20, max_name_column_width=60)


def milliseconds(action: Callable[[], object], times: int) -> float:
    """Time of an action on the clock, after two that warm up; the device is waited for at the end."""
    action()
    action()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(times):
        action()
    torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - began) / times


def row(what: str, value: float) -> Row:
    """One line of the table."""
    return {"what": what, "value": value, "plain": None, "ratio": None}
