"""Images under a shift made here: the 19 corruptions of CIFAR-10-C, in batches."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lthnb.config import ParameterError
from lthnb.images import corruptions, weather
from lthnb.images.corruptions import Draws, to_bytes
from lthnb.images.weather import TEXTURE, frost_textures
from lthnb.rules import one_of, whole

__all__ = ["CORRUPTIONS", "Corruption", "corrupt", "frost_textures"]

SMALLEST = 8  # pixels
AT_ONCE = 2**20  # pixels that are worked on together


@dataclass(frozen=True)
class Corruption:
    """One kind: what is done to images in [0, 1], and its constant at severities 1 to 5."""

    apply: Callable[[Tensor, Any, Draws], Tensor]
    constants: tuple[Any, Any, Any, Any, Any]


# The constants of CIFAR-10-C: Hendrycks & Dietterich (2019), make_cifar_c.py; its 15 kinds, then the 4 more.
CORRUPTIONS = {
    one.apply.__name__: one
    for one in (
        Corruption(
            corruptions.gaussian_noise,
            (0.04, 0.06, 0.08, 0.09, 0.10),
        ),
        Corruption(
            corruptions.shot_noise,
            (500, 250, 100, 75, 50),
        ),
        Corruption(
            corruptions.impulse_noise,
            (0.01, 0.02, 0.03, 0.05, 0.07),
        ),
        Corruption(
            corruptions.defocus_blur,
            (
                (0.3, 0.4),
                (0.4, 0.5),
                (0.5, 0.6),
                (1, 0.2),
                (1.5, 0.1),
            ),
        ),
        Corruption(
            corruptions.glass_blur,
            (
                (0.05, 1),
                (0.25, 1),
                (0.4, 1),
                (0.25, 2),
                (0.4, 2),
            ),
        ),
        Corruption(
            corruptions.motion_blur,
            (
                (6, 1),
                (6, 1.5),
                (6, 2),
                (8, 2),
                (9, 2.5),
            ),
        ),
        Corruption(
            corruptions.zoom_blur,
            (7, 12, 16, 21, 26),
        ),
        Corruption(
            weather.snow,
            (
                (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
                (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
                (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
                (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
                (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
            ),
        ),
        Corruption(
            weather.frost,
            (
                (1, 0.2),
                (1, 0.3),
                (0.9, 0.4),
                (0.85, 0.4),
                (0.75, 0.45),
            ),
        ),
        Corruption(
            weather.fog,
            (
                (0.2, 3),
                (0.5, 3),
                (0.75, 2.5),
                (1, 2),
                (1.5, 1.75),
            ),
        ),
        Corruption(
            corruptions.brightness,
            (0.05, 0.1, 0.15, 0.2, 0.3),
        ),
        Corruption(
            corruptions.contrast,
            (0.75, 0.5, 0.4, 0.3, 0.15),
        ),
        Corruption(
            corruptions.elastic_transform,
            (
                (0, 0, 0.08),
                (0.05, 0.2, 0.07),
                (0.08, 0.06, 0.06),
                (0.1, 0.04, 0.05),
                (0.1, 0.03, 0.03),
            ),
        ),
        Corruption(
            corruptions.pixelate,
            (0.95, 0.9, 0.85, 0.75, 0.65),
        ),
        Corruption(
            corruptions.jpeg_compression,
            (80, 65, 58, 50, 40),
        ),
        Corruption(
            corruptions.speckle_noise,
            (0.06, 0.1, 0.12, 0.16, 0.2),
        ),
        Corruption(
            corruptions.gaussian_blur,
            (0.4, 0.6, 0.7, 0.8, 1),
        ),
        Corruption(
            weather.spatter,
            (
                (0.62, 0.1, 0.7, 0.7, 0.5, False),
                (0.65, 0.1, 0.8, 0.7, 0.5, False),
                (0.65, 0.3, 1, 0.69, 0.5, False),
                (0.65, 0.1, 0.7, 0.69, 0.6, True),
                (0.65, 0.1, 0.5, 0.68, 0.6, True),
            ),
        ),
        Corruption(
            corruptions.saturate,
            (
                (0.3, 0),
                (0.1, 0),
                (1.5, 0),
                (2, 0.1),
                (2.5, 0.2),
            ),
        ),
    )
}


def corrupt(images: Tensor, kind: str, severity: int, seed: int = 0) -> Tensor:
    """Corrupt images as CIFAR-10-C does.

    Args:
        images: (N, C, side, side) uint8, colour or grey, at the size at which they were taken. Blurs and
            shifts are in pixels of CIFAR's 32, so they are weaker on larger images.
        kind: a name in ``CORRUPTIONS``.
        severity: 1 to 5.
        seed: of the random kinds; the same image is always corrupted alike, whatever it is beside.

    Returns:
        New images of the same shape on the same device, contiguous.

    Raises:
        ParameterError: no such kind or severity, or no square uint8 images.

    Source: Hendrycks & Dietterich (2019), "Benchmarking neural network robustness".
    """
    one_of(*CORRUPTIONS).check("kind", kind)
    whole(1, 5).check("severity", severity)
    square = images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[2] == images.shape[3]
    if not square or images.dtype != torch.uint8 or not SMALLEST <= images.shape[3] <= TEXTURE:
        wanted = f"(N, 1 or 3, side, side) uint8, side {SMALLEST} to {TEXTURE}"
        raise ParameterError(f"images must be {wanted}, got {tuple(images.shape)} {images.dtype}")
    corruption = CORRUPTIONS[kind]
    constant = corruption.constants[severity - 1]
    corrupted = torch.empty_like(images, memory_format=torch.contiguous_format)
    if not len(images):
        return corrupted
    number = max(1, AT_ONCE // images.shape[-1] ** 2)
    for whole_images, changed in zip(images.split(number), corrupted.split(number), strict=True):
        pixels = whole_images.contiguous()
        draws = Draws(pixels, kind, seed)
        changed.copy_(to_bytes(corruption.apply(pixels / 255, constant, draws)))
    return corrupted
