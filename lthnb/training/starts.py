"""Initial weights, drawn in place from one generator, module by module."""

import math
from collections.abc import Callable

import torch
from torch import nn

Start = Callable[[nn.Module, torch.Generator], None]


def pytorch(model: nn.Module, generator: torch.Generator) -> None:
    """PyTorch's default: uniform within 1/sqrt(fan_in), so the standard deviation is 1/sqrt(3 fan_in)."""
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            uniform(part, generator)
        else:
            reset_norm(part)


def torchvision(model: nn.Module, generator: torch.Generator) -> None:
    """Convolutions from a normal distribution of variance 2/fan_out, the rest as in PyTorch.

    Source: He et al. (2015).
    """
    for part in model.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(part, nn.Linear):
            uniform(part, generator)
        else:
            reset_norm(part)


def uniform(part: nn.Conv2d | nn.Linear, generator: torch.Generator) -> None:
    """Weight and bias of a layer, uniform within 1/sqrt(fan_in)."""
    bound = 1 / math.sqrt(part.weight[0].numel())
    for values in part.parameters():
        nn.init.uniform_(values, -bound, bound, generator=generator)


def reset_norm(part: nn.Module) -> None:
    """BatchNorm starts at 1 and 0; a module with other weights of its own is refused, it would stay unset."""
    if isinstance(part, nn.BatchNorm2d):
        part.reset_parameters()
    elif [*part.parameters(recurse=False), *part.buffers(recurse=False)]:
        raise NotImplementedError(f"no start draws the weights of {type(part).__name__}")


STARTS: dict[str, Start] = {"pytorch": pytorch, "torchvision": torchvision}
