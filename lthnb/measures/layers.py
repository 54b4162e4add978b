"""What a ticket looks like inside: its density layer by layer, beside masks that no training shaped."""

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
    sizes = run.record.prunable
    dense = run.ticket(0)
    ticket = run.ticket(run.last)
    initial = prunable(build(ticket.architecture, run.record.config.seed))
    ranks = {"init": ranked(initial, sizes), "rewind": ranked(dense.states["rewind"], sizes)}
    rounds = [sum(row["kept"]) for row in run.record.rounds]
    null = {name: [count(rank < total, sizes) for total in rounds] for name, rank in ranks.items()}
    mine = flat(ticket.masks, sizes)
    kept = mine.sum()
    largest = {name: rank < kept for name, rank in ranks.items()}
    shared = {name: count(mine & mask, sizes) for name, mask in largest.items()}
    rewinds = {}
    for relative in run.relatives:
        their_ticket = flat(relative.ticket(run.last).masks, sizes)
        shared[relative.key] = count(mine & their_ticket, sizes)
        theirs = ranked(relative.ticket(0).states["rewind"], sizes) < kept
        rewinds[relative.key] = {
            "kept": count(theirs, sizes),
            "shared": count(theirs & largest["rewind"], sizes),
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


def flat(layers: dict[str, Tensor], sizes: dict[str, int]) -> Tensor:
    """The layers that ``sizes`` names in a row, (weights,)."""
    return torch.cat([layers[name].detach().flatten() for name in sizes])


def ranked(weights: dict[str, Tensor], sizes: dict[str, int]) -> Tensor:
    """Rank of each weight by magnitude, 0 for the largest, (weights,) int64."""
    order = flat(weights, sizes).abs().argsort(descending=True)
    return order.argsort()


def count(mask: Tensor, sizes: dict[str, int]) -> list[int]:
    """Survivors in each layer of a mask of all weights, (weights,) bool."""
    layers = mask.split(list(sizes.values()))
    return [int(layer.sum()) for layer in layers]


def saved(masks: Masks, architecture: Architecture) -> tuple[int, float]:
    """What leaving out dead channels saves, those inside blocks that nothing writes or nothing reads.

    Returns:
        Their number; and the share of the multiply-adds left without them, which any processor profits from;
        zeros between live channels it has to multiply.
    """
    full = multiply_adds(architecture)
    slim = dict(full)
    dead = 0
    for writes in [name for name in masks if name.endswith("conv1.weight")]:
        reads = writes.replace("conv1", "conv2")
        written = masks[writes].flatten(1).any(1)
        read = masks[reads].transpose(0, 1).flatten(1).any(1)
        alive = written & read
        dead += int((~alive).sum())
        for convolution in (writes, reads):
            slim[convolution] *= float(alive.float().mean())
    return dead, sum(slim.values()) / sum(full.values())


@torch.no_grad()
def branch_norms(ticket: Ticket, data: Data) -> list[float]:
    """Norm of the shortcut over that of the main branch, block by block: means over 500 test images."""
    model = ticket.model().eval()
    features = model.stem(data.normalise(data.test.images[:IMAGES]))
    norms = []
    for block in [part for part in model.modules() if isinstance(part, Block)]:
        shortcut = mean_norm(block.shortcut(features))
        main = mean_norm(block.main_branch(features))
        norms.append(round(float(shortcut / main), 3))
        features = block(features)
    return norms


def mean_norm(features: Tensor) -> Tensor:
    """Mean over images of the norm of their features, (N, C, H, W)."""
    return features.flatten(1).norm(dim=1).mean()
