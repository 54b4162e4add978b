"""The plan: every configuration that a page shows, in the order in which a GPU's time is worth most."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from lthnb.config import PROFILES, ParameterError, RunConfig
from lthnb.data import count
from lthnb.folders import Facts
from lthnb.masks import prunable
from lthnb.models import small_dense
from lthnb.tickets import Shape


@dataclass(frozen=True)
class Cell:
    """One line of the plan: some seeds of one configuration, and the pages that show them."""

    pages: str
    data: str  # what images are needed: a key of sets.ROLES
    change: dict[str, Any]  # what replaces the values of the profile
    paper: int = 0  # seeds at each scale
    demo: int = 0
    smoke: int = 0
    first: int = 0  # number of the first seed; 100 for runs that only tune a setting

    def seeds(self, profile: str, most: int = 10**6) -> range:
        """The seeds at a scale, at most so many."""
        return range(self.first, self.first + min(getattr(self, profile), most))


ONE, TWO = {"fraction": 500, "augment": "rand+cutout"}, {"fraction": 1000, "augment": "auto+cutout"}
PAPERS_OWN = {size["fraction"]: size["augment"] for size in (ONE, TWO)}  # augmentation by images
BOTH = "low_data capacity_connectivity layers"
LARGE = PROFILES["smoke"] | {"pool_limit": 0}  # sizes that demo scale cannot resolve: one run that all works
# the paper's network, images and epochs under a coarse pruning: what a CPU can do of its scale
FULL_WIDTH = {"width": 64, "side": 32, "epochs": 200, "rewind_epoch": 2, "batch_size": 100, "val_limit": 5000}
TUNING = [  # name, setting, seeds
    *[
        ("wide", FULL_WIDTH | {"lr": lr, "batch_size": batch}, 2)
        for lr, batch in itertools.product((0.01, 0.03), (100, 25))
    ],
    *[
        ("demo", {"lr": lr, "batch_size": batch, "weight_decay": decay}, 3)
        for lr, batch, decay in itertools.product((0.003, 0.01, 0.03, 0.1), (50, 25, 10), (5e-4, 5e-3))
    ],
]
PLAN = [  # in the order in which a GPU's time is worth most
    Cell("imp low_data layers", "exact", {"fraction": 500, "augment": "base"}, demo=6),
    Cell(BOTH, "exact", ONE, paper=6, demo=6, smoke=1),
    Cell(BOTH, "exact", TWO, paper=6, demo=6, smoke=1),
    Cell("representations", "complete", {"fraction": 1, "rounds": 0}, paper=2),
    *[
        Cell("capacity_connectivity", "exact", {**size, "small": k}, 6, 6 * (k < 6), int(k < 3))
        for size in (ONE, TWO)
        for k in (5, 1, 2, 3, 4, 6)
    ],
    *[
        Cell("capacity_connectivity", "exact", {**size, "control": control}, 6, 6, 1)
        for size in (ONE, TWO)
        for control in ("random", "shuffled", "reinit")
    ],
    *[
        Cell("generalization", "cifar100", {"fraction": images, "augment": "auto+cutout"}, paper=3)
        for images in (500, 1000)
    ],
    Cell("low_data", "complete", {"fraction": 5000, "augment": "rand+cutout"}, paper=2, demo=2),
    Cell("low_data", "complete", {"fraction": 5000, "augment": "auto+cutout"}, paper=2),
    Cell("generalization", "eurosat", {"fraction": 1}, paper=3),
    Cell("generalization", "cifar100", {"fraction": 1, "long_tail": 0.01, "augment": "auto+cutout"}, paper=2),
    *[
        Cell("low_data layers", "exact", {"fraction": images, "augment": augment}, 6, 6, smoke)
        for images, augment, smoke in (
            (500, "base", 1),
            (1000, "base", 0),
            (500, "auto+cutout", 0),
            (1000, "rand+cutout", 0),
            (500, "contrast", 0),
            (1000, "contrast", 0),
        )
    ],
    *[
        Cell("low_data", "complete", {"fraction": images, "augment": augment}, 2, 2)
        for images in (500, 1000)
        for augment in ("base", "rand+cutout")
    ],
    Cell("low_data", "complete", {"fraction": 5000}, paper=2, demo=2),
    Cell("full_width", "exact", ONE | FULL_WIDTH, demo=6),
    *[  # book/registered.md: the dense network's setting, chosen on val of seeds that are never reported
        Cell(f"tuning_{name}", "exact", {**ONE, **values, "rounds": 0}, demo=seeds, first=100)
        for name, values, seeds in TUNING
    ],
    *[Cell("low_data", "complete", {"fraction": size, **LARGE}, demo=1) for size in (10_000, 25_000, 1)],
    *[
        Cell("low_data", "complete", {"fraction": size, "augment": augment}, paper=1)
        for size in (10_000, 25_000, 1)
        for augment in ("base", "auto+cutout")
    ],
]


def resolve(facts: Facts, profile: str, change: dict[str, Any]) -> RunConfig:
    """A profile's values under changes, resolved against a data set; seed 0.

    Beside the fields of a configuration a change may hold ``fraction`` (share or number of images) and
    ``small`` (k: a dense network of the size of a ticket after k prunings of 48.8 %).
    """
    values = {**PROFILES[profile], **change}
    fraction, small = values.pop("fraction"), values.pop("small", 0)
    if "side" not in change and profile == "demo" and facts.side > 64:
        values["side"] = 64
    values["side"] = min(values.get("side", 0), facts.side) % facts.side  # 0: as stored
    if "control" in change and profile == "paper":
        values.setdefault("every", 3)  # prunings of 20 %: as densely as one of 48.8 % at the other scales
    few = facts.few and not values.get("long_tail")
    config = RunConfig.of(name=facts.name, split="refit" if few else "holdout", **values)
    config = config.replace(images=count(facts, config.data, fraction))
    side = config.data.side or facts.side
    if small:
        network = small_dense(config.network, 0.512**small, facts.channels, side)
        config = config.replace(rounds=0, widths=network.widths)
    shape = Shape(config.network, facts.channels, side, facts.classes)
    weights = sum(weight.numel() for weight in prunable(shape.empty()).values())
    if weights * (1 - config.prune.rate) ** config.prune.rounds < 1:
        raise ParameterError(f"rounds {config.prune.rounds} at rate {config.prune.rate:g} leave no weight")
    return config
