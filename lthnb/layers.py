"""What a ticket looks like inside: its density layer by layer, beside masks that no training shaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lthnb import tickets
from lthnb.data import Data
from lthnb.masks import Masks, prunable
from lthnb.models import Block, build
from lthnb.profiles import positions
from lthnb.record import Record
from lthnb.running import ticket_path
from lthnb.tickets import Shape, Ticket


def measure(record: Record, folder: Path, others: dict[str, Path], data: Data, last: int) -> dict[str, Any]:
    """Measure the tickets of a run.

    Args:
        folder: where its tickets lie.
        others: key -> folder of runs with the same initialisation.
        data: images for the norms, the first 500 of test.
        last: the round at which overlaps and norms are taken.

    Returns:
        Counts have one number per prunable layer, in the order of the record.
        ``null`` {init, rewind: counts per round} what masks by magnitude of the initial or of the rewind
        weights keep at the same densities; ``shared`` {init, rewind, KEY: counts} survivors that the ticket
        of round ``last`` shares with those masks and with tickets of other runs; ``rewinds`` {KEY: {kept,
        shared}} what a mask of another run's rewind weights keeps, and shares with that of this run;
        ``norms`` {dense, ticket: per block} (see ``branch_norms``); ``dead`` and ``channels``
        per round (see ``saved``).
    """
    dense, ticket = tickets.load(ticket_path(folder, 0)), tickets.load(ticket_path(folder, last))
    shape, size = dense.shape, {"channels": dense.shape.channels, "side": dense.shape.side}
    first = build(shape.network, record.config.seed, classes=len(shape.classes), **size)
    sizes = list(record.prunable.values())
    layer = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))

    def count(places: Tensor) -> list[int]:
        return layer[places].bincount(minlength=len(sizes)).tolist()

    def largest(weights: dict[str, Tensor]) -> Tensor:
        return flat({name: weights[name].detach().abs() for name in ticket.masks}).argsort(descending=True)

    mine, counts = flat(ticket.masks), [sum(row["kept"]) for row in record.rounds]
    number = sum(int(mask.sum()) for mask in ticket.masks.values())
    found: dict[str, Any] = {"round": last, "null": {}, "shared": {}, "rewinds": {}}
    for name, weights in (("init", prunable(first)), ("rewind", dense.states["rewind"])):
        order = largest(weights)
        found["null"][name] = [count(order[:each]) for each in counts]
        found["shared"][name] = count(order[:number][mine[order[:number]]])
    early = torch.zeros_like(mine).index_fill_(0, order[:number], True)
    for key, place in others.items():
        found["shared"][key] = count(mine & flat(tickets.load(ticket_path(place, last)).masks))
        theirs = largest(tickets.load(ticket_path(place, 0)).states["rewind"])[:number]
        found["rewinds"][key] = {"kept": count(theirs), "shared": count(theirs[early[theirs]])}
    spent = [saved(tickets.load(ticket_path(folder, row["round"])).masks, shape) for row in record.rounds]
    found |= {name: [each[name] for each in spent] for name in ("dead", "channels")}
    found["norms"] = {"dense": branch_norms(dense, data), "ticket": branch_norms(ticket, data)}
    return found


def flat(parts: dict[str, Tensor]) -> Tensor:
    """All layers in a row."""
    return torch.cat([part.flatten() for part in parts.values()])


def saved(masks: Masks, shape: Shape) -> dict[str, float]:
    """What leaving out dead channels saves, those inside blocks that nothing writes or nothing reads.

    Returns:
        ``dead``: their number. ``channels``: share of the multiply-adds left without them, which any
        processor profits from; zeros between live channels it has to multiply.
    """
    full = {name: mask.numel() * positions(name, shape.side) for name, mask in masks.items()}
    slim, dead = dict(full), 0
    for name, part in shape.empty().named_modules():
        if isinstance(part, Block):
            writes, reads = (f"{name}.{conv}.weight" for conv in ("conv1", "conv2"))
            alive = masks[writes].flatten(1).any(1) & masks[reads].transpose(0, 1).flatten(1).any(1)
            dead += int((~alive).sum())
            slim |= {each: full[each] * float(alive.float().mean()) for each in (writes, reads)}
    return {"dead": dead, "channels": sum(slim.values()) / sum(full.values())}


@torch.no_grad()
def branch_norms(ticket: Ticket, data: Data) -> list[float]:
    """Norm of the shortcut over that of the main branch, block by block: means over 500 test images."""
    model, found = ticket.model().eval(), []

    def add(block: Block, inputs: tuple[Tensor], _: Tensor) -> None:
        hidden = block.bn2(block.conv2(block.bn1(block.conv1(inputs[0])).relu()))
        norms = [value.flatten(1).norm(dim=1).mean() for value in (block.shortcut(inputs[0]), hidden)]
        found.append(float(norms[0] / norms[1]))

    for part in model.modules():
        if isinstance(part, Block):
            part.register_forward_hook(add)
    model(data.normalise(data.test.images[:500]))
    return [round(value, 3) for value in found]
