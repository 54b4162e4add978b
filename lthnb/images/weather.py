"""Snow, frost, fog and spatter as in CIFAR-10-C: (images, constant, draws) -> images, batched."""

import functools
import math
from typing import Any

import torch
from torch import Tensor

from lthnb.images import filters
from lthnb.images.corruptions import Draws, to_bytes

TEXTURE = 256  # pixels of a texture of frost
GREY = (0.299, 0.587, 0.114)
WATER = (175, 238, 238)
MUD = (63, 42, 20)
EMBOSS = torch.tensor([[-2.0, -1, 0], [-1, 1, 1], [0, 1, 2]])


def snow(images: Tensor, constant: tuple[float, ...], draws: Draws) -> Tensor:
    """Whiten, and add streaks that fall: (mean, deviation, zoom, threshold, radius, sigma, share kept)."""
    mean, deviation, factor, threshold, radius, sigma, kept = constant
    side = images.shape[-1]
    flakes = mean + deviation * draws.normal(1, side, side)
    flakes = filters.separable(filters.zoom(side, factor), flakes)
    flakes = torch.where(flakes < threshold, 0.0, flakes)
    flakes = to_bytes(flakes) / 255
    degrees = 90 * draws.uniform(1) - 135
    flakes = filters.streak(flakes, int(radius), sigma, degrees)
    white = 1.5 * grey(images) + 0.5
    whitened = torch.maximum(images, white)
    mixed = kept * images + (1 - kept) * whitened
    return mixed + flakes + flakes.rot90(2, (2, 3))


def frost(images: Tensor, constant: tuple[float, float], draws: Draws) -> Tensor:
    """Lay a piece of a texture over the image: (weight of the image, of the texture).

    The published pictures of frost are not ours to ship: see ``frost_textures``.
    """
    kept, added = constant
    side = images.shape[-1]
    textures = frost_textures().to(images.device) / 255
    room = TEXTURE - side
    most = torch.tensor([len(textures), room, room], device=images.device)
    chosen = (most * draws.uniform(3)).long()
    pieces = []
    for which, top, left in chosen.tolist():
        rows = textures[which, top : top + side]
        pieces.append(rows[:, left : left + side])
    frozen = torch.stack(pieces).permute(0, 3, 1, 2)
    return kept * images + added * in_colours_of(images, frozen)


@functools.cache
def frost_textures() -> Tensor:
    """Five pictures of bluish crystals of our own, (5, 256, 256, 3) uint8, in place of the published ones."""
    draws = Draws(torch.arange(5).reshape(5, 1), "textures", 0)
    clouds = filters.clouds(draws.uniform(TEXTURE**2 - 1), 1.2)
    ridges = 1 - (2 * clouds - 1).abs()
    bright = 0.2 + 0.8 * ridges**3
    bluish = torch.tensor([0.85, 0.93, 1.0])
    return to_bytes(bright[..., None] * bluish)


def fog(images: Tensor, constant: tuple[float, float], draws: Draws) -> Tensor:
    """Add clouds (weight, decay of their roughness), at the brightness that the image had."""
    weight, decay = constant
    side = images.shape[-1]
    power = 2 ** math.ceil(math.log2(side))
    clouds = filters.clouds(draws.uniform(power**2 - 1), decay)
    clouds = clouds[:, None, :side, :side]
    brightest = images.amax((1, 2, 3), keepdim=True)
    return (images + weight * clouds) * brightest / (brightest + weight)


def spatter(images: Tensor, constant: tuple[Any, ...], draws: Draws) -> Tensor:
    """Drops of water, or mud: (mean, deviation, softness, threshold, strength or softness, whether mud)."""
    mean, deviation, softness, threshold, last, mud = constant
    side = images.shape[-1]
    wet = mean + deviation * draws.normal(side, side)
    wet = filters.separable(filters.blur(side, softness), wet)
    if mud:
        dirty = (wet > threshold).float()
        cover = filters.separable(filters.blur(side, last), dirty)
        cover = torch.where(cover < 0.8, 0.0, cover)[:, None]
        return images * (1 - cover) + cover * colour(images, MUD)
    wet = torch.where(wet < threshold, 0.0, wet)
    wet = (255 * wet).int() % 256  # wraps, as published
    wet = wet.float()
    rim = filters.distances(filters.edges(wet))
    rim = filters.box_mean(rim.clamp(max=20))
    rim = filters.equalise(rim.floor())
    rim = filters.convolve(rim, EMBOSS)
    rim = filters.box_mean(rim.clamp(0, 255))
    drops = wet * rim.round()
    most = drops.amax((1, 2), keepdim=True)
    drops = drops / most.clamp(min=1)
    return images + last * drops[:, None] * colour(images, WATER)


def grey(images: Tensor) -> Tensor:
    """Brightness of colours, (N, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    shares = torch.tensor(GREY, device=images.device)
    shared = images * shares.reshape(1, 3, 1, 1)
    return shared.sum(1, keepdim=True)


def in_colours_of(images: Tensor, coloured: Tensor) -> Tensor:
    """The same in grey where the images are."""
    return coloured if images.shape[1] == 3 else grey(coloured)


def colour(images: Tensor, levels: tuple[int, ...]) -> Tensor:
    """One colour of 0 to 255 for all pixels."""
    values = torch.tensor(levels, device=images.device) / 255
    return in_colours_of(images, values.reshape(1, 3, 1, 1))
