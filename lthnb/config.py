"""What a run is: its fields with the rules they keep, its key, and the profiles it is made from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthnb.rules import (
    SHARE,
    Checked,
    DataMissing,
    ParameterError,
    Rule,
    UserError,
    between,
    did_you_mean,
    one_of,
    ruled,
    rules_of,
    whole,
)

if TYPE_CHECKING:
    import torch

__all__ = ["DataMissing", "ParameterError", "RunConfig", "UserError", "did_you_mean"]

ROOT = Path(__file__).resolve().parent.parent  # the repository: notebooks, book and runs stand beside lthnb
PROTOCOL = 1  # raised by hand when equal configurations would give other numbers; part of every key
WIDTHS = re.compile(r"|[1-9]\d{0,3}(-[1-9]\d{0,3}){3}").fullmatch
FOUR_STAGES = Rule(str, "empty, or the channels of four stages such as 12-24-48-96", WIDTHS)
# What the extension points offer; a test compares these names with the dictionaries that implement them.
NETWORKS = ("resnet10", "resnet18")
STARTS = ("pytorch", "torchvision")
OBJECTIVES = ("cross_entropy", "advprop")
CONTROLS = ("random", "shuffled", "reinit", "retrained", "rewound")
AUGMENTATIONS = ("none", "base", "contrast", "rand", "auto", "base+cutout", "rand+cutout", "auto+cutout")


@dataclass(frozen=True, kw_only=True)
class DataConfig(Checked):
    """Which images: a set by name and content, how many of them, and how they are split."""

    name: str = "cifar10"  # or glyphs, folder:STEM@HASH8, ...; never a path
    images: int = ruled(500, whole(2))  # training images asked for; all that are left when there are fewer
    side: int = ruled(0, whole(0, 1024))  # pixels; 0: as stored
    pool_limit: int = ruled(0, whole(0))  # training images looked at, at most; 0: all
    val_limit: int = ruled(5000, whole(0))  # val is a tenth of the pool, at most this many
    test_limit: int = ruled(0, whole(0))  # test images, at most; 0: all
    # holdout: val set aside first. choosing: a small set cut 60/40 into train and val, to choose a round;
    # refit: all of that set trains, and the round is the one that its choosing run chose.
    split: str = ruled("holdout", one_of("holdout", "refit", "choosing"))
    long_tail: float = ruled(0.0, SHARE)  # smallest over largest class; 0: balanced
    label_noise: float = ruled(0.0, SHARE)  # share of the training labels replaced by wrong ones


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Checked):
    """A residual network for images: depth by name, channels of the first stage, initialisation."""

    model: str = ruled("resnet18", one_of(*NETWORKS))
    width: int = ruled(64, whole(1, 512))
    init: str = ruled("pytorch", one_of(*STARTS))  # PyTorch's default, or torchvision's: He normal, fan out
    widths: str = ruled("", FOUR_STAGES)  # channels of the four stages; empty: 1, 2, 4 and 8 times width
    norm: str = ruled("single", one_of("single", "dual"))  # dual: a second BatchNorm for adversarial images

    @property
    def stages(self) -> tuple[int, ...]:
        """Channels of the four stages."""
        if self.widths:
            return tuple(int(width) for width in self.widths.split("-"))
        return tuple(self.width * 2**stage for stage in range(4))


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Checked):
    """SGD with momentum under a cosine that ends at 0."""

    epochs: int = ruled(200, whole(1, 100_000))
    batch_size: int = ruled(100, whole(2, 100_000))
    lr: float = ruled(0.1, between(0, 100))
    momentum: float = ruled(0.9, SHARE)
    weight_decay: float = ruled(5e-4, SHARE)
    augment: str = ruled("base", one_of(*AUGMENTATIONS))  # crop and flip; what else is done follows
    cutout: str = ruled("corrected", one_of("corrected", "as_released"))  # its place as in the released code
    objective: str = ruled("cross_entropy", one_of(*OBJECTIVES))
    cycles: int = ruled(1, whole(1, 1000))  # cosines one after the other; each ends at 0
    evaluate_last: int = ruled(1, whole(1, 100_000))  # how many of the last epochs are evaluated


@dataclass(frozen=True, kw_only=True)
class PruneConfig(Checked):
    """How tickets are drawn: ``rounds`` times, drop ``rate`` of the surviving convolution weights."""

    rounds: int = ruled(19, whole(0, 100))  # prunings after the dense round 0; the paper ran 15
    rate: float = ruled(0.2, between(0, 1))
    rewind_epoch: int = ruled(2, whole(0, 100_000))  # epochs of round 0 done when rewind weights are kept
    rewind: str = ruled("corrected", one_of("corrected", "as_released"))  # an epoch later, and all again
    control: str = ruled("none", one_of("none", *CONTROLS))  # what takes the ticket's place
    every: int = ruled(1, whole(1, 100))  # of a control: trained at each so-many-th round only
    found_lr: float = ruled(0.0, SHARE)  # of a control: how its ticket was found; 0: as it trains
    found_epochs: int = ruled(0, whole(0, 100_000))


PARTS = {"data": DataConfig, "network": NetworkConfig, "train": TrainConfig, "prune": PruneConfig}


@dataclass(frozen=True, kw_only=True)
class RunConfig(Checked):
    """One run of iterative magnitude pruning, resolved: equal configurations give equal records."""

    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    prune: PruneConfig = field(default_factory=PruneConfig)
    seed: int = ruled(0, whole(0, 2**31))

    def __post_init__(self) -> None:
        super().__post_init__()
        prune = self.prune
        if prune.rounds and prune.rewind_epoch >= self.train.epochs:
            least = prune.rewind_epoch
            raise ParameterError(f"epochs must be above rewind_epoch ({least}), got {self.train.epochs}")
        if self.train.epochs % self.train.cycles:
            raise ParameterError(f"cycles must divide epochs ({self.train.epochs}), got {self.train.cycles}")
        if prune.control == "none" and (prune.every, prune.found_lr, prune.found_epochs) != (1, 0, 0):
            raise ParameterError("every, found_lr and found_epochs belong to a control; control is 'none'")
        if prune.control != "none" and (prune.rounds < prune.every or self.data.split != "holdout"):
            least = f"{prune.every} or more rounds and 2,000 images"
            raise ParameterError(f"control {prune.control!r} needs {least}")
        objective = self.train.objective
        norm = "dual" if objective == "advprop" else "single"
        if self.network.norm != norm:
            raise ParameterError(f"objective {objective!r} needs norm {norm!r}, got {self.network.norm!r}")
        _ = self.requires  # a run too, or an error

    @classmethod
    def of(cls, profile: str = "", **values: Any) -> RunConfig:
        """Build from a profile and fields of any part: ``RunConfig.of("demo", name="glyphs", seed=1)``."""
        if profile and profile not in PROFILES:
            one_of(*PROFILES).check("profile", profile)
        return cls().replace(**PROFILES.get(profile, {}) | values)

    def replace(self, **values: Any) -> RunConfig:
        """Return a copy with some fields changed, whichever part they belong to."""
        changed: dict[str, Any] = {}
        for part, kind in PARTS.items():
            own = {name: values.pop(name) for name in rules_of(kind) if name in values}
            if part == "data" and "name" in values:
                own["name"] = values.pop("name")
            changed[part] = dataclasses.replace(getattr(self, part), **own)
        for name in sorted(values.keys() - {"seed"}):
            raise ParameterError(f"{name} is no field of a run{did_you_mean(name, FIELDS)}")
        return dataclasses.replace(self, **changed, **values)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> RunConfig:
        """Rebuild what ``dataclasses.asdict`` took apart; absent fields take their defaults."""
        parts = {name: kind(**document[name]) for name, kind in PARTS.items() if name in document}
        return cls(**{**document, **parts})

    @property
    def key(self) -> str:
        """16 hex digits: SHA-256 of the protocol number and the fields that differ from their defaults."""
        changed = _changed(dataclasses.asdict(self), dataclasses.asdict(RunConfig()))
        text = json.dumps({"protocol": PROTOCOL, **changed}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def field(self, name: str) -> Any:
        """The value of a field by its name, whichever part it belongs to."""
        parts = (self, *(getattr(self, part) for part in PARTS))
        return next(getattr(part, name) for part in parts if hasattr(part, name))

    @property
    def requires(self) -> RunConfig | None:
        """The run that has to be on record before this one: a control's ticket, a refit's choosing run."""
        if self.prune.control != "none":
            prune = dataclasses.replace(self.prune, control="none", every=1, found_lr=0, found_epochs=0)
            return dataclasses.replace(self, train=self.finding, prune=prune)
        return self.replace(split="choosing") if self.data.split == "refit" else None

    @property
    def finding(self) -> TrainConfig:
        """The training by which the ticket of a control was found."""
        found = {"lr": self.prune.found_lr, "epochs": self.prune.found_epochs}
        return dataclasses.replace(self.train, **{name: value for name, value in found.items() if value})

    @property
    def slug(self) -> str:
        """A name to read: data, images, augmentation, network, control, seed."""
        words = [
            bare_name(self.data.name),
            f"{self.data.images} images",
            self.train.augment,
            f"{self.network.model} width {self.network.widths or self.network.width}",
            self.train.objective.removeprefix("cross_entropy"),
            f"lr {self.train.lr:g} for {self.train.epochs} epochs",
            self.prune.control.removeprefix("none"),
            "choosing a round" if self.data.split == "choosing" else "",
            f"seed {self.seed}",
        ]
        return ", ".join(filter(None, words))


RULES = rules_of(*PARTS.values(), RunConfig)
FIELDS = ("name", *RULES)  # every field of a run, whichever part it belongs to


def _changed(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The values that differ from their defaults, part by part."""
    changed: dict[str, Any] = {}
    for name, value in values.items():
        if value != defaults[name]:
            changed[name] = _changed(value, defaults[name]) if isinstance(value, dict) else value
    return changed


SMALL = {"side": 16, "rate": 0.488, "rewind_epoch": 1, "batch_size": 50}  # 0.488: three prunings of 20 %
FEW_IMAGES = {"pool_limit": 2000, "val_limit": 200, "test_limit": 200}
PROFILES: dict[str, dict[str, Any]] = {
    "smoke": {**SMALL, **FEW_IMAGES, "model": "resnet10", "width": 8, "rounds": 2, "epochs": 2},
    "demo": {**SMALL, "width": 16, "rounds": 5, "epochs": 20, "val_limit": 1000},
    # the paper's network, images, epochs and batch under a coarse pruning: what a CPU can do of its scale
    "wide": {"rounds": 5, "rate": 0.488},
    "paper": {"evaluate_last": 5},
}


def bare_name(name: str) -> str:
    """What people call a data set: ``cifar10``, or the stem of ``folder:STEM@HASH8``."""
    return name.removeprefix("folder:").rsplit("@", 1)[0]


def host() -> str:
    """Who started this process: ``papermill``, ``book``, or nobody known (JupyterLab, a test)."""
    return os.environ.get("LTHNB_HOST", "")


def stream(seed: int, name: str, epoch: int = 0) -> torch.Generator:
    """The CPU generator of one purpose: of a seed, every round, arm and device draws the same."""
    import torch  # here, so that a parameter check does not wait for it

    digest = hashlib.sha256(f"{seed}/{name}/{epoch}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))  # its engine takes 32 bits
