"""How far one step moves a network at the point that tickets are rewound to, and how alike the steps are."""

from typing import Any

import torch

from lthnb.config import stream
from lthnb.measures.finished import FinishedRun
from lthnb.runs.ticket import Ticket
from lthnb.training.loop import in_batches
from lthnb.training.masks import CONTROLS, Example, Masks, pruned_places, survivors, zero_
from lthnb.training.networks import prunable
from lthnb.training.objectives import OBJECTIVES


def measure(run: FinishedRun) -> dict[str, Any]:
    """Look at the rewind weights under no mask, under the ticket's and under shuffled ones.

    Returns:
        ``dense``, ``ticket`` and ``shuffled``, each {step, signal} as ``steps`` tells them.
    """
    start = run.ticket(0)
    ticket = run.ticket(run.last).masks
    example = Example(survivors(ticket), lambda: ticket)
    generator = stream(run.record.config.seed, "shuffled masks")
    shuffled = CONTROLS["shuffled"].masks(start.model("rewind"), example, generator)
    masks = {"dense": start.masks, "ticket": ticket, "shuffled": shuffled}
    return {name: steps(run, start, mask) for name, mask in masks.items()}


def steps(run: FinishedRun, start: Ticket, masks: Masks) -> dict[str, float]:
    """The steps of one epoch, each from the rewind weights under some masks, without augmentation.

    Returns:
        ``step``: learning rate times norm of the gradient over norm of the weights, mean over batches, median
        over layers; under BatchNorm only this ratio counts. ``signal``: norm of the mean gradient over the
        root mean square distance of the batches' gradients from it.
    """
    config = run.record.config.train
    data = run.data.train
    model = start.model("rewind").train()
    weights = prunable(model)
    zero_(weights, pruned_places(masks))
    gradients = []
    size = min(config.batch_size, len(data) // 2)  # two batches at least
    for batch in in_batches(torch.arange(len(data)), size):
        loss = OBJECTIVES[config.objective](model, run.data.normalise(data.images[batch]), data.labels[batch])
        layers = torch.autograd.grad(loss, list(weights.values()))
        kept = zip(layers, masks.values(), strict=True)
        gradients.append([layer[mask] for layer, mask in kept])
    norms = torch.tensor([[layer.norm() for layer in layers] for layers in gradients])
    sizes = torch.tensor([weight.detach().norm() for weight in weights.values()])
    flat = torch.stack([torch.cat(layers) for layers in gradients])
    mean = flat.mean(0)
    noise = (flat - mean).square().sum(1).mean().sqrt()
    return {
        "step": float((config.lr * norms.mean(0) / sizes).median()),
        "signal": float(mean.norm() / noise),
    }
