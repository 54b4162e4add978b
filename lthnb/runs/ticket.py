"""A ticket as one file: packed masks and surviving weights, early and trained; nothing that can run."""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from lthnb.config import NetworkConfig
from lthnb.images.archive import content_of
from lthnb.images.dataset import stack
from lthnb.images.folder import squared
from lthnb.runs.files import Damaged, FileMissing
from lthnb.runs.packed import TicketError, pack, read_packed, unpack, write_packed
from lthnb.training.masks import Masks, pruned_places, survivors, zero_
from lthnb.training.networks import Architecture, build, prunable
from lthnb.training.step import State

STATES = ("rewind", "trained")


@dataclass(frozen=True, repr=False)
class Ticket:
    """A masked network with ``rewind`` (early) and ``trained`` weights; pruned ones are 0 in both."""

    architecture: Architecture
    masks: Masks
    states: dict[str, State]
    about: dict[str, Any]  # key and round of its run, mean and std of its images

    def __repr__(self) -> str:
        shape = self.architecture
        network = shape.network
        words = [
            f"{network.model} width {network.widths or network.width}",
            f"{shape.channels}x{shape.side}x{shape.side} images, {len(shape.classes)} classes",
            f"{100 * self.density:.2f} % of {sum(mask.numel() for mask in self.masks.values()):,} weights",
            f"weights: {' and '.join(self.states) or 'none'}",
            f"from round {self.about.get('round', '?')} of run {self.about.get('key', '?')}",
        ]
        if "data" in self.about:
            words.append(f"found on {self.about['data']}")
        return f"Ticket({'; '.join(words)})"

    @property
    def density(self) -> float:
        """Fraction of the prunable weights that it keeps."""
        return sum(survivors(self.masks).values()) / sum(mask.numel() for mask in self.masks.values())

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a ticket.

        Raises:
            Damaged: the file's hash or form is wrong.
            TicketError: names, shapes, dtypes or values are not those of the network it names.
            FileMissing, NotReadable: there is no such file, or the system refuses it.
        """
        packed, about = read_packed(Path(path))
        try:
            architecture = _architecture(about)
            model = architecture.empty()
            masks, states = unpack(packed, model)
            for kind, state in states.items():
                if kind not in STATES or state.keys() != model.state_dict().keys():
                    raise TicketError(f"it lacks some {kind} weights, or they are not of a ticket")
        except (TypeError, ValueError, KeyError, AttributeError, RuntimeError, OverflowError) as error:
            raise TicketError(f"{Path(path).name} holds no ticket: {error}") from error
        return cls(architecture, masks, states, about)

    def save(self, path: Path | str) -> int:
        """Write a ticket whole or not at all; return its size in bytes."""
        about = {"shape": asdict(self.architecture), **self.about}
        return write_packed(Path(path), pack(self.masks, self.states), about)

    def model(self, state: str = "trained", *, classes: int = 0, seed: int = 0) -> nn.Module:
        """Build the network with ``rewind`` or ``trained`` weights.

        Args:
            classes: for another data set: so many classes, the head drawn from ``seed``; 0 keeps the head.
        """
        if state not in self.states:
            raise TicketError(f"this ticket has {', '.join(self.states)} weights, not {state!r}")
        weights = self.states[state]
        architecture = self.architecture
        if classes:
            architecture = replace(architecture, classes=tuple(map(str, range(classes))))
            weights = {name: value for name, value in weights.items() if not name.startswith("head.")}
        model = build(architecture, seed)
        model.load_state_dict(weights, strict=not classes)
        zero_(prunable(model), pruned_places(self.masks))
        return model

    def classify(self, path: Path | str) -> list[tuple[str, float]]:
        """Return the classes of an image file with their probabilities, the likeliest first.

        Raises:
            DataError: the file is missing, or no picture.
            TicketError: the ticket holds no trained weights, or no mean and std of the images it was made on.
        """
        values = {}
        for name in ("mean", "std"):
            if name not in self.about:
                raise TicketError(f"this ticket has no {name} of its images and cannot classify")
            values[name] = torch.tensor(self.about[name]).reshape(1, -1, 1, 1)
        model = self.model().eval()
        side = self.architecture.side
        channels = self.architecture.channels
        picture = squared(str(path), content_of(Path(path)), side, channels)
        images = stack([picture], 1, channels, side).float() / 255
        with torch.no_grad():
            logits = model((images - values["mean"]) / values["std"])
        chances = logits.softmax(1)[0].tolist()
        pairs = zip(self.architecture.classes, chances, strict=True)
        return sorted(pairs, key=lambda pair: -pair[1])


def _architecture(about: dict[str, Any]) -> Architecture:
    """Take the description of the network out of what a file tells; ``ValueError`` if it makes no sense."""
    shape = about.pop("shape")
    network = NetworkConfig(**shape["network"])
    classes = tuple(map(str, shape["classes"]))
    architecture = Architecture(network, int(shape["channels"]), int(shape["side"]), classes)
    channels = architecture.channels
    if not (1 <= architecture.side <= 1024 and channels in (1, 3) and 2 <= len(classes) <= 100_000):
        raise ValueError(f"{architecture.side} pixels, {channels} channels, {len(classes)} classes")
    mean, std = ([float(value) for value in about.get(name, ())] for name in ("mean", "std"))
    sound = len(mean) == len(std) == channels and all(map(math.isfinite, mean + std)) and min(std) > 0
    if not sound:
        raise ValueError(f"mean and std are {mean} and {std}")
    return architecture


def ticket_path(folder: Path, index: int) -> Path:
    """Where the folder of a run holds the ticket of a round."""
    return folder / f"round-{index:02}.safetensors"


def own_ticket(path: Path) -> Ticket:
    """The ticket in the folder of a run, of that run and of the round that its name tells.

    Raises:
        TicketError: the file is missing or damaged, or holds another run's ticket, or that of another round.
    """
    run = path.parent.name
    try:
        ticket = Ticket.load(path)
    except (Damaged, FileMissing) as error:
        raise TicketError(f"a ticket of {run} is missing or damaged: {error}") from error
    key = ticket.about.get("key")
    held = ticket.about.get("round")
    if (key, f"round-{held!s:0>2}") != (run, path.stem):
        raise TicketError(f"{path.name} of {run} holds round {held} of {key}; remove it")
    return ticket
