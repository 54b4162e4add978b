"""A ticket as one file: packed masks and surviving weights, early and trained; nothing that can run."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialise
from torch import Tensor, nn

from lthnb.config import NetworkConfig, UserError
from lthnb.images.dataset import square
from lthnb.runs.files import UNSEALED, Damaged, read, seal, write
from lthnb.training.masks import Masks, pruned_places, survivors, zero_
from lthnb.training.networks import Architecture, build, prunable
from lthnb.training.step import State

SCHEMA = 1
STATES = ("rewind", "trained")


class TicketError(UserError, ValueError):
    """A ticket does not fit the network it names, or the one it is asked for."""


@dataclass(frozen=True, repr=False)
class Ticket:
    """A masked network with ``rewind`` (early) and ``trained`` weights; pruned ones are 0 in both."""

    architecture: Architecture
    masks: Masks
    states: dict[str, State]
    about: dict[str, Any]  # key and round of its run, mean and std of its images

    def __repr__(self) -> str:
        network = self.architecture.network
        size = f"{self.architecture.channels}x{self.architecture.side}x{self.architecture.side}"
        words = [
            f"{network.model} width {network.widths or network.width}",
            f"{size} images, {len(self.architecture.classes)} classes",
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
            TicketError: names, shapes or dtypes are not those of the network it names.
        """
        packed, about = read_packed(Path(path))
        try:
            architecture = _architecture(about)
            model = architecture.empty()
        except (TypeError, ValueError, KeyError, AttributeError, RuntimeError, OverflowError) as error:
            raise TicketError(f"{Path(path).name} names no network: {error}") from error
        masks, states = unpack(packed, model)
        for kind, state in states.items():
            if kind not in STATES or state.keys() != model.state_dict().keys():
                lacks = f"lacks some {kind} weights, or they are not of a ticket"
                raise TicketError(f"{Path(path).name} {lacks}")
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
            names = tuple(map(str, range(classes)))
            architecture = Architecture(architecture.network, architecture.channels, architecture.side, names)
            weights = {name: value for name, value in weights.items() if not name.startswith("head.")}
        model = build(architecture, seed)
        model.load_state_dict(weights, strict=not classes)
        zero_(prunable(model), pruned_places(self.masks))
        return model

    def classify(self, path: Path | str) -> list[tuple[str, float]]:
        """Return the classes of an image file with their probabilities, the likeliest first."""
        channels = self.architecture.channels
        with Image.open(path) as image:
            mode = "L" if channels == 1 else "RGB"
            pixels = torch.from_numpy(np.array(square(image.convert(mode), self.architecture.side)))
        images = pixels.reshape(1, *pixels.shape[:2], channels).permute(0, 3, 1, 2).float() / 255
        mean = torch.tensor(self.about["mean"]).reshape(1, -1, 1, 1)
        std = torch.tensor(self.about["std"]).reshape(1, -1, 1, 1)
        with torch.no_grad():
            logits = self.model().eval()((images - mean) / std)
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
    zeros = [0] * channels
    numbers = [float(value) for name in ("mean", "std") for value in about.get(name, zeros)]
    if len(numbers) != 2 * channels or not all(math.isfinite(value) for value in numbers):
        raise ValueError(f"mean and std are {numbers}")
    return architecture


def pack(masks: Masks, states: dict[str, State]) -> State:
    """Masks as bits, of pruned layers the survivors alone: ``mask:NAME``, ``STATE:NAME`` -> tensor."""
    packed: State = {}
    survivors_at = {name: mask.cpu() for name, mask in masks.items()}  # states may lie on another device
    for name, mask in survivors_at.items():
        packed[f"mask:{name}"] = torch.from_numpy(np.packbits(mask.numpy()))
    for kind, state in states.items():
        for name, value in state.items():
            kept = value.detach().cpu()[survivors_at.get(name, ...)]
            packed[f"{kind}:{name}"] = kept.contiguous().clone()  # states may share memory
    return packed


def unpack(packed: State, model: nn.Module) -> tuple[Masks, dict[str, State]]:
    """Undo ``pack`` for a network; raise ``TicketError`` on any name, shape or dtype that differs."""
    expected = model.state_dict()
    masks: Masks = {}
    for name, weight in prunable(model).items():
        octets = _take(packed, f"mask:{name}", torch.uint8, ((weight.numel() + 7) // 8,))
        bits = np.unpackbits(octets.numpy(), count=weight.numel())
        masks[name] = torch.from_numpy(bits).bool().reshape(weight.shape)
    states: dict[str, State] = {}
    for key in sorted(packed):  # safetensors keeps no order
        kind, _, name = key.partition(":")
        if kind == "mask" and name in masks:
            continue
        if name not in expected:
            raise TicketError(f"{key} is no parameter of this network")
        shape = (int(masks[name].sum()),) if name in masks else tuple(expected[name].shape)
        value = _take(packed, key, expected[name].dtype, shape)
        if value.is_floating_point() and not value.isfinite().all():
            raise TicketError(f"{key} holds values that are not finite")
        full = torch.zeros(expected[name].shape, dtype=value.dtype)
        full[masks.get(name, ...)] = value
        states.setdefault(kind, {})[name] = full
    return masks, states


def _take(packed: State, key: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    value = packed.get(key)
    if value is None:
        raise TicketError(f"{key} should be {dtype} {shape}, found nothing")
    if value.dtype != dtype or tuple(value.shape) != shape:
        raise TicketError(f"{key} should be {dtype} {shape}, found {value.dtype} {tuple(value.shape)}")
    return value


def write_packed(path: Path, packed: State, about: dict[str, Any]) -> int:
    """Write a sealed safetensors file; return its size in bytes."""
    text = json.dumps({"schema": SCHEMA, **about}, allow_nan=False)
    content = seal(serialise(packed, {"about": text, "seal": UNSEALED}))
    write(path, content)
    return len(content)


def read_packed(path: Path) -> tuple[State, dict[str, Any]]:
    """Read a sealed safetensors file; raise ``Damaged`` when its hash or its form is wrong."""
    content = read(path)
    try:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        about = json.loads(header["__metadata__"]["about"])
        if about["schema"] != SCHEMA:
            raise ValueError(f"schema {about['schema']} is not {SCHEMA}, the one this version reads")
        return parse(content), about
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        raise Damaged(f"{path.name} is damaged: {error}") from error


def ticket_path(folder: Path, index: int) -> Path:
    """Where the folder of a run holds the ticket of a round."""
    return folder / f"round-{index:02}.safetensors"


def ticket_masks(folder: Path, index: int) -> Masks:
    """The masks of a run's ticket, of that run and that round.

    Raises:
        TicketError: the file holds another run's ticket, or that of another round.
    """
    ticket = Ticket.load(ticket_path(folder, index))
    key = ticket.about.get("key")
    held = ticket.about.get("round")
    if (key, held) != (folder.name, index):
        holds = f"round {held} of {key}"
        raise TicketError(f"{ticket_path(folder, index).name} of {folder.name} holds {holds}; remove it")
    return ticket.masks
