"""Residual networks for small images, built from a configuration and a seed."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lthnb.config import NetworkConfig, ParameterError, stream
from lthnb.training.starts import STARTS

SMALL_IMAGES = 64  # pixels; up to here a 3x3 stem without max-pool
# oneDNN's backward pass of a strided 1x1 convolution writes past its workspace where channels-last images
# have fewer channels than a vector register has floats (uxlfoundation/oneDNN#6035)
REGISTER = 16


@dataclass(frozen=True)
class Architecture:
    """What a network is built from, beside its seed."""

    network: NetworkConfig
    channels: int
    side: int
    classes: tuple[str, ...]

    def empty(self) -> nn.Module:
        """The network without memory for its weights: names, shapes and dtypes only."""
        with torch.device("meta"):
            model = NETWORKS[self.network.model](self)
            for name, part in [*model.named_modules()]:
                if self.network.norm == "dual" and isinstance(part, nn.BatchNorm2d):
                    model.set_submodule(name, DualBatchNorm(part.num_features))
        return model


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps height and width, but for its stride."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


class DualBatchNorm(nn.BatchNorm2d):
    """A BatchNorm, and beside it another for adversarial images alone. Source: Xie et al. (2020)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.auxiliary = nn.BatchNorm2d(channels)
        self.adversarial = False  # whether such images pass

    def forward(self, images: Tensor) -> Tensor:
        return self.auxiliary(images) if self.adversarial else super().forward(images)


def switch_norms_(model: nn.Module, adversarial: bool) -> None:
    """Tell every dual BatchNorm which kind of images will pass."""
    for part in model.modules():
        if isinstance(part, DualBatchNorm):
            part.adversarial = adversarial


class Shortcut(nn.Sequential):
    """A 1x1 convolution and BatchNorm, where a block changes the shape of its images."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        skips = stride if inputs < REGISTER else 1  # pixels left out before the convolution
        super().__init__(convolution(inputs, outputs, 1, stride // skips), nn.BatchNorm2d(outputs))
        self.skips = skips

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images[:, :, :: self.skips, :: self.skips])


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, 1x1 where shapes change. Source: He et al. (2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = convolution(outputs, outputs, 3)
        self.bn2 = nn.BatchNorm2d(outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Sequential() if same else Shortcut(inputs, outputs, stride)

    def main_branch(self, images: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride), without the shortcut."""
        hidden = F.relu(self.bn1(self.conv1(images)))
        return self.bn2(self.conv2(hidden))

    def forward(self, images: Tensor) -> Tensor:
        return F.relu(self.main_branch(images) + self.shortcut(images))


class ResNet(nn.Module):
    """(N, channels, side, side) to (N, classes) logits; up to 64 pixels a 3x3 stem without max-pool."""

    def __init__(self, architecture: Architecture, blocks: tuple[int, ...]) -> None:
        super().__init__()
        widths = architecture.network.stages
        self.stem = stem(architecture.channels, widths[0], architecture.side)
        inputs = widths[0]
        for stage, outputs in enumerate(widths):
            parts = [Block(inputs, outputs, stride=1 if stage == 0 else 2)]
            parts += [Block(outputs, outputs, stride=1) for _ in range(blocks[stage] - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*parts))
            inputs = outputs
        self.head = nn.Linear(inputs, len(architecture.classes))
        self.prunable_names = convolution_names(self)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            features = stage(features)
        return self.head(features.mean((2, 3)))


def stem(channels: int, width: int, side: int) -> nn.Sequential:
    """The first convolution: 3x3 for small images, 7x7 with stride and max-pool for others."""
    norm = [nn.BatchNorm2d(width), nn.ReLU()]
    if side <= SMALL_IMAGES:
        return nn.Sequential(convolution(channels, width, 3), *norm)
    return nn.Sequential(convolution(channels, width, 7, stride=2), *norm, nn.MaxPool2d(3, 2, 1))


def convolution_names(model: nn.Module) -> tuple[str, ...]:
    """The weights of all convolutions, by name; never BatchNorm, bias or head."""
    modules = model.named_modules()
    return tuple(f"{name}.weight" for name, part in modules if isinstance(part, nn.Conv2d))


BLOCKS = {"resnet10": (1, 1, 1, 1), "resnet18": (2, 2, 2, 2)}

# A network says in ``prunable_names`` which of its weights may be pruned.
NETWORKS: dict[str, Callable[[Architecture], nn.Module]] = {
    name: functools.partial(ResNet, blocks=blocks) for name, blocks in BLOCKS.items()
}


def prunable(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights that a network declares to be prunable, by name; the tensors are live."""
    return {name: model.get_parameter(name) for name in model.prunable_names}


def build(architecture: Architecture, seed: int, name: str = "init") -> nn.Module:
    """Return a network on the CPU, its weights drawn from ``stream(seed, name)``, module by module."""
    model = architecture.empty().to_empty(device="cpu")  # no draws from the global generator
    STARTS[architecture.network.init](model, stream(seed, name))
    return model.to(memory_format=torch.channels_last)


@functools.cache
def multiply_adds(architecture: Architecture) -> dict[str, int]:
    """Multiply-adds of each prunable weight for one image, dense: weight name -> number."""
    model = architecture.empty().eval()
    images = torch.empty(1, architecture.channels, architecture.side, architecture.side, device="meta")
    with FlopCounterMode(display=False) as counter:
        model(images)
    counts = counter.get_flop_counts()
    prefix = type(model).__name__
    return {
        name: sum(counts[f"{prefix}.{name.removesuffix('.weight')}"].values()) // 2
        for name in model.prunable_names
    }


def convolution_weights(config: NetworkConfig, channels: int = 3, side: int = 32) -> int:
    """Count the convolution weights of a network without building it."""
    widths = config.stages
    stem = (9 if side <= SMALL_IMAGES else 49) * channels * widths[0]
    first = 9 * widths[0] ** 2
    between = sum(10 * narrow * wide for narrow, wide in itertools.pairwise(widths))  # 3x3 and 1x1
    stages = zip(widths, BLOCKS[config.model], strict=True)
    within = sum(9 * width**2 * (2 * blocks - 1) for width, blocks in stages)
    return stem + first + between + within


def small_dense(config: NetworkConfig, density: float, channels: int = 3, side: int = 32) -> NetworkConfig:
    """A dense network with the convolution weights of a ticket, within 1 %.

    Of the widths that are, those nearest to the shape of ``config`` (1 : 2 : 4 : 8) are taken.

    Raises:
        ParameterError: no such network, because the density is too small.
    """
    aim = density * convolution_weights(config, channels, side)
    ideal = [density**0.5 * width for width in config.stages]
    near = [range(max(1, round(width) - 3), round(width) + 4) for width in ideal]
    distances = {}
    for widths in itertools.product(*near):
        small = dataclasses.replace(config, widths="-".join(map(str, widths)))
        if abs(convolution_weights(small, channels, side) / aim - 1) <= 0.01:
            distances[small] = math.dist(map(math.log, widths), map(math.log, ideal))
    if not distances:
        raise ParameterError(
            f"no network of four stages has {aim:.0f} convolution weights, density {density:g}"
        )
    return min(distances, key=distances.get)
