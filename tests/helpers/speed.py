"""How fast this machine is, each figure beside the plain way of doing the same in the same run."""

import dataclasses
import random
import tempfile
import time
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image

try:
    import resource
except ImportError:  # Windows has none
    resource = None

from helpers import gpu
from lthnb.config import PROFILES, RunConfig, TrainConfig, stream
from lthnb.images import glyphs, shifts
from lthnb.images.splits import load
from lthnb.runs.checkpoint import Checkpoints
from lthnb.runs.machine import set_determinism
from lthnb.training import augment, imp, masks
from lthnb.training import loop as inner
from lthnb.training.loop import History, copy, evaluate
from lthnb.training.networks import build
from lthnb.training.step import Step

Row = dict[str, Any]


def measure(images: int = 2000) -> Iterator[Row]:
    """Time augmentation, training, evaluation and checkpoints on one thread; on CUDA ``gpu.measure`` too.

    Yields rows {what, value, plain, ratio}: ``plain`` is the same work by Pillow or a loader and a plain loop
    (``reference.py``), ``ratio`` how many times faster ours is. ``images`` are augmented.
    """
    set_determinism()
    pixels = glyphs.glyphs().read("train", torch.arange(images), 32).contiguous()
    yield from _augmentation(pixels)
    yield _corruptions(pixels[:400])
    yield from _training(RunConfig.of(name="glyphs", **PROFILES["demo"]).replace(test_limit=2000))
    if torch.cuda.is_available():
        yield from gpu.measure()
    if resource:
        yield _row("peak memory, MiB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def seconds(action: Callable[..., object], *given: object) -> float:
    """CPU seconds of ``action(*given)``, the best of four: the first warms up."""
    return min(timeit.repeat(lambda: action(*given), timer=time.process_time, repeat=4, number=1))


def _row(what: str, value: float, plain: float | None = None) -> Row:
    return {"what": what, "value": value, "plain": plain, "ratio": plain and value / plain}


def _augmentation(images: torch.Tensor) -> Iterator[Row]:
    from helpers import pillow

    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy().copy()) for image in images[:400]]
    draw, draws = random.Random(0), augment.Draws([stream(0, "bench")], len(images))
    random_pair = ("random augmentation", augment.random_operations, pillow.random_chain)
    for name, ours, theirs in (random_pair, ("AutoAugment", augment.auto_policy, pillow.policy_chain)):
        fast = seconds(ours, images, draws)
        slow = seconds(lambda theirs=theirs: [theirs(picture, draw) for picture in pictures])
        yield _row(f"{name}, 32 px images/s, beside Pillow", len(images) / fast, len(pictures) / slow)


def _corruptions(images: torch.Tensor) -> Row:
    """All kinds at all severities, of ours and, of a few images, one image after the other."""
    from helpers import plain_corruptions

    sets = [(kind, severity) for kind in shifts.CORRUPTIONS for severity in range(1, 6)]
    few = images[:4]
    began = time.process_time()
    for kind, severity in sets:
        shifts.corrupt(images, kind, severity)
    halfway = time.process_time()
    for kind, severity in sets:
        plain_corruptions.corrupt(few, kind, severity)
    ended = time.process_time()
    ours = len(sets) * len(images) / (halfway - began)
    plain = len(sets) * len(few) / (ended - halfway)
    return _row("95 sets of corruptions, 32 px images/s", ours, plain)


def _training(run: RunConfig) -> Iterator[Row]:
    from helpers import pillow, reference

    data, draw = load(glyphs.glyphs(), run.data, 0), random.Random(0)
    architecture = imp.architecture_of(run, data)
    model, plain = build(architecture, 0), reference.hooked(build(architecture, 0))
    number, plainly = len(data.train), torch.optim.SGD(plain.parameters(), 0.1, 0.9, weight_decay=5e-4)
    for policy, chain in (("base", None), ("rand", lambda image: pillow.random_chain(image, draw))):
        batches = reference.loader(data.train, data, run.train.batch_size, True, chain)
        slow = seconds(reference.epoch, plain, plainly, batches)
        config = dataclasses.replace(run.train, augment=policy)
        for kind in ("fp32", "bf16"):
            fast = seconds(_epochs, Step(model, data, config, kind), config) / 8
            yield _row(f"demo epoch, {policy}, {kind}, images/s", number / fast, number / slow)
    batches = reference.loader(data.test, data, 100, False)
    slow = len(data.test) / seconds(reference.evaluate, plain, batches)
    yield _row("evaluation, images/s", 3500 / seconds(evaluate, model, data), slow)
    with tempfile.TemporaryDirectory() as folder:
        keeper = Checkpoints(Path(folder), run.key, {})
        step = Step(model, data, run.train)
        current = imp.Pass(0, 1, 2, masks.ones(model), copy(model), step, History())
        began = time.monotonic()
        for _ in range(4):
            keeper.save(current, {})
    spent = keeper.last - began
    yield _row("dense demo checkpoint, % of 20 s on the clock", 100 * spent / 4 / keeper.every)


def _epochs(step: Step, config: TrainConfig) -> None:
    """Eight epochs as ``train`` makes them, without their evaluation."""
    for epoch, (images, order) in inner._ahead(step.data, config, 0, range(8)).items():
        inner._epoch(step, images, order, config, epoch)
        step.losses(len(images))


def shown(row: Row) -> str:
    """One line of the table."""
    beside = f"{row['plain']:>12,.0f}  {row['ratio']:>6.2f}x" if row["plain"] else ""
    return f"{row['what']:<52}{row['value']:>12,.2f}{beside}"
