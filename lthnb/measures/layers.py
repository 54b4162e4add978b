"""What a ticket looks like inside: its density layer by layer, beside masks that no training shaped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lthnb.images.splits import Data
from lthnb.measures.finished import FinishedRun
from lthnb.runs.ticket import Ticket
from lthnb.training.masks import Masks
from lthnb.training.networks import Architecture, Block, build, multiply_adds, prunable

IMAGES = 500  # of test, for norms


def measure(run: FinishedRun) -> dict[str, Any]:
    """Measure the tickets of a run; overlaps and norms at the paper's round.

    Returns:
        Counts have one number per prunable layer, in the order of the record.
        ``null`` {init, rewind: counts per round} what masks by magnitude of the initial or of the rewind
        weights keep at the same densities; ``shared`` {init, rewind, KEY: counts} survivors that the ticket
        shares with those masks and with tickets of its relatives; ``rewinds`` {KEY: {kept, shared}} what a
        mask of a relative's rewind weights keeps, and shares with that of this run; ``norms`` {dense, ticket:
        per block} (see ``branch_norms``); ``dead`` and ``channels`` per round (see ``saved``).
    """
    dense = run.ticket(0)
    ticket = run.ticket(run.last)
    ranking = Ranking(run.record.prunable)
    number = sum(int(mask.sum()) for mask in ticket.masks.values())
    mine = ranking.flat(ticket.masks)
    initial = prunable(build(ticket.architecture, run.record.config.seed))
    kept = [sum(row["kept"]) for row in run.record.rounds]
    null: dict[str, list[list[int]]] = {}
    shared: dict[str, list[int]] = {}
    for name, weights in (("init", initial), ("rewind", dense.states["rewind"])):
        order = ranking.largest(weights)
        null[name] = [ranking.count(order[:total]) for total in kept]
        largest = order[:number]
        shared[name] = ranking.count(largest[mine[largest]])
    early = torch.zeros_like(mine)
    early[ranking.largest(dense.states["rewind"])[:number]] = True
    rewinds: dict[str, dict[str, list[int]]] = {}
    for relative in run.relatives:
        shared[relative.key] = ranking.count(mine & ranking.flat(relative.ticket(run.last).masks))
        theirs = ranking.largest(relative.ticket(0).states["rewind"])[:number]
        rewinds[relative.key] = {
            "kept": ranking.count(theirs),
            "shared": ranking.count(theirs[early[theirs]]),
        }
    spent = [saved(run.ticket(row["round"]).masks, ticket.architecture) for row in run.record.rounds]
    return {
        "round": run.last,
        "null": null,
        "shared": shared,
        "rewinds": rewinds,
        "dead": [dead for dead, _ in spent],
        "channels": [share for _, share in spent],
        "norms": {"dense": branch_norms(dense, run.data), "ticket": branch_norms(ticket, run.data)},
    }


class Ranking:
    """All prunable weights of a network in a row, and which layer each belongs to."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self.names = list(sizes)
        numbers = torch.tensor(list(sizes.values()))
        self.layer = torch.arange(len(sizes)).repeat_interleave(numbers)

    def flat(self, parts: dict[str, Tensor]) -> Tensor:
        """The layers of ``parts`` in a row, (weights,)."""
        return torch.cat([parts[name].flatten() for name in self.names])

    def largest(self, weights: dict[str, Tensor]) -> Tensor:
        """Places of the weights in a row, the largest magnitude first, (weights,) int64."""
        magnitudes = {name: weights[name].detach().abs() for name in self.names}
        return self.flat(magnitudes).argsort(descending=True)

    def count(self, places: Tensor) -> list[int]:
        """How many of some places (indices, or a bool of all) lie in each layer."""
        return self.layer[places].bincount(minlength=len(self.names)).tolist()


def saved(masks: Masks, architecture: Architecture) -> tuple[int, float]:
    """What leaving out dead channels saves, those inside blocks that nothing writes or nothing reads.

    Returns:
        Their number; and the share of the multiply-adds left without them, which any processor profits from;
        zeros between live channels it has to multiply.
    """
    full = multiply_adds(architecture)
    slim = {name: float(number) for name, number in full.items()}
    dead = 0
    for name, part in architecture.empty().named_modules():
        if not isinstance(part, Block):
            continue
        writes = f"{name}.conv1.weight"
        reads = f"{name}.conv2.weight"
        written = masks[writes].flatten(1).any(1)
        read = masks[reads].transpose(0, 1).flatten(1).any(1)
        alive = written & read
        dead += int((~alive).sum())
        for convolution in (writes, reads):
            slim[convolution] = full[convolution] * float(alive.float().mean())
    return dead, sum(slim.values()) / sum(full.values())


@torch.no_grad()
def branch_norms(ticket: Ticket, data: Data) -> list[float]:
    """Norm of the shortcut over that of the main branch, block by block: means over 500 test images."""
    model = ticket.model().eval()
    norms: list[float] = []

    def add(block: Block, inputs: tuple[Tensor], _: Tensor) -> None:
        shortcut = block.shortcut(inputs[0]).flatten(1).norm(dim=1).mean()
        main = block.main_branch(inputs[0]).flatten(1).norm(dim=1).mean()
        norms.append(round(float(shortcut / main), 3))

    for part in model.modules():
        if isinstance(part, Block):
            part.register_forward_hook(add)
    model(data.normalise(data.test.images[:IMAGES]))
    return norms
