"""Masks are plain values, parameter name -> bool tensor; here are the ways to draw and use them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lthnb.training.networks import prunable

Masks = dict[str, Tensor]


def ones(model: nn.Module) -> Masks:
    """Return the masks of the dense network, all True, on the model's device."""
    return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(model).items()}


def survivors(masks: Masks) -> dict[str, int]:
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
    mask_shapes = {name: mask.shape for name, mask in masks.items()}
    if mask_shapes != {name: weight.shape for name, weight in weights.items()}:
        raise ValueError("weights and masks differ in names or shapes")
    scores = torch.cat([weights[name].detach()[mask].abs() for name, mask in masks.items()])
    if not scores.isfinite().all():
        raise ValueError("cannot rank weights that are not finite")
    smallest = scores.argsort(stable=True)[: round(rate * len(scores))]
    keep = torch.ones_like(scores, dtype=torch.bool)
    keep[smallest] = False
    pruned = {name: mask.clone() for name, mask in masks.items()}
    parts = keep.split(list(survivors(masks).values()))
    for (name, mask), part in zip(masks.items(), parts, strict=True):
        pruned[name][mask] = part
    return pruned


@dataclass(frozen=True)
class Example:
    """What a control knows of the ticket whose place it takes, at one round."""

    survivors: dict[str, int]  # weights kept in each layer
    masks: Callable[[], Masks]  # reads them from the ticket


@dataclass(frozen=True)
class Control:
    """What takes a ticket's place: its masks, and whether its weights are drawn anew."""

    masks: Callable[[nn.Module, Example, torch.Generator], Masks]
    new_weights: bool = False

    @property
    def needs_ticket(self) -> bool:
        """Whether it reads the masks of the ticket, not their counts alone."""
        return self.masks is same_masks


def random_masks(model: nn.Module, example: Example, generator: torch.Generator) -> Masks:
    """As many survivors as the example in the whole network, anywhere."""
    sizes = {name: weight.numel() for name, weight in prunable(model).items()}
    flat = random_places(sum(sizes.values()), sum(example.survivors.values()), generator)
    parts = flat.split(list(sizes.values()))
    return {
        name: part.reshape(weight.shape)
        for (name, weight), part in zip(prunable(model).items(), parts, strict=True)
    }


def shuffled_masks(model: nn.Module, example: Example, generator: torch.Generator) -> Masks:
    """As many survivors as the example in every layer, anywhere inside it. Source: Su et al. (2020)."""
    masks: Masks = {}
    for name, weight in prunable(model).items():
        flat = random_places(weight.numel(), example.survivors[name], generator)
        masks[name] = flat.reshape(weight.shape)
    return masks


def same_masks(model: nn.Module, example: Example, generator: torch.Generator) -> Masks:
    """The masks of the example."""
    return example.masks()


def all_places(model: nn.Module, example: Example, generator: torch.Generator) -> Masks:
    """Every weight: the dense network, rewound as the ticket is."""
    return {name: torch.ones(weight.shape, dtype=torch.bool) for name, weight in prunable(model).items()}


def random_places(size: int, number: int, generator: torch.Generator) -> Tensor:
    """(size,) bool, True at ``number`` places; fewer, from an equal generator, lie inside more."""
    return torch.randperm(size, generator=generator).argsort() < number


CONTROLS: dict[str, Control] = {
    "random": Control(random_masks),
    "shuffled": Control(shuffled_masks),
    "reinit": Control(same_masks, new_weights=True),
    "retrained": Control(same_masks),  # the ticket itself, on another schedule than it was found on
    "rewound": Control(all_places),
}


def pruned_places(masks: Masks) -> Masks:
    """Return the complement: True marks a pruned weight. Made once per round, read at every step."""
    return {name: ~mask for name, mask in masks.items()}


@torch.no_grad()
def zero_(weights: dict[str, Tensor], pruned: Masks) -> None:
    """Set pruned weights to exactly +0.0 in place (a product with the mask would leave -0.0)."""
    for name, mask in pruned.items():
        weights[name].masked_fill_(mask, 0.0)
