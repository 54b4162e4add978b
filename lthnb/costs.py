"""How long runs take, and how a process is set up to run them."""

from __future__ import annotations

import dataclasses
import math
import os

import torch

from lthnb.config import RunConfig
from lthnb.data import Split, load
from lthnb.folders import Source
from lthnb.imp import trainings
from lthnb.masks import ones
from lthnb.models import build
from lthnb.train import stepper, train


def settle() -> None:
    """One thread, since two are slower beside a second process; on a GPU equal bits, and fp32 is fp32."""
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False


def epochs(config: RunConfig) -> int:
    """Epochs of all trainings of a run."""
    once = sum(stop - start for start, stop in trainings(config).values())
    return 2 * once if config.data.split == "refit" else once


def evaluations(config: RunConfig, device: str) -> float:
    """Evaluations of a run, those of test alone before the last epoch by their part of a full one."""
    look = 0.08 if device == "cuda" else 0.6
    return len(trainings(config)) * (1 + look * (config.train.evaluate_last - 1))


def cost(config: RunConfig, images: int, device: str = "cpu") -> float:
    """Seconds that a run may take on a machine like those known; ``images`` are evaluated after a training.

    Counted from multiply-adds, and from what every step and every run takes besides.
    """
    stages, side = config.network.stages, config.data.side or 32
    flops = 67_000 * (side / 32) ** 2 * sum(width**2 / 4**i for i, width in enumerate(stages))
    flops *= 0.47 if config.network.model == "resnet10" else 1
    tail = config.data.long_tail  # about what a geometric series of classes keeps
    passes = config.data.images * epochs(config) * ((tail - 1) / math.log(tail) if tail else 1)
    evaluated = images * evaluations(config, device)
    steps = passes / config.train.batch_size
    if device == "cuda":
        return 2 + 0.0006 * steps + 3 * passes * flops / 350e12 + evaluated * flops / 30e12
    return 2 + 0.004 * steps + 4e-5 * passes + (3 * passes + evaluated) * flops / 1.6e11


def estimate(configs: list[RunConfig], sources: dict[str, Source], device: str, precision: str) -> float:
    """Seconds that runs will take: ``cost``, to the scale of two timed batches and one timed evaluation."""
    settle()
    config = configs[0]
    data = load(sources[config.data.name], config.data, config.seed, device)
    few = Split(*(part[: 2 * config.train.batch_size] for part in (data.train.images, data.train.labels)))
    some = Split(data.test.images[:500], data.test.labels[:500])
    nothing = Split(data.test.images[:0], data.test.labels[:0])
    trial = dataclasses.replace(data, train=few, val=nothing, test=some)
    shape = {"classes": len(data.classes), "side": data.train.images.shape[2]}
    channels = sources[config.data.name].facts.channels
    model = build(config.network, 0, channels=channels, **shape).to(device)
    settings, full = dataclasses.replace(config.train, lr=1e-6), ones(model)
    step = stepper(model, trial, settings, precision)
    for _ in range(2):  # the first warms up
        spent = train(model, full, trial, settings, seed=0, stop=1, step=step).seconds
    whole = sum(map(len, data.splits.values()))
    training = spent["train"] / len(few) * len(data.train) * epochs(config)
    evaluating = spent["evaluate"] / (len(few) + len(some)) * whole * evaluations(config, device)
    return (
        (training + evaluating)
        * sum(cost(each, whole, device) for each in configs)
        / cost(config, whole, device)
    )
