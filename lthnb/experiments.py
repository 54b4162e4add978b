"""The plan: every configuration that a page shows, in the order in which a GPU's time is worth most."""

from typing import Any

from lthnb.config import PROFILES, ParameterError, RunConfig
from lthnb.images.dataset import DatasetInfo
from lthnb.images.splits import subset_size
from lthnb.lines import (
    BASE,
    DENSE,
    LARGE,
    ONE,
    OTHER_SIZES,
    TWO,
    Experiment,
    fair_test,
    ladder,
    noise_sizes_and_switches,
    original,
    robustness,
    small_networks,
    tickets_and_controls,
    tuning,
    whole_set,
)
from lthnb.schedules import STRONG, scheduled
from lthnb.training.networks import Architecture, prunable, small_dense

PLAN = [
    original("imp low_data layers", BASE),
    *tickets_and_controls(),
    *tuning(),
    *fair_test(),
    *small_networks(),
    *robustness(),
    Experiment("representations", "whole_set", {"fraction": 1, "rounds": 0}, paper=2),
    *[
        Experiment("generalization", "cifar100", {"fraction": images, "augment": "auto+cutout"}, paper=3)
        for images in (500, 1000)
    ],
    whole_set(5000, "rand+cutout", paper=2, demo=2),
    whole_set(5000, "auto+cutout", paper=2),
    Experiment("generalization", "eurosat", {"fraction": 1}, paper=3),
    Experiment("generalization", "cifar100", TWO | {"fraction": 1, "long_tail": 0.01}, paper=2),
    original("low_data layers", BASE, paper=6, demo=6, smoke=1),
    *[
        original("low_data layers", {"fraction": images, "augment": augment}, paper=6, demo=6)
        for images, augment in OTHER_SIZES
    ],
    *[
        whole_set(images, augment, paper=2, demo=2)
        for images in (500, 1000)
        for augment in ("base", "rand+cutout")
    ],
    whole_set(5000, paper=2, demo=2),
    original("full_width fair_test", ONE, wide=6),
    *ladder(1),
    *ladder(4),
    *noise_sizes_and_switches(),
    *[
        original("strong", {"fraction": images, "augment": augment} | STRONG | DENSE)
        for images, augment in OTHER_SIZES
    ],
    *ladder(16, demo=3),
    *[
        Experiment("low_data", "whole_set", {"fraction": images, **LARGE}, demo=1)
        for images in (10_000, 25_000, 1)
    ],
    *[
        whole_set(images, augment, paper=1)
        for images in (10_000, 25_000, 1)
        for augment in ("base", "auto+cutout")
    ],
]


def of_page(page: str) -> list[Experiment]:
    """The lines of the plan that a page shows, in its order."""
    return [experiment for experiment in PLAN if page in experiment.pages.split()]


def resolve(info: DatasetInfo, profile: str, change: dict[str, Any]) -> RunConfig:
    """A profile's values under changes, resolved against a data set; seed 0.

    Beside the fields of a configuration a change may hold ``fraction`` (share or number of images), ``small``
    (k: a dense network of the size of a ticket after k prunings of 48.8 %), and ``tuned`` and ``times`` (see
    ``schedules.scheduled``).

    Raises:
        ParameterError: fewer images than classes, or rounds that would leave no weight.
    """
    values = PROFILES[profile] | scheduled(profile, change)
    fraction = values.pop("fraction")
    prunings = values.pop("small", 0)
    if "side" not in change and profile == "demo" and info.side > 64:
        values["side"] = 64
    values["side"] = min(values.get("side", 0), info.side) % info.side  # 0: as stored
    if "control" in change and profile == "paper":
        values.setdefault("every", 3)  # prunings of 20 %: as densely as one of 48.8 % at the other scales
    values.setdefault("norm", "dual" if values.get("objective") == "advprop" else "single")
    small_set = info.few and not values.get("long_tail")
    config = RunConfig.of(name=info.name, split="refit" if small_set else "holdout", **values)
    config = config.replace(images=subset_size(info, config.data, fraction))
    side = config.data.side or info.side
    if prunings:
        network = small_dense(config.network, 0.512**prunings, info.channels, side)
        config = config.replace(rounds=0, widths=network.widths)
    architecture = Architecture(config.network, info.channels, side, info.classes)
    weights = sum(weight.numel() for weight in prunable(architecture.empty()).values())
    if weights * (1 - config.prune.rate) ** config.prune.rounds < 1:
        raise ParameterError(f"rounds {config.prune.rounds} at rate {config.prune.rate:g} leave no weight")
    return config


def seeds_of(
    lines: list[Experiment], infos: dict[str, DatasetInfo], profile: str, most: int
) -> tuple[RunConfig, ...]:
    """The configurations of lines of the plan at a scale, one a seed, each once.

    Args:
        infos: what images serve each line's ``data``.
        most: seeds of one line, at most.
    """
    configs: dict[str, RunConfig] = {}
    for line in lines:
        seeds = line.seeds(profile, most)
        if not seeds:
            continue
        config = resolve(infos[line.data], profile, line.change)
        for seed in seeds:
            seeded = config.replace(seed=seed)
            configs[seeded.key] = seeded
    return tuple(configs.values())
