"""A ticket as one file: packed masks and surviving weights, early and trained; nothing that can run."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialise
from torch import Tensor

from lthnb.config import NetworkConfig, UserError
from lthnb.folders import square
from lthnb.masks import Masks, dropped, prunable, zero_
from lthnb.models import ResNet, build
from lthnb.store import UNSEALED, Damaged, read, seal, write

State = dict[str, Tensor]
SCHEMA = 1


class TicketError(UserError, ValueError):
    """A ticket does not fit the network it names, or the one it is asked for."""


@dataclass(frozen=True)
class Shape:
    """What a network is built from, beside its seed."""

    network: NetworkConfig
    channels: int
    side: int
    classes: tuple[str, ...]

    def empty(self) -> ResNet:
        """The network without memory for its weights: names, shapes and dtypes only."""
        with torch.device("meta"):
            return ResNet(self.network, self.channels, len(self.classes), self.side)


@dataclass(frozen=True)
class Ticket:
    """A masked network with ``rewind`` (early) and ``trained`` weights; pruned ones are 0 in both."""

    shape: Shape
    masks: Masks
    states: dict[str, State]
    about: dict[str, Any]  # key and round of its run, mean and std of its images

    def model(self, state: str = "trained", *, classes: int = 0, seed: int = 0) -> ResNet:
        """Build the network with ``rewind`` or ``trained`` weights.

        Args:
            classes: for another data set: so many classes, the head drawn from ``seed``; 0 keeps the head.
        """
        if state not in self.states:
            raise TicketError(f"this ticket has {', '.join(self.states)} weights, not {state!r}")
        shape, number = self.shape, classes or len(self.shape.classes)
        model = build(shape.network, seed, channels=shape.channels, classes=number, side=shape.side)
        drop = "head." if classes else "no such name"
        weights = {name: value for name, value in self.states[state].items() if drop not in name}
        model.load_state_dict(weights, strict=not classes)
        zero_(prunable(model), dropped(self.masks))
        return model

    def classify(self, path: Path | str) -> list[tuple[str, float]]:
        """Return the classes of an image file with their probabilities, the likeliest first."""
        mode = "L" if self.shape.channels == 1 else "RGB"
        with Image.open(path) as image:
            pixels = torch.from_numpy(np.array(square(image.convert(mode), self.shape.side)))
        images = pixels.reshape(1, *pixels.shape[:2], -1).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(self.about[name]).reshape(1, -1, 1, 1) for name in ("mean", "std"))
        with torch.no_grad():
            chances = self.model().eval()((images - mean) / std).softmax(1)[0].tolist()
        return sorted(zip(self.shape.classes, chances, strict=True), key=lambda pair: -pair[1])


def pack(masks: Masks, states: dict[str, State]) -> State:
    """Masks as bits, of masked weights the survivors alone, all on the CPU, named ``kind:parameter``."""
    bits = {name: np.packbits(mask.cpu().numpy()) for name, mask in masks.items()}
    packed = {f"mask:{name}": torch.from_numpy(octets) for name, octets in bits.items()}
    for kind, state in states.items():
        for name, value in state.items():
            kept = value[masks[name]] if name in masks else value
            packed[f"{kind}:{name}"] = kept.detach().cpu().contiguous().clone()  # states may share memory
    return packed


def unpack(packed: State, model: ResNet) -> tuple[Masks, dict[str, State]]:
    """Undo ``pack`` for a network; raise ``TicketError`` on any name, shape or dtype that differs."""
    expected, masks, states = model.state_dict(), {}, {}
    for name, weight in prunable(model).items():
        bits = _take(packed, f"mask:{name}", torch.uint8, ((weight.numel() + 7) // 8,)).numpy()
        masks[name] = torch.from_numpy(np.unpackbits(bits, count=weight.numel())).bool().reshape(weight.shape)
    for key in packed:
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
    if value is None or value.dtype != dtype or tuple(value.shape) != shape:
        found = "nothing" if value is None else f"{value.dtype} {tuple(value.shape)}"
        raise TicketError(f"{key} should be {dtype} {shape}, found {found}")
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
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        about = json.loads(header["__metadata__"]["about"])
        if about["schema"] != SCHEMA:
            raise ValueError(f"schema {about['schema']} is not {SCHEMA}, the one this version reads")
        return parse(content), about
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        raise Damaged(f"{path.name} is damaged: {error}") from error


def save(path: Path | str, ticket: Ticket) -> int:
    """Write a ticket whole or not at all; return its size in bytes."""
    shape = asdict(ticket.shape)
    return write_packed(Path(path), pack(ticket.masks, ticket.states), {"shape": shape, **ticket.about})


def load(path: Path | str) -> Ticket:
    """Read a ticket.

    Raises:
        Damaged: the file's hash or form is wrong.
        TicketError: names, shapes or dtypes are not those of the network it names.
    """
    packed, about = read_packed(Path(path))
    try:
        raw = about.pop("shape")
        network, classes = NetworkConfig(**raw.pop("network")), tuple(map(str, raw.pop("classes")))
        shape = Shape(network, classes=classes, **{name: int(value) for name, value in raw.items()})
        if not (1 <= shape.side <= 1024 and shape.channels in (1, 3) and 2 <= len(classes) <= 100_000):
            raise ValueError(f"{shape.side} pixels, {shape.channels} channels, {len(classes)} classes")
        zeros = [0] * shape.channels
        numbers = [float(value) for name in ("mean", "std") for value in about.get(name, zeros)]
        if len(numbers) != 2 * shape.channels or not all(math.isfinite(value) for value in numbers):
            raise ValueError(f"mean and std are {numbers}")
        model = shape.empty()
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError, OverflowError) as error:
        raise TicketError(f"{Path(path).name} names no network: {error}") from error
    masks, states = unpack(packed, model)
    for kind, state in states.items():
        if kind not in ("rewind", "trained") or state.keys() != model.state_dict().keys():
            raise TicketError(f"{Path(path).name} lacks some {kind} weights, or they are not of a ticket")
    return Ticket(shape, masks, states, about)
