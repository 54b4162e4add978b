"""What a run is: the rules its values keep, its key, and the profiles it is made from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parent.parent  # the repository: notebooks, book and runs stand beside lthnb
PROTOCOL = 1  # raised by hand when equal configurations would give other numbers; part of every key


class UserError(Exception):
    """Something the user can mend; a notebook shows its sentence instead of a stack trace."""

    def _render_traceback_(self) -> list[str]:  # IPython's hook for exceptions that print themselves
        return [f"{type(self).__name__}: {self}"]


class ParameterError(UserError, ValueError):
    """A parameter has an unknown name, a wrong type or an impossible value."""


class DataMissing(UserError, FileNotFoundError):
    """A data set is not where it was looked for."""


@dataclass(frozen=True)
class Rule:
    """What a value may be: its type, the words that say so, and the test of its range."""

    kind: type
    allowed: str
    holds: Callable[[Any], bool] = lambda value: True
    choices: tuple[str, ...] = ()

    def check(self, name: str, value: Any) -> Any:
        """Return ``value`` as ``kind``; raise ``ParameterError`` with name, value and what is allowed."""
        kinds = (int, float) if self.kind is float else (self.kind,)
        fits = isinstance(value, kinds) and (self.kind is bool or not isinstance(value, bool))
        if fits and (self.kind is not float or abs(value) < math.inf) and self.holds(value):
            return self.kind(value)
        raise ParameterError(
            f"{name} must be {self.allowed}, got {value!r}{did_you_mean(value, self.choices)}"
        )


def did_you_mean(name: object, known: Collection[str]) -> str:
    """End of an error message: the known name nearest to ``name``, or nothing."""
    near = get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def one_of(*choices: str) -> Rule:
    return Rule(str, "one of " + ", ".join(choices), lambda value: value in choices, choices)


def whole(low: int, high: int = 10**8) -> Rule:
    return Rule(int, f"a whole number from {low} to {high:,}", lambda value: low <= value <= high)


def between(low: float, high: float) -> Rule:
    return Rule(float, f"a number above {low:g} and below {high:g}", lambda value: low < value < high)


SHARE = Rule(float, "a number from 0 to below 1", lambda value: 0 <= value < 1)
AUGMENTATIONS = "none base contrast rand auto base+cutout rand+cutout auto+cutout".split()
WIDTHS = re.compile(r"|[1-9]\d{0,3}(-[1-9]\d{0,3}){3}").fullmatch
RULES = {
    "images": whole(2),
    "side": whole(0, 1024),
    "pool_limit": whole(0),
    "val_limit": whole(0),
    "test_limit": whole(0),
    "split": one_of("holdout", "refit"),
    "long_tail": SHARE,
    "label_noise": SHARE,
    "model": one_of("resnet10", "resnet18"),
    "width": whole(1, 512),
    "widths": Rule(str, "empty, or the channels of four stages such as 12-24-48-96", WIDTHS),
    "init": one_of("pytorch", "torchvision"),
    "epochs": whole(1, 100_000),
    "batch_size": whole(2, 100_000),
    "lr": between(0, 100),
    "momentum": SHARE,
    "weight_decay": SHARE,
    "augment": one_of(*AUGMENTATIONS),
    "cutout": one_of("corrected", "as_released"),
    "evaluate_last": whole(1, 100_000),
    "rounds": whole(0, 100),
    "rate": between(0, 1),
    "rewind_epoch": whole(0, 100_000),
    "rewind": one_of("corrected", "as_released"),
    "control": one_of("none", "random", "shuffled", "reinit"),
    "every": whole(1, 100),
    "seed": whole(0, 2**31),
}


class Checked:
    """Base of the configurations: every field that has a rule keeps it."""

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]
            if each.name in RULES:
                object.__setattr__(
                    self, each.name, RULES[each.name].check(each.name, getattr(self, each.name))
                )


@dataclass(frozen=True, kw_only=True)
class DataConfig(Checked):
    """Which images: a set by name and content, how many of them, and how they are split."""

    name: str = "cifar10"  # or glyphs, folder:STEM@HASH8, ...; never a path
    images: int = 500  # training images asked for; all that are left when there are fewer
    side: int = 0  # pixels; 0: as stored
    pool_limit: int = 0  # training images looked at, at most; 0: all
    val_limit: int = 5000  # val is a tenth of the pool, at most this many
    test_limit: int = 0  # test images, at most; 0: all
    split: str = "holdout"  # val set aside first; refit: round chosen on a 60/40 split, then run again on all
    long_tail: float = 0.0  # smallest over largest class; 0: balanced
    label_noise: float = 0.0  # share of the training labels replaced by wrong ones


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Checked):
    """A residual network for images: depth by name, channels of the first stage, initialisation."""

    model: str = "resnet18"
    width: int = 64
    init: str = "pytorch"  # its default for Conv2d and Linear; torchvision: He normal, fan out
    widths: str = ""  # channels of the four stages; empty: 1, 2, 4 and 8 times width

    @property
    def stages(self) -> tuple[int, ...]:
        """Channels of the four stages."""
        return (
            tuple(map(int, self.widths.split("-")))
            if self.widths
            else tuple(self.width * 2**i for i in range(4))
        )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Checked):
    """SGD with momentum under a cosine that ends at 0."""

    epochs: int = 200
    batch_size: int = 100
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augment: str = "base"  # crop and flip; what else is done follows
    cutout: str = "corrected"  # as_released: its place as in the released code
    evaluate_last: int = 1  # how many of the last epochs are evaluated


@dataclass(frozen=True, kw_only=True)
class PruneConfig(Checked):
    """How tickets are drawn: ``rounds`` times, drop ``rate`` of the surviving convolution weights."""

    rounds: int = 19  # prunings after the dense round 0; the paper ran 15
    rate: float = 0.2
    rewind_epoch: int = 2  # epochs of round 0 done when the rewind weights are kept
    rewind: str = "corrected"  # as_released: weights one epoch later, and as many epochs again as round 0
    control: str = "none"  # what takes the ticket's place: random or shuffled masks, or reinitialised weights
    every: int = 1  # of a control: trained at each so-many-th round only


@dataclass(frozen=True, kw_only=True)
class RunConfig(Checked):
    """One run of iterative magnitude pruning, resolved: equal configurations give equal records."""

    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    prune: PruneConfig = field(default_factory=PruneConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prune.rounds and self.prune.rewind_epoch >= self.train.epochs:
            raise ParameterError(
                f"epochs must be above rewind_epoch ({self.prune.rewind_epoch}), got {self.train.epochs}"
            )
        if self.prune.control == "none" and self.prune.every > 1:
            raise ParameterError(f"every must be 1 unless a control is run, got {self.prune.every}")
        if self.prune.control != "none" and (
            self.prune.rounds < self.prune.every or self.data.split == "refit"
        ):
            raise ParameterError(
                f"control {self.prune.control!r} needs {self.prune.every} or more rounds and 2,000 images"
            )

    @classmethod
    def of(cls, **values: Any) -> RunConfig:
        """Build from field names of any part, for example ``RunConfig.of(width=16, rounds=5, seed=1)``."""
        return cls().replace(**values)

    def replace(self, **values: Any) -> RunConfig:
        """Return a copy with some fields changed, whichever part they belong to."""
        parts = {name: getattr(self, name) for name in ("data", "network", "train", "prune")}
        for name, part in parts.items():
            own = {key: values.pop(key) for key in [each.name for each in fields(part)] if key in values}
            parts[name] = dataclasses.replace(part, **own)
        return dataclasses.replace(self, **parts, **values)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> RunConfig:
        """Rebuild what ``dataclasses.asdict`` took apart; absent fields take their defaults."""
        parts = {"data": DataConfig, "network": NetworkConfig, "train": TrainConfig, "prune": PruneConfig}
        made = {name: parts[name](**document[name]) for name in parts if name in document}
        return cls(**{**document, **made})

    @property
    def key(self) -> str:
        """16 hex digits: SHA-256 of the protocol number and the fields that differ from their defaults."""
        differing = _changed(dataclasses.asdict(self), dataclasses.asdict(RunConfig()))
        changed = {"protocol": PROTOCOL, **differing}
        text = json.dumps(changed, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def field(self, name: str) -> Any:
        """The value of a field by its name, whichever part it belongs to."""
        parts = (self, self.data, self.network, self.train, self.prune)
        return next(getattr(part, name) for part in parts if hasattr(part, name))

    @property
    def parent(self) -> RunConfig:
        """The run that a control is compared with; a run that is none is its own."""
        return self.replace(control="none", every=1)

    @property
    def slug(self) -> str:
        """A name to read: data, images, augmentation, network, control, seed."""
        data, net, control = self.data, self.network, self.prune.control
        name = data.name.removeprefix("folder:").partition("@")[0]
        what = (
            f"{name}, {data.images} images, {self.train.augment}, {net.model} width {net.widths or net.width}"
        )
        return f"{what}{'' if control == 'none' else ', ' + control}, seed {self.seed}"


def _changed(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    pairs = {key: (value, defaults[key]) for key, value in values.items() if value != defaults[key]}
    return {key: _changed(*pair) if isinstance(pair[0], dict) else pair[0] for key, pair in pairs.items()}


# 0.488: three prunings of 20 % in one
SMALL = {"side": 16, "rate": 0.488, "rewind_epoch": 1, "batch_size": 50}
PROFILES: dict[str, dict[str, Any]] = {
    "smoke": SMALL
    | {"model": "resnet10", "width": 8, "rounds": 2, "epochs": 2}
    | {"pool_limit": 2000, "val_limit": 200, "test_limit": 200},
    "demo": SMALL | {"width": 16, "rounds": 5, "epochs": 20, "val_limit": 1000},
    "paper": {"evaluate_last": 20},
}


def stream(seed: int, name: str, epoch: int = 0) -> torch.Generator:
    """Return the CPU generator of one purpose, the only source of randomness in a run.

    Not keyed by round, mask, width or method, so that dense networks, tickets and controls of a seed see the
    same draws on every device.
    """
    import torch  # here, so that a parameter check does not wait for it

    digest = hashlib.sha256(f"{seed}/{name}/{epoch}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))  # its engine takes 32 bits
