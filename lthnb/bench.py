"""How fast this machine is, each figure beside the plain way of doing the same in the same run."""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.nn.utils import prune

from lthnb import augment, glyphs, masks
from lthnb.checkpoints import Checkpoints
from lthnb.config import PROFILES, ROOT, DataMissing, NetworkConfig, RunConfig, stream
from lthnb.data import Data, load
from lthnb.models import build
from lthnb.train import copy, evaluate, momentum, optimiser, train

Row = dict[str, Any]
STEP_FLOP, STEP_BYTES = (
    100 * 3.329e9,
    1.84e9 + 11_173_962 * 24,
)  # a paper-scale step of batch 100, counted from shapes


def measure() -> Iterator[Row]:
    """Time augmentation, training, evaluation, checkpoints and memory on one thread; on CUDA the paper's step too.

    Yields rows {what, value, unit, plain, ratio}; ``plain`` is the same work by Pillow or by a loader and a plain loop
    (``tests/reference.py``), ``ratio`` how many times faster ours is.

    Raises:
        DataMissing: the repository's tests, which hold the plain references, are not there.
    """
    if not (ROOT / "tests" / "reference.py").exists():
        raise DataMissing(f"the plain references are not in {ROOT / 'tests'}; bench runs in the repository")
    sys.path.insert(0, str(ROOT / "tests"))
    torch.set_num_threads(1)
    source = glyphs.glyphs()
    run = RunConfig.of(name="glyphs", **{**PROFILES["demo"], "test_limit": 2000})
    data = load(source, run.data, 0)
    yield from _augmentation(source.read("train", torch.arange(2000), 32).contiguous())
    yield from _training(run, data)
    yield _checkpoint(run, data)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    yield {"what": "peak memory", "value": peak, "unit": "MiB", "plain": None, "ratio": None}
    if torch.cuda.is_available():
        yield from _cuda()


def seconds(action: Callable[[], object], times: int = 3) -> float:
    """CPU seconds of an action, the best of several after one to warm up."""
    action()
    spent = []
    for _ in range(times):
        began = time.process_time()
        action()
        spent.append(time.process_time() - began)
    return min(spent)


def _row(what: str, images: int, ours: float, plain_images: int, plain: float) -> Row:
    rates = images / ours, plain_images / plain
    return {
        "what": what,
        "value": rates[0],
        "unit": "images/s",
        "plain": rates[1],
        "ratio": rates[0] / rates[1],
    }


def _augmentation(images: torch.Tensor) -> Iterator[Row]:
    import pillow

    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy().copy()) for image in images[:400]]
    names = {"shear_y": "shear_y_bicubic", "rotate": "rotate_grey"}
    names |= {"translate_x": "translate_x_grey", "translate_y": "translate_y_grey"}
    codes, chances, values = (part.tolist() for part in augment._policy())
    known = [names.get(name, name) for name in augment.AUTO]
    raised = [name in augment.ENHANCE for name in augment.AUTO]
    policy = [
        [(known[c], p, v + raised[c]) for c, p, v in zip(*row, strict=True)]
        for row in zip(codes, chances, values, strict=True)
    ]
    draw = random.Random(0)
    for name, ours, theirs in (
        ("random augmentation", augment.random_operations, lambda image: pillow.random_chain(image, draw)),
        ("AutoAugment", augment.auto_policy, lambda image: pillow.policy_chain(image, draw, policy)),
    ):
        draws = augment.Draws([stream(0, "bench")], len(images))
        fast = seconds(lambda ours=ours, draws=draws: ours(images, draws))
        slow = seconds(lambda theirs=theirs: [theirs(picture) for picture in pictures])
        yield _row(f"{name}, 32 px, beside Pillow", len(images), fast, len(pictures), slow)


def _training(run: RunConfig, data: Data) -> Iterator[Row]:
    import reference

    model = build(run.network, 0, side=16)
    plain = build(run.network, 0, side=16).to(memory_format=torch.contiguous_format)
    full = masks.ones(plain)
    for name, mask in full.items():
        prune.custom_from_mask(plain.get_submodule(name.removesuffix(".weight")), "weight", mask)
    sgd = torch.optim.SGD(plain.parameters(), 0.1, 0.9, weight_decay=5e-4)
    batches = reference.loader(data.train, data, run.train.batch_size, True)
    slow = seconds(lambda: reference.epoch(plain, sgd, batches))
    number = len(data.train)
    for precision in ("fp32", "bf16"):
        # the epoch that is not evaluated is told apart by training two, of which only the last is
        options = {"seed": 0, "stop": 2, "precision": precision}
        fast = min(train(model, full, data, run.train, **options).seconds["train"] / 2 for _ in range(4))
        yield _row(f"demo epoch, {precision}, beside a loader and a plain loop", number, fast, number, slow)
    batches = reference.loader(data.test, data, 100, False)
    slow = seconds(lambda: reference.evaluate(plain, batches))
    everything = sum(map(len, data.splits.values()))
    yield _row("evaluation", everything, seconds(lambda: evaluate(model, data)), len(data.test), slow)


def _checkpoint(run: RunConfig, data: Data) -> Row:
    model = build(run.network, 0, side=16)
    sgd, state = optimiser(model, run.train), copy(model)
    for value in model.parameters():
        sgd.state[value]["momentum_buffer"] = torch.zeros_like(value)
    with tempfile.TemporaryDirectory() as folder:
        keeper = Checkpoints(Path(folder), run.key, {})
        states = {"model": state, "momentum": momentum(model, sgd), "rewind": state}
        keeper.save({"round": 0}, masks.ones(model), states)
        keeper.seconds = 0.0
        keeper.save({"round": 0}, masks.ones(model), states)
    share = 100 * keeper.seconds / keeper.every
    return {
        "what": "dense demo checkpoint every 20 s",
        "value": share,
        "unit": "% of time",
        "plain": None,
        "ratio": None,
    }


def _cuda() -> Iterator[Row]:
    """The paper's step in bf16 beside its floors: arithmetic at the measured matrix rate, memory at the copy rate."""
    device = torch.device("cuda")

    def timed(action: Callable[[], object], times: int) -> float:
        for _ in range(3):
            action()
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(times):
            action()
        torch.cuda.synchronize()
        return (time.perf_counter() - began) / times

    square = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
    rate = 2 * 8192**3 / timed(lambda: square @ square, 20)
    block = torch.empty(2**30, dtype=torch.uint8, device=device)
    speed = 2 * block.numel() / timed(block.clone, 20)
    model = build(NetworkConfig(), 0).to(device)
    sgd = optimiser(model, RunConfig().train)
    images = torch.randn(100, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(100, dtype=torch.long, device=device)

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(model(images), labels)
        sgd.zero_grad(set_to_none=True)
        loss.backward()
        sgd.step()

    floor = STEP_FLOP / rate + STEP_BYTES / speed
    spent = timed(step, 30)
    yield {
        "what": f"paper step, floor {1e3 * floor:.2f} ms",
        "value": 1e3 * spent,
        "unit": "ms",
        "plain": None,
        "ratio": floor / spent,
    }


def shown(row: Row) -> str:
    """One line of the table."""
    beside = f"{row['plain']:>12,.0f}  {row['ratio']:>6.2f}x" if row["plain"] else ""
    return f"{row['what']:<58}{row['value']:>12,.1f} {row['unit']:<10}{beside}".rstrip()
