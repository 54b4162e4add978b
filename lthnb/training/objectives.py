"""What a network is trained to make small: (model, images, labels) -> loss, a scalar in fp32."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

Objective = Callable[[nn.Module, Tensor, Tensor], Tensor]


def cross_entropy(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy of (N, C, H, W) normalised images with (N,) int64 labels."""
    return F.cross_entropy(model(images).float(), labels)


OBJECTIVES: dict[str, Objective] = {"cross_entropy": cross_entropy}
