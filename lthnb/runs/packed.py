"""Masks and weights as one sealed safetensors file: masks as bits, of pruned layers the survivors alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialise
from torch import Tensor, nn

from lthnb.config import UserError
from lthnb.runs.files import UNSEALED, Damaged, read, seal, write
from lthnb.training.masks import Masks
from lthnb.training.networks import prunable
from lthnb.training.step import State

SCHEMA = 1


class TicketError(UserError, ValueError):
    """A ticket does not fit the network it names, or the one it is asked for."""


def pack(masks: Masks, states: dict[str, State]) -> State:
    """Masks as bits, of pruned layers the survivors alone: ``mask:NAME``, ``STATE:NAME`` -> tensor."""
    packed = {}
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
    masks = {}
    for name, weight in prunable(model).items():
        octets = _take(packed, f"mask:{name}", torch.uint8, ((weight.numel() + 7) // 8,))
        bits = np.unpackbits(octets.numpy(), count=weight.numel())
        masks[name] = torch.from_numpy(bits).bool().reshape(weight.shape)
    states = {}
    for key in sorted(packed):  # safetensors keeps no order
        kind, _, name = key.partition(":")
        if kind == "mask" and name in masks:
            continue
        if name not in expected:
            raise TicketError(f"{key} is no parameter of this network")
        shape = (int(masks[name].sum()),) if name in masks else tuple(expected[name].shape)
        value = _take(packed, key, expected[name].dtype, shape)
        if not value.isfinite().all():
            raise TicketError(f"{key} holds values that are not finite")
        if name.endswith("running_var") and (value < 0).any():
            raise TicketError(f"{key} holds a negative variance")
        full = torch.zeros(expected[name].shape, dtype=value.dtype)
        full[masks.get(name, ...)] = value
        states.setdefault(kind, {})[name] = full
    return masks, states


def _take(packed: State, key: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    value = packed.get(key)
    found = None if value is None else (value.dtype, tuple(value.shape))
    if found != (dtype, shape):
        raise TicketError(f"{key} should be {dtype} {shape}, found {found}")
    return value


def write_packed(path: Path, packed: State, about: dict[str, Any]) -> int:
    """Write a sealed safetensors file, equal bytes for equal content; return its size in bytes."""
    text = json.dumps({"schema": SCHEMA, **about}, allow_nan=False)
    content = serialise(packed, {"about": text, "seal": UNSEALED})
    start = 8 + int.from_bytes(content[:8], "little")
    # safetensors writes its header in a random order, and pads it so that tensors begin at multiples of 8
    header = json.dumps(json.loads(content[8:start]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    content = seal(len(header).to_bytes(8, "little") + header + content[start:])
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
