"""Residual networks for small images, built from a configuration and a seed."""

import dataclasses
import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lthnb.config import NetworkConfig, ParameterError, stream

BLOCKS = {"resnet10": (1, 1, 1, 1), "resnet18": (2, 2, 2, 2)}


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, 1x1 where shapes change. Source: He et al. (2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = convolution(outputs, outputs, 3), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.relu(self.bn1(self.conv1(images)))
        return F.relu(self.bn2(self.conv2(hidden)) + self.shortcut(images))


class ResNet(nn.Module):
    """(N, channels, side, side) to (N, classes) logits; up to 64 pixels a 3x3 stem without max-pool."""

    def __init__(self, config: NetworkConfig, channels: int, classes: int, side: int) -> None:
        super().__init__()
        inputs = config.stages[0]
        kernel, stride, pool = (3, 1, []) if side <= 64 else (7, 2, [nn.MaxPool2d(3, 2, 1)])
        first = convolution(channels, inputs, kernel, stride)
        self.stem = nn.Sequential(first, nn.BatchNorm2d(inputs), nn.ReLU(), *pool)
        for stage, (outputs, blocks) in enumerate(zip(config.stages, BLOCKS[config.model], strict=True)):
            parts = [Block(inputs, outputs, 1 if stage == 0 else 2)]
            parts += [Block(outputs, outputs, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*parts))
            inputs = outputs
        self.head = nn.Linear(inputs, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(images)))))
        return self.head(features.mean((2, 3)))


def convolution_weights(config: NetworkConfig, channels: int = 3, side: int = 32) -> int:
    """Count the convolution weights of a network without building it."""
    widths = config.stages
    total = (9 if side <= 64 else 49) * channels * widths[0]
    for inputs, outputs, blocks in zip(widths[:1] + widths, widths, BLOCKS[config.model], strict=False):
        total += 9 * outputs * (inputs + outputs) + 18 * outputs**2 * (blocks - 1)
    return total + sum(first * second for first, second in itertools.pairwise(widths))  # shortcuts


def small_dense(config: NetworkConfig, density: float, channels: int = 3, side: int = 32) -> NetworkConfig:
    """A dense network with the convolution weights of a ticket, within 1 %.

    Of the widths that are, those nearest to the shape of ``config`` (1 : 2 : 4 : 8) are taken.

    Raises:
        ParameterError: no such network, because the density is too small.
    """
    aim = density * convolution_weights(config, channels, side)
    ideal = [density**0.5 * width for width in config.stages]
    near, found = [range(max(1, round(width) - 3), round(width) + 4) for width in ideal], []
    for widths in itertools.product(*near):
        small = dataclasses.replace(config, widths="-".join(map(str, widths)))
        off = abs(convolution_weights(small, channels, side) / aim - 1)
        shape = sum(math.log(width / want) ** 2 for width, want in zip(widths, ideal, strict=True))
        if off <= 0.01:
            found.append((shape, off, small))
    if not found:
        wanted = f"{aim:.0f} convolution weights, density {density:g}"
        raise ParameterError(f"no network of four stages has {wanted}")
    return min(found, key=lambda each: each[:2])[2]


def build(
    net: NetworkConfig, seed: int, *, channels: int = 3, classes: int = 10, side: int = 32, name: str = "init"
) -> ResNet:
    """Return a network on the CPU, its weights drawn from ``stream(seed, name)``, module by module.

    PyTorch's default is uniform within 1/sqrt(fan_in), so the standard deviation is 1/sqrt(3 fan_in);
    ``torchvision`` draws convolutions from a normal distribution of variance 2/fan_out instead. BatchNorm
    starts at 1 and 0.
    """
    with torch.device("meta"):  # no draws from the global generator
        model = ResNet(net, channels, classes, side).to_empty(device="cpu")
    generator = stream(seed, name)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.reset_parameters()
        elif isinstance(part, nn.Conv2d) and net.init == "torchvision":
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(part, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(part.weight[0].numel())
            for values in part.parameters():
                nn.init.uniform_(values, -bound, bound, generator=generator)
    return model.to(memory_format=torch.channels_last)
