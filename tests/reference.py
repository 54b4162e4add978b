"""The plain way to do what lthnb does, for comparison: torch's own pruning hooks, no tricks."""

import math

import torch
from torch.nn import functional as F
from torch.nn.utils import prune


def masks_after(model, rates):
    """Masks of ``torch.nn.utils.prune.global_unstructured`` after pruning at ``rates`` one by one."""
    parts = [(part, "weight") for part in model.modules() if isinstance(part, torch.nn.Conv2d)]
    for rate in rates:
        prune.global_unstructured(parts, pruning_method=prune.L1Unstructured, amount=rate)
    return [part.weight_mask.bool() for part, _ in parts]


def train(model, images, labels, config, orders):
    """SGD over given float images, one list of index batches per epoch, cosine learning rate."""
    sgd = torch.optim.SGD(
        model.parameters(), config.lr, config.momentum, weight_decay=config.weight_decay, foreach=False
    )
    model.train()
    for epoch, order in enumerate(orders):
        for group in sgd.param_groups:
            group["lr"] = config.lr * 0.5 * (1 + math.cos(math.pi * epoch / config.epochs))
        for batch in order:
            loss = F.cross_entropy(model(images[epoch][batch]), labels[batch])
            sgd.zero_grad()
            loss.backward()
            sgd.step()
