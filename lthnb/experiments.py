"""The plan: every configuration that a page shows, in the order in which a GPU's time is worth most."""

import itertools
from dataclasses import dataclass
from typing import Any

from lthnb.config import PROFILES, ParameterError, RunConfig
from lthnb.images.dataset import DatasetInfo
from lthnb.images.splits import subset_size
from lthnb.schedules import RATES, STRONG, TUNED, scheduled
from lthnb.training.networks import Architecture, prunable, small_dense


@dataclass(frozen=True)
class Experiment:
    """One line of the plan: some seeds of one configuration, and the pages that show them."""

    pages: str
    data: str  # what images are needed: a key of ``sources.ROLES``
    change: dict[str, Any]  # what replaces the values of the profile
    paper: int = 0  # seeds at each scale
    wide: int = 0
    demo: int = 0
    smoke: int = 0
    first: int = 0  # number of the first seed; 100 for runs that only tune a setting

    def seeds(self, profile: str, most: int = 10**6) -> range:
        """The seeds at a scale, at most so many."""
        return range(self.first, self.first + min(getattr(self, profile), most))

    def describe(self) -> str:
        """Pages, images and the first changes, for a list."""
        change = ", ".join(f"{name} {value}" for name, value in list(self.change.items())[:4])
        return f"{self.pages:<40}  {self.data:<15}  {change:<52}"


ONE = {"fraction": 500, "augment": "rand+cutout"}  # sizes with the augmentation that the paper takes there
TWO = {"fraction": 1000, "augment": "auto+cutout"}
BASE = {"fraction": 500, "augment": "base"}
PAPERS_OWN = {size["fraction"]: size["augment"] for size in (ONE, TWO)}  # augmentation by images
DENSE = {"rounds": 0}
OTHER_SIZES = (
    (1000, "base"),
    (500, "auto+cutout"),
    (1000, "rand+cutout"),
    (500, "contrast"),
    (1000, "contrast"),
)  # which the original pixels allow, beside those above
BOTH = "low_data capacity_connectivity layers"
LARGE = {**PROFILES["smoke"], "pool_limit": 0}  # sizes that demo scale cannot resolve: one run that all works


def small_networks() -> list[Experiment]:
    """Dense networks of the size of a ticket after some prunings of 48.8 %, the paper's last first."""
    return [
        original(
            "capacity_connectivity",
            size | {"small": prunings},
            paper=6,
            demo=6 if prunings < 6 else 0,
            smoke=1 if prunings < 3 else 0,
        )
        for size in (ONE, TWO)
        for prunings in (5, 1, 2, 3, 4, 6)
    ]


def tickets_and_controls() -> list[Experiment]:
    """The paper's central rows: the tickets of a size, then what takes their place."""
    everywhere = {"paper": 6, "demo": 6, "smoke": 1}
    planned = []
    for size in (ONE, TWO):
        fair = " fair_test" if size is ONE else ""
        planned.append(original(BOTH + " robustness" + fair, size, **everywhere))
        for control in ("random", "shuffled", "reinit"):
            pages = "capacity_connectivity" + fair * (control == "shuffled")
            planned.append(original(pages, size | {"control": control}, **everywhere))
    return planned


def whole_set(images: float, augment: str = "base", **seeds: int) -> Experiment:
    """One size of the curve over sizes, on a complete set."""
    return Experiment("low_data", "whole_set", {"fraction": images, "augment": augment}, **seeds)


def original(pages: str, change: dict[str, Any], **seeds: int) -> Experiment:
    """One line on the original pixels; six seeds at demo scale if nothing else is said."""
    return Experiment(pages, "original_pixels", change, **(seeds or {"demo": 6}))


def tuning() -> list[Experiment]:
    """The dense network's rates, chosen on val of seeds that are never reported (book/registered.md)."""
    wide = itertools.product((0.01, 0.03), (100, 25), (5e-4,))
    demo = itertools.product((0.003, 0.01, 0.03, 0.1), (50, 25, 10), (5e-4, 5e-3))
    planned = [(rates, {"paper": 2, "wide": 2}) for rates in wide] + [(rates, {"demo": 3}) for rates in demo]
    return [
        original("tuning", {**ONE, **dict(zip(RATES, rates, strict=True)), "rounds": 0}, **seeds, first=100)
        for rates, seeds in planned
    ]


def fair_test() -> list[Experiment]:
    """The registered comparison, and beside it what else a dense network or other masks make of it."""
    everywhere = {"paper": 6, "wide": 6, "demo": 6, "smoke": 1}
    planned = [
        original("fair_test", ONE | {"control": "shuffled", "every": 5}, wide=6),
        original("fair_test robustness", ONE | TUNED, **everywhere),
        original("fair_test robustness strong", ONE | STRONG | DENSE, **everywhere),
        original("fair_test robustness strong", ONE | STRONG | {"control": "retrained"}, **everywhere),
        original("strong", BASE | STRONG | DENSE, paper=6, demo=6),
        original("robustness strong", TWO | STRONG | DENSE, paper=6, demo=6),
        original("fair_more", ONE | {"control": "rewound", "every": 5}),
    ]
    for change in ({"control": "shuffled"}, {"control": "reinit"}, {"small": 5}):
        planned.append(original("strong", ONE | STRONG | change))
    for rates in ({}, TUNED):
        for cycles in (1, 6):
            pages = "fair_more" + " robustness" * (cycles == 1)
            planned.append(original(pages, ONE | DENSE | rates | {"times": 6, "cycles": cycles}))
    return [*planned, original("robustness strong", TWO | STRONG | {"control": "retrained"}, paper=6, demo=6)]


def dense_ladder() -> list[Experiment]:
    """Dense networks on other numbers of images, and tuned ones of the larger size, to compare with."""
    sizes = ((250, ONE), (2000, ONE), (2000, TWO))
    planned = [
        original("robustness", size | DENSE | {"fraction": images}, paper=6, demo=6) for images, size in sizes
    ]
    advprop = original("advprop", ONE | {"objective": "advprop"}, paper=6, demo=3, smoke=1)
    return [original("robustness", TWO | TUNED, paper=6, demo=6), *planned, advprop]


def ladder(times: int, **seeds: int) -> list[Experiment]:
    """Dense network and published ticket at every learning rate, so many times as long."""
    planned = []
    for lr in (0.003, 0.01, 0.03, 0.1):
        if times > 1 or lr < 0.1:
            step = ONE | {"lr": lr, "times": times}
            ticket = {"control": "retrained", "found_lr": 0.1}
            shown = " robustness" * (times == 4 and lr == 0.1)
            planned.append(original("fair_ladder" + shown, step | DENSE, **seeds))
            planned.append(original("fair_ladder", step | ticket, **seeds))
    return planned


def noise_sizes_and_switches() -> list[Experiment]:
    """Wrong labels, more images in as many steps, and the switches of the released code."""
    noisy = [ONE | STRONG | DENSE | {"label_noise": noise} for noise in (0.2, 0.4, 0.9)]  # 0.9: at random
    noisy += [ONE | {"label_noise": noise} for noise in (0.2, 0.4)]
    noisy.append(ONE | STRONG | {"label_noise": 0.4, "control": "retrained"})
    more_images = {"fraction": 5000, "augment": "rand+cutout", "times": 0.4}
    switched = [ONE | {switch: "as_released"} for switch in ("rewind", "cutout")]
    return [
        *[original("fair_noise", change, demo=3) for change in noisy],
        original("fair_size", more_images, demo=3),
        *[original("fair_switches", change, demo=3) for change in switched],
    ]


PLAN = [
    original("imp low_data layers", BASE),
    *tickets_and_controls(),
    *tuning(),
    *fair_test(),
    *dense_ladder(),
    *small_networks(),
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
