"""Noise, blur, colour and compression as in CIFAR-10-C: (images, constant, draws) -> images, batched.

Images are (N, C, side, side) in [0, 1]; what comes out may leave that range.
"""

import io
import zlib
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from lthnb.images import filters
from lthnb.images.dataset import pictures, stack


class Draws:
    """Random numbers of a batch: those of an image come from its own pixels, the kind and the seed alone."""

    def __init__(self, images: Tensor, kind: str, seed: int) -> None:
        self.device = images.device
        start = zlib.crc32(f"{seed}/{kind}".encode())
        sums = [zlib.crc32(image.numpy(), start) for image in images.cpu()]
        self.generators = [torch.Generator().manual_seed(number) for number in sums]

    def normal(self, *shape: int) -> Tensor:
        """(N, *shape) standard normal draws."""
        return self._together([torch.randn(shape, generator=own) for own in self.generators])

    def uniform(self, *shape: int) -> Tensor:
        """(N, *shape) uniform draws from [0, 1)."""
        return self._together([torch.rand(shape, generator=own) for own in self.generators])

    def poisson(self, rates: Tensor) -> Tensor:
        """Poisson draws at rates (N, ...)."""
        pairs = zip(rates.cpu(), self.generators, strict=True)
        return self._together([torch.poisson(of_image, own) for of_image, own in pairs])

    def _together(self, rows: list[Tensor]) -> Tensor:
        return torch.stack(rows).to(self.device)


def gaussian_noise(images: Tensor, deviation: float, draws: Draws) -> Tensor:
    """Add normal noise."""
    noise = draws.normal(*images.shape[1:])
    return images + deviation * noise


def shot_noise(images: Tensor, photons: float, draws: Draws) -> Tensor:
    """Count so many photons at full brightness."""
    return draws.poisson(images * photons) / photons


def impulse_noise(images: Tensor, share: float, draws: Draws) -> Tensor:
    """Set a share of the values to 1 or 0, as many to either."""
    chance = draws.uniform(*images.shape[1:])
    salt = chance < share / 2
    pepper = (chance < share) & ~salt
    salted = torch.where(salt, 1.0, images)
    return torch.where(pepper, 0.0, salted)


def speckle_noise(images: Tensor, deviation: float, draws: Draws) -> Tensor:
    """Add normal noise in proportion to the value."""
    noise = draws.normal(*images.shape[1:])
    return images + images * deviation * noise


def gaussian_blur(images: Tensor, sigma: float, _draws: Draws) -> Tensor:
    """Blur by a Gaussian of ``sigma`` pixels."""
    return filters.separable(filters.blur(images.shape[-1], sigma), images)


def glass_blur(images: Tensor, constant: tuple[float, int], draws: Draws) -> Tensor:
    """Blur, move pixels so many times by one, blur again.

    The published code means to swap two pixels but copies one over the other; so does this one.
    """
    sigma, times = constant
    side = images.shape[-1]
    rows, columns = filters.grid(images)
    inner = (rows > 1) & (columns > 1)
    chance = draws.uniform(times, 2, side, side)
    moved = inner & (chance < 0.5)
    images = gaussian_blur(images, sigma, draws)
    images = to_bytes(images) / 255
    for steps in moved.long().unbind(1):
        up, left = steps.unbind(1)
        images = filters.taken(images, rows - up, columns - left)
    return gaussian_blur(images, sigma, draws)


def defocus_blur(images: Tensor, constant: tuple[float, float], _draws: Draws) -> Tensor:
    """Blur by a disc (radius, softness of its rim, in pixels)."""
    return filters.convolve(images, filters.disc(*constant))


def motion_blur(images: Tensor, constant: tuple[int, float], draws: Draws) -> Tensor:
    """Smear (radius, sigma, in pixels) into a direction at most 45 degrees from the right."""
    degrees = 90 * draws.uniform(1) - 45
    return filters.streak(images, *constant, degrees)


def zoom_blur(images: Tensor, steps: int, _draws: Draws) -> Tensor:
    """Mean of the image and of its enlargements by 0, 1, 2, ... hundredths, as many as ``steps``."""
    side = images.shape[-1]
    total = images.clone()
    for step in range(steps):
        factor = 1 + step * (1.01 - 1)  # in floating point as published, which counts in the last digit
        total += filters.separable(filters.zoom(side, factor), images)
    return total / (steps + 1)


def brightness(images: Tensor, added: float, _draws: Draws) -> Tensor:
    """Raise the value of every colour, in hue, saturation and value."""
    value = images.amax(1, keepdim=True)
    brighter = (value + added).clamp(max=1)
    return torch.where(value > 0, images * (brighter / value), brighter)


def contrast(images: Tensor, kept: float, _draws: Draws) -> Tensor:
    """Keep so much of the distance to each channel's mean."""
    mean = images.mean((2, 3), keepdim=True)
    return (images - mean) * kept + mean


def elastic_transform(images: Tensor, constant: tuple[float, ...], draws: Draws) -> Tensor:
    """Move three points at random, then every pixel: (strength, softness, points), shares of the side."""
    side = images.shape[-1]
    strength, softness, reach = (side * share for share in constant)
    near = side // 2 - side // 3
    far = side // 2 + side // 3
    points = torch.tensor([[far, far], [far, near], [near, near]], device=images.device).double()
    moved = points + reach * (2 * draws.uniform(3, 2).double() - 1)
    waves = 2 * draws.uniform(2, side, side) - 1
    moved = F.pad(moved, (0, 1), value=1.0)
    back = torch.linalg.solve(moved, points.expand(len(moved), 3, 2))
    down, across = filters.grid(images)
    places = torch.stack([across, down, torch.ones_like(down)], -1)
    places = places.double() @ back[:, None]
    images = filters.sample(images, *places.unbind(-1), corners=True)
    if not strength:
        return images
    soft = filters.blur(side, softness, "reflect", 3)
    right, below = (strength * filters.separable(soft, waves)).unbind(1)
    return filters.sample(images, across + right, down + below, corners=False)


def pixelate(images: Tensor, scale: float, _draws: Draws) -> Tensor:
    """Make the image smaller by area, and as large as before."""
    side = images.shape[-1]
    small = int(side * scale)

    def resized(picture: Image.Image) -> Image.Image:
        reduced = picture.resize((small, small), Image.Resampling.BOX)
        return reduced.resize((side, side), Image.Resampling.BOX)

    return _by_pillow(images, resized)


def jpeg_compression(images: Tensor, quality: int, _draws: Draws) -> Tensor:
    """Compress as JPEG."""

    def compressed(picture: Image.Image) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _by_pillow(images, compressed)


def saturate(images: Tensor, constant: tuple[float, float], _draws: Draws) -> Tensor:
    """Scale the saturation of every colour and add to it; grey turns red, as published."""
    factor, added = constant
    value = images.amax(1, keepdim=True)
    distance = value - images.amin(1, keepdim=True)
    saturation = torch.where(value > 0, distance / value, 0.0)
    wanted = (factor * saturation + added).clamp(0, 1)
    below = value - images
    coloured = value - below * (wanted / saturation)
    red = (value * (1 - wanted)).repeat(1, images.shape[1], 1, 1)
    red[:, :1] = value
    return torch.where(saturation > 0, coloured, red)


def _by_pillow(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    number, channels, side, _ = images.shape
    changed = map(change, pictures(to_bytes(images)))
    pixels = stack(changed, number, channels, side)
    return pixels.to(images.device) / 255


def to_bytes(images: Tensor) -> Tensor:
    """[0, 1] to uint8, the fraction cut off as in the published code."""
    return (255 * images.clamp(0, 1)).to(torch.uint8)
