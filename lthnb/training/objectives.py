"""What a network is trained to make small: (model, images, labels, normalise) -> loss, a scalar in fp32.

Images are pixels, (N, C, H, W) from 0 to 255; ``normalise`` makes of them what the network sees.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lthnb.training.networks import switch_norms_

Normalise = Callable[[Tensor], Tensor]
Objective = Callable[[nn.Module, Tensor, Tensor, Normalise], Tensor]
EPSILON = 8  # levels of 255 that an attack may change a pixel by, whatever the spread of the images
STEP = 2
CLEAN = 5  # one image in so many is attacked from where it is


def cross_entropy(model: nn.Module, images: Tensor, labels: Tensor, normalise: Normalise) -> Tensor:
    """Mean cross entropy of images with (N,) int64 labels."""
    return F.cross_entropy(model(normalise(images)).float(), labels)


def advprop(model: nn.Module, images: Tensor, labels: Tensor, normalise: Normalise) -> Tensor:
    """Mean cross entropy of images and of attacked ones, for which the model has a BatchNorm of their own.

    Source: Xie et al. (2020), with the settings of the code released with the paper on tickets.
    """
    loss = partial(cross_entropy, model, labels=labels, normalise=normalise)
    switch_norms_(model, adversarial=True)
    model.eval()
    attacked = attack(images, loss)
    model.train()
    adversarial = loss(attacked)
    switch_norms_(model, adversarial=False)
    return (loss(images) + adversarial) / 2


def attack(images: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Pixels in fp32, a step up the loss and within ``EPSILON`` of the images; no weight gets a gradient."""
    pixels = images.float()
    moved = start(pixels).requires_grad_()
    [slope] = torch.autograd.grad(loss(moved), moved)
    moved = moved.detach() + STEP * slope.sign()
    return moved.clamp(pixels - EPSILON, pixels + EPSILON).clamp(0, 255)


def start(pixels: Tensor) -> Tensor:
    """Pixels moved by up to ``EPSILON`` each, but for one image in five.

    A step that a GPU replays draws nothing. What stands for chance is a whole number made of all pixels of an
    image, exact on every device and new with every augmentation: its rest decides whether the image is moved,
    and the last digits of a large sine, uniform and without a pattern, by how much each pixel.
    """
    places = torch.arange(pixels[0].numel(), device=pixels.device).view_as(pixels[0])
    number = (pixels.long() * places).sum((1, 2, 3), keepdim=True)
    noise = (number + places).double().sin() * 1e7 % (2 * EPSILON) - EPSILON
    return pixels + noise.float() * (number % CLEAN > 0)


OBJECTIVES: dict[str, Objective] = {"cross_entropy": cross_entropy, "advprop": advprop}
