"""The plan: every configuration that a page shows, in the order in which a GPU's time is worth most."""

import itertools
from dataclasses import dataclass
from typing import Any

from lthnb.config import PROFILES, ParameterError, RunConfig
from lthnb.images.dataset import DatasetInfo
from lthnb.images.splits import subset_size
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
PAPERS_OWN = {size["fraction"]: size["augment"] for size in (ONE, TWO)}  # augmentation by images
BOTH = "low_data capacity_connectivity layers"
LARGE = {**PROFILES["smoke"], "pool_limit": 0}  # sizes that demo scale cannot resolve: one run that all works

# the dense network's setting with the highest mean accuracy on val of the tuning seeds (a test compares)
TUNED: dict[str, dict[str, float]] = {
    "demo": {"lr": 0.01, "batch_size": 10, "weight_decay": 5e-4},
}
TUNED["smoke"] = TUNED["demo"]
STRONG = {"tuned": True, "times": 4}  # four times the epochs
LAST = {"paper": 15}  # the round of the paper's last ticket, where a profile runs more


def small_networks() -> list[Experiment]:
    """Dense networks of the size of a ticket after some prunings of 48.8 %, the paper's last first."""
    return [
        Experiment(
            "capacity_connectivity",
            "original_pixels",
            {**size, "small": prunings},
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
        planned.append(Experiment(BOTH, "original_pixels", size, **everywhere))
        for control in ("random", "shuffled", "reinit"):
            change = {**size, "control": control}
            planned.append(Experiment("capacity_connectivity", "original_pixels", change, **everywhere))
    return planned


def original_sizes() -> list[Experiment]:
    """The other augmentations of the sizes that the exact pixels allow."""
    return [
        Experiment(
            "low_data layers",
            "original_pixels",
            {"fraction": images, "augment": augment},
            paper=6,
            demo=6,
            smoke=1 if (images, augment) == (500, "base") else 0,
        )
        for images, augment in (
            (500, "base"),
            (1000, "base"),
            (500, "auto+cutout"),
            (1000, "rand+cutout"),
            (500, "contrast"),
            (1000, "contrast"),
        )
    ]


def whole_set(images: float, augment: str = "base", **seeds: int) -> Experiment:
    """One size of the curve over sizes, on a complete set."""
    return Experiment("low_data", "whole_set", {"fraction": images, "augment": augment}, **seeds)


def tuning() -> list[Experiment]:
    """The dense network's setting, chosen on val of seeds that are never reported (book/registered.md)."""
    wide = itertools.product((0.01, 0.03), (100, 25), (5e-4,))
    demo = itertools.product((0.003, 0.01, 0.03, 0.1), (50, 25, 10), (5e-4, 5e-3))
    lines = [(values, {"wide": 2}) for values in wide] + [(values, {"demo": 3}) for values in demo]
    planned = []
    for (lr, batch, decay), seeds in lines:
        setting = {"lr": lr, "batch_size": batch, "weight_decay": decay, "rounds": 0}
        planned.append(Experiment("tuning", "original_pixels", {**ONE, **setting}, **seeds, first=100))
    return planned


def fair(pages: str, change: dict[str, Any], **seeds: int) -> Experiment:
    """One line of the fair test, on the original pixels; six seeds at demo scale if nothing else is said."""
    return Experiment(pages, "original_pixels", change, **(seeds or {"demo": 6}))


def strong_arms() -> list[Experiment]:
    """Dense networks and tickets that were given every chance, and the controls of the registered test."""
    planned = [
        fair("fair_test", {**ONE, "tuned": True}, demo=6, smoke=1),
        fair("fair_test strong", {**ONE, **STRONG, "rounds": 0}, demo=6, smoke=1),
    ]
    for control in ("retrained", "shuffled", "reinit"):
        planned.append(
            fair("fair_test strong_controls", {**ONE, **STRONG, "control": control}, demo=6, smoke=1)
        )
    planned += [
        fair("fair_test", {**ONE, "control": "rewound", "every": 5}),
        fair("fair_test", {**ONE, "times": 6, "rounds": 0}),
        fair("fair_test", {**ONE, "times": 6, "cycles": 6, "rounds": 0}),
        fair("fair_test", {**ONE, "tuned": True, "times": 6, "rounds": 0}),
        fair("fair_test", {**ONE, "tuned": True, "times": 6, "cycles": 6, "rounds": 0}),
        fair("strong_controls", {**ONE, **STRONG, "small": 5}),
        fair("strong", {"fraction": 500, "augment": "base", **STRONG, "rounds": 0}),
        fair("fair_test strong", {**TWO, **STRONG, "rounds": 0}),
        fair("fair_test", {**TWO, "tuned": True}),
        fair("fair_test strong_controls", {**TWO, **STRONG, "control": "retrained"}),
    ]
    return planned


def ladder(times: int, **seeds: int) -> list[Experiment]:
    """Dense network and published ticket at every rate, so many times as long."""
    planned = []
    for lr in (0.003, 0.01, 0.03, 0.1):
        if times > 1 or lr < 0.1:
            changed = {**ONE, "lr": lr, "times": times}
            planned.append(fair("fair_ladder", {**changed, "rounds": 0}, **seeds))
            planned.append(fair("fair_ladder", {**changed, "control": "retrained", "found_lr": 0.1}, **seeds))
    return planned


def other_questions() -> list[Experiment]:
    """Label noise, more images in as many steps, and the switches of the released code."""
    planned = []
    for noise in (0.2, 0.4):
        noisy = {**ONE, "label_noise": noise}
        planned += [fair("fair_noise", noisy, demo=3)]
        planned += [fair("fair_noise", {**noisy, **STRONG, "rounds": 0}, demo=3)]
    planned.append(fair("fair_size", {"fraction": 5000, "augment": "rand+cutout", "times": 0.4}, demo=3))
    for switch in ("rewind", "cutout"):
        planned.append(fair("fair_switches", {**ONE, switch: "as_released"}, demo=3))
    return planned


PLAN = [
    Experiment("imp low_data layers", "original_pixels", {"fraction": 500, "augment": "base"}, demo=6),
    *tickets_and_controls(),
    *small_networks(),
    Experiment("representations", "whole_set", {"fraction": 1, "rounds": 0}, paper=2),
    *[
        Experiment("generalization", "cifar100", {"fraction": images, "augment": "auto+cutout"}, paper=3)
        for images in (500, 1000)
    ],
    whole_set(5000, "rand+cutout", paper=2, demo=2),
    whole_set(5000, "auto+cutout", paper=2),
    Experiment("generalization", "eurosat", {"fraction": 1}, paper=3),
    Experiment(
        "generalization",
        "cifar100",
        {"fraction": 1, "long_tail": 0.01, "augment": "auto+cutout"},
        paper=2,
    ),
    *original_sizes(),
    *[
        whole_set(images, augment, paper=2, demo=2)
        for images in (500, 1000)
        for augment in ("base", "rand+cutout")
    ],
    whole_set(5000, paper=2, demo=2),
    Experiment("full_width", "original_pixels", ONE, wide=6),
    *tuning(),
    *strong_arms(),
    *ladder(1),
    *ladder(4),
    *other_questions(),
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

    Beside the fields of a configuration a change may hold ``fraction`` (share or number of images),
    ``small`` (k: a dense network of the size of a ticket after k prunings of 48.8 %), ``tuned`` (the setting
    that was chosen on val) and ``times`` (how much longer the last training is; a control takes the place of
    a ticket that was found in the usual epochs, at its last round alone).

    Raises:
        ParameterError: fewer images than classes, or rounds that would leave no weight.
    """
    values = {**PROFILES[profile], **change}
    fraction = values.pop("fraction")
    prunings = values.pop("small", 0)
    if values.pop("tuned", False):
        values |= TUNED[profile]
    if "times" in values:
        usual = RunConfig.of(profile)
        values["epochs"] = round(values.pop("times") * usual.train.epochs)
        if "control" in change:
            values |= {"found_epochs": usual.train.epochs, "every": LAST.get(profile, usual.prune.rounds)}
    if "side" not in change and profile == "demo" and info.side > 64:
        values["side"] = 64
    values["side"] = min(values.get("side", 0), info.side) % info.side  # 0: as stored
    if "control" in change and profile == "paper":
        values.setdefault("every", 3)  # prunings of 20 %: as densely as one of 48.8 % at the other scales
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
