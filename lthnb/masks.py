"""Masks are plain values, parameter name -> bool tensor; here are the ways to draw and use them."""

import torch
from torch import Tensor, nn

Masks = dict[str, Tensor]


def prunable(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights that may be pruned, by name: every convolution; never BatchNorm, bias or head."""
    modules = model.named_modules()
    return {f"{name}.weight": part.weight for name, part in modules if isinstance(part, nn.Conv2d)}


def ones(model: nn.Module) -> Masks:
    """Return the masks of the dense network, all True, on the model's device."""
    return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(model).items()}


def kept(masks: Masks) -> dict[str, int]:
    """Count the surviving weights of each layer."""
    return {name: int(mask.sum()) for name, mask in masks.items()}


def prune_by_magnitude(weights: dict[str, Tensor], masks: Masks, rate: float) -> Masks:
    """Drop the smallest surviving weights, ranked over all layers at once.

    Args:
        weights: parameter name -> trained values, any shape, floating point.
        masks: parameter name -> bool, same names and shapes; True marks a survivor.
        rate: fraction of the survivors to drop, in (0, 1).

    Returns:
        New masks on the same device; the inputs are left alone. Exactly ``round(rate * survivors)`` entries
        turn from True to False; of equal magnitudes the first by position goes first.

    Raises:
        ValueError: names or shapes disagree, or a surviving weight is not finite.

    Source: Frankle & Carbin (2019), section 2, with one threshold for all layers.
    """
    if {name: mask.shape for name, mask in masks.items()} != {name: w.shape for name, w in weights.items()}:
        raise ValueError("weights and masks differ in names or shapes")
    scores = torch.cat([weights[name].detach()[mask].abs() for name, mask in masks.items()])
    if not scores.isfinite().all():
        raise ValueError("cannot rank weights that are not finite")
    keep = torch.ones_like(scores, dtype=torch.bool)
    keep[scores.argsort(stable=True)[: round(rate * len(scores))]] = False
    pruned = {name: mask.clone() for name, mask in masks.items()}
    for (name, mask), survives in zip(masks.items(), keep.split(list(kept(masks).values())), strict=True):
        pruned[name][mask] = survives
    return pruned


def drawn(model: nn.Module, kept: dict[str, int] | int, generator: torch.Generator) -> Masks:
    """Masks whose survivors lie anywhere: so many in each layer, or so many in the whole network.

    Masks of fewer survivors, drawn from an equal generator, lie inside those of more.

    Source: Su et al. (2020) for random tickets with the layer-wise numbers of a ticket.
    """
    shapes = {name: weight.shape for name, weight in prunable(model).items()}
    sizes = [shape.numel() for shape in shapes.values()]
    groups = [(sum(sizes), kept)] if isinstance(kept, int) else zip(sizes, kept.values(), strict=True)
    flat = [torch.randperm(size, generator=generator).argsort() < number for size, number in groups]
    parts = zip(shapes.items(), torch.cat(flat).split(sizes), strict=True)
    return {name: part.reshape(shape) for (name, shape), part in parts}


def dropped(masks: Masks) -> Masks:
    """Return the complement: True marks a pruned weight. Made once per round, read at every step."""
    return {name: ~mask for name, mask in masks.items()}


@torch.no_grad()
def zero_(weights: dict[str, Tensor], pruned: Masks) -> None:
    """Set pruned weights to exactly +0.0 in place (a product with the mask would leave -0.0)."""
    for name, mask in pruned.items():
        weights[name].masked_fill_(mask, 0.0)
