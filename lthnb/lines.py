"""The lines of the plan: seeds of a configuration, what it changes, and the pages that show it."""

import itertools
from dataclasses import dataclass
from typing import Any

from lthnb.config import PROFILES
from lthnb.schedules import RATES, STRONG, TUNED


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


ONE = {  # sizes with the augmentation that the paper takes there
    "fraction": 500,
    "augment": "rand+cutout",
}
TWO = {
    "fraction": 1000,
    "augment": "auto+cutout",
}
BASE = {
    "fraction": 500,
    "augment": "base",
}
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
    everywhere = {
        "paper": 6,
        "demo": 6,
        "smoke": 1,
    }
    planned = []
    for size in (ONE, TWO):
        fair = " fair_test" if size is ONE else ""
        planned.append(original(BOTH + fair, size, **everywhere))
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
    planned = [(rates, {"paper": 2, "wide": 2}) for rates in wide]
    planned += [(rates, {"demo": 3}) for rates in demo]
    return [
        original("tuning", {**ONE, **dict(zip(RATES, rates, strict=True)), "rounds": 0}, **seeds, first=100)
        for rates, seeds in planned
    ]


def fair_test() -> list[Experiment]:
    """The registered comparison, and beside it what else a dense network or other masks make of it."""
    everywhere = {
        "paper": 6,
        "wide": 6,
        "demo": 6,
        "smoke": 1,
    }
    planned = [
        original("fair_test", ONE | {"control": "shuffled", "every": 5}, wide=6),
        original("fair_test", ONE | TUNED, **everywhere),
        original("fair_test strong", ONE | STRONG | DENSE, **everywhere),
        original("fair_test strong", ONE | STRONG | {"control": "retrained"}, **everywhere),
        original("strong", BASE | STRONG | DENSE, paper=6, demo=6),
        original("strong", TWO | STRONG | DENSE, paper=6, demo=6),
        original("fair_more", ONE | {"control": "rewound", "every": 5}),
    ]
    for change in ({"control": "shuffled"}, {"control": "reinit"}, {"small": 5}):
        planned.append(original("strong", ONE | STRONG | change))
    for rates in ({}, TUNED):
        for cycles in (1, 6):
            planned.append(original("fair_more", ONE | DENSE | rates | {"times": 6, "cycles": cycles}))
    return [*planned, original("strong", TWO | STRONG | {"control": "retrained"})]


def robustness() -> list[Experiment]:
    """Networks that are shown shifted images, and the dense ones whose line they are compared with."""
    arms = [
        {},
        TUNED,
        STRONG | DENSE,
        STRONG | {"control": "retrained"},
    ]
    shown = [size | arm for size in (ONE, TWO) for arm in arms]
    line = [
        ONE | {"times": 4},
        ONE | {"times": 6},
        ONE | TUNED | {"times": 6},
        ONE | {"fraction": 250},
        ONE | {"fraction": 2000},
        TWO | {"fraction": 2000},
    ]
    return [
        *[original("robustness", change, paper=6, demo=6, smoke=1) for change in shown],
        *[original("robustness", change | DENSE, paper=6, demo=6) for change in line],
        original("advprop", ONE | {"objective": "advprop"}, paper=6, demo=3, smoke=1),
    ]


def ladder(times: int, **seeds: int) -> list[Experiment]:
    """Dense network and published ticket at every learning rate, so many times as long."""
    planned = []
    for lr in (0.003, 0.01, 0.03, 0.1):
        if times > 1 or lr < 0.1:
            step = ONE | {"lr": lr, "times": times}
            ticket = {"control": "retrained", "found_lr": 0.1}
            planned += [original("fair_ladder", step | arm, **seeds) for arm in (DENSE, ticket)]
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
