"""Augmentation of whole batches, each image on its own draws; uint8 in, uint8 out, on the images' device."""

from __future__ import annotations

import torch
from torch import Tensor


def crop(images: Tensor, generator: torch.Generator, padding: int) -> Tensor:
    """Pad (N, C, H, W) images with zeros and cut each back to its size at a uniform position."""
    number, _, height, width = images.shape
    top, left = torch.randint(0, 2 * padding + 1, (2, number), generator=generator).to(images.device)
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    rows = (top[:, None] + torch.arange(height, device=images.device))[:, :, None]
    columns = (left[:, None] + torch.arange(width, device=images.device))[:, None, :]
    each = torch.arange(number, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[each, rows, columns].permute(0, 3, 1, 2)


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror about half of the images left to right."""
    coin = torch.rand(len(images), 1, 1, 1, generator=generator).to(images.device)
    return torch.where(coin < 0.5, images.flip(-1), images)


def augment(images: Tensor, name: str, generator: torch.Generator) -> Tensor:
    """Return one epoch of augmented images: ``none`` or ``base`` (crop with padding side/8, then flip)."""
    if name == "none":
        return images
    return flip(crop(images, generator, images.shape[-1] // 8), generator)
