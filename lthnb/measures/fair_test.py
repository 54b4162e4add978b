"""How large a step a network bears at the point that tickets are rewound to, under several masks."""

from typing import Any

import torch

from lthnb.config import stream
from lthnb.measures.finished import FinishedRun
from lthnb.runs.ticket import Ticket
from lthnb.training.masks import CONTROLS, Example, Masks, pruned_places, survivors, zero_
from lthnb.training.networks import prunable
from lthnb.training.objectives import OBJECTIVES

RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


def measure(run: FinishedRun) -> dict[str, Any]:
    """What one step does at the rewind weights, under no mask, under the ticket's and under shuffled ones.

    Returns:
        ``rates``: learning rates; ``dense``, ``ticket`` and ``shuffled``: what a step at each of them, along
        the gradient of all training images at once, adds to their loss.
    """
    start = run.ticket(0)
    ticket = run.ticket(run.last).masks
    generator = stream(run.record.config.seed, "shuffled masks")
    example = Example(survivors(ticket), lambda: ticket)
    shuffled = CONTROLS["shuffled"].masks(start.model("rewind"), example, generator)
    masks = {"dense": start.masks, "ticket": ticket, "shuffled": shuffled}
    return {"rates": list(RATES), **{name: changes(run, start, mask) for name, mask in masks.items()}}


def changes(run: FinishedRun, start: Ticket, masks: Masks) -> list[float]:
    """What a step at each rate adds to the training loss, BatchNorm as in training, without augmentation."""
    train = run.data.train
    objective = OBJECTIVES[run.record.config.train.objective]
    model = start.model("rewind").train()
    pruned = pruned_places(masks)
    zero_(prunable(model), pruned)
    parameters = list(model.parameters())
    before = [parameter.detach().clone() for parameter in parameters]
    loss = objective(model, train.images, train.labels, run.data.normalise)
    gradients = torch.autograd.grad(loss, parameters)
    added = []
    for rate in RATES:
        with torch.no_grad():
            for parameter, value, gradient in zip(parameters, before, gradients, strict=True):
                parameter.copy_(value - rate * gradient)
            zero_(prunable(model), pruned)
        stepped = objective(model, train.images, train.labels, run.data.normalise)
        added.append((stepped - loss).item())
    return added
