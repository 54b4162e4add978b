"""What corruptions are built of: linear filters as matrices, streaks, clouds, edges; batched, on the device.

Images are (N, C, side, side) in [0, 1] throughout, layers without colour (N, side, side).
"""

import functools
import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

SOBEL = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
TAN_22 = math.tan(math.radians(22.5))
FAR = 1e6  # a squared distance beyond any image


@functools.cache
def blur(side: int, sigma: float, mode: str = "nearest", truncate: float = 4.0) -> Tensor:
    """A Gaussian filter of the rows of a square image, as a matrix (side, side) from the left."""
    identity = np.eye(side)
    blurred = ndimage.gaussian_filter1d(identity, sigma, 0, mode=mode, truncate=truncate)
    return torch.from_numpy(blurred).float()


@functools.cache
def zoom(side: int, factor: float) -> Tensor:
    """Linear enlargement of the middle of an image's rows, as a matrix (side, side) from the left."""
    crop = math.ceil(side / factor)
    top = (side - crop) // 2
    middle = np.eye(side)[top : top + crop]
    enlarged = ndimage.zoom(middle, (factor, 1), order=1)
    trim = (len(enlarged) - side) // 2
    return torch.from_numpy(enlarged[trim : trim + side]).float()


def separable(matrix: Tensor, images: Tensor) -> Tensor:
    """The same filter of rows and of columns."""
    matrix = matrix.to(images.device)
    return matrix @ images @ matrix.T


@functools.cache
def disc(radius: float, softness: float) -> Tensor:
    """A disc of ``radius`` pixels that sums to 1, its rim softened by a 3x3 Gaussian."""
    reach = math.ceil(radius) + 1
    across, down = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    inside = across**2 + down**2 <= radius**2
    weights = inside / inside.sum()
    softened = ndimage.gaussian_filter(weights, softness, radius=1, mode="constant")
    return torch.from_numpy(softened).float()


def convolve(images: Tensor, kernel: Tensor, mode: str = "reflect") -> Tensor:
    """Correlate every channel with an odd square kernel; ``reflect`` leaves the border pixel out."""
    reach = len(kernel) // 2
    channels = images.reshape(-1, 1, *images.shape[-2:])
    padded = F.pad(channels, (reach,) * 4, mode=mode)
    weights = kernel.to(images)
    correlated = F.conv2d(padded, weights[None, None])
    return correlated.reshape(images.shape)


def box_mean(images: Tensor) -> Tensor:
    """Mean over 3x3 pixels."""
    return convolve(images, torch.ones(3, 3)) / 9  # in this order 20 stays 20


def taken(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Every pixel replaced by that at another place, (N, side, side) each; outside, by the nearest one."""
    side = images.shape[-1]
    rows = rows.clamp(0, side - 1)
    columns = columns.clamp(0, side - 1)
    places = rows * side + columns
    places = places.flatten(1).unsqueeze(1)
    places = places.expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, places).reshape(images.shape)


def grid(images: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of every pixel, (side, side) each."""
    numbers = torch.arange(images.shape[-1], device=images.device)
    return torch.meshgrid(numbers, numbers, indexing="ij")


def streak(images: Tensor, radius: int, sigma: float, degrees: Tensor) -> Tensor:
    """Smear every image (N, ...) into its own direction, (N,), by half a Gaussian; rounded to 255 levels.

    Source: MotionBlurImage of ImageMagick, with which CIFAR-10-C was made.
    """
    rows, columns = grid(images)
    angle = degrees.double().deg2rad().reshape(-1, 1, 1)
    steps = range(2 * radius + 1)
    weights = torch.tensor([math.exp(-((step / sigma) ** 2) / 2) for step in steps])
    weights /= weights.sum()
    smeared = torch.zeros_like(images)
    for step, weight in enumerate(weights.tolist()):
        down = (step * angle.sin() - 0.5).ceil()
        right = (step * angle.cos() - 0.5).ceil()
        smeared += weight * taken(images, rows + down.long(), columns + right.long())
    return (255 * smeared).round() / 255


def sample(images: Tensor, across: Tensor, down: Tensor, corners: bool) -> Tensor:
    """Bilinear values at places in pixels, (N, side, side) each, mirrored outside.

    Args:
        corners: mirrored at the middle of the border pixels, else at their outer edge.
    """
    side = images.shape[-1]
    places = torch.stack([across, down], -1)
    places = 2 * places / (side - 1) - 1 if corners else (2 * places + 1) / side - 1
    return F.grid_sample(images, places.float(), padding_mode="reflection", align_corners=corners)


def clouds(draws: Tensor, decay: float) -> Tensor:
    """Clouds from 0 to 1 by the diamond-square algorithm on a torus whose side is a power of two.

    Args:
        draws: (N, side * side - 1), uniform in [0, 1).
        decay: from step to step the height by which a point is moved falls by its square, as published.
    """
    side = math.isqrt(draws.shape[1] + 1)
    heights = draws.new_zeros(len(draws), side, side)
    for level in range(side.bit_length() - 1):
        cells = 2**level
        step = side // cells
        half = step // 2
        height = (100 / decay**level) ** 2
        number = 3 * cells**2
        waves = height * (2 * draws[:, :number] - 1)
        waves = waves.reshape(-1, 3, cells, cells)
        draws = draws[:, number:]
        corners = heights[:, ::step, ::step].clone()
        below = corners + corners.roll(-1, 1)
        right = corners + corners.roll(-1, 2)
        centres = (below + below.roll(-1, 2)) / 4 + waves[:, 0]
        heights[:, half::step, half::step] = centres
        above = centres + centres.roll(1, 1)
        heights[:, ::step, half::step] = (above + right) / 4 + waves[:, 1]
        left = centres + centres.roll(1, 2)
        heights[:, half::step, ::step] = (left + below) / 4 + waves[:, 2]
    heights -= heights.amin((1, 2), keepdim=True)
    highest = heights.amax((1, 2), keepdim=True)
    return heights / highest


def edges(levels: Tensor, weak: float = 50, strong: float = 150) -> Tensor:
    """Where layers (N, side, side) of 0 to 255 have edges, bool. Source: Canny (1986), as in OpenCV."""
    across = convolve(levels, SOBEL, "replicate")
    down = convolve(levels, SOBEL.T, "replicate")
    slope = across.abs() + down.abs()
    side = levels.shape[-1]
    around = F.pad(slope, (1,) * 4)

    def beside(right: int, below: int) -> Tensor:
        rows = around[:, 1 + below : 1 + below + side]
        return rows[:, :, 1 + right : 1 + right + side]

    flat = down.abs() < TAN_22 * across.abs()
    steep = down.abs() > (2 + TAN_22) * across.abs()
    falling = (slope > beside(-1, -1)) & (slope > beside(1, 1))
    rising = (slope > beside(1, -1)) & (slope > beside(-1, 1))
    upright = (slope > beside(0, -1)) & (slope >= beside(0, 1))
    level = (slope > beside(-1, 0)) & (slope >= beside(1, 0))
    thin = torch.where(across * down < 0, rising, falling)
    thin = torch.where(steep, upright, thin)
    thin = torch.where(flat, level, thin)
    possible = thin & (slope > weak)
    found = possible & (slope > strong)
    while True:  # weak edges that touch strong ones are edges
        reached = F.max_pool2d(found[:, None].float(), 3, 1, 1)
        grown = possible & (reached[:, 0] > 0)
        if grown.equal(found):
            return found
        found = grown


def distances(found: Tensor) -> Tensor:
    """Distance in pixels of every place to the nearest one found, (N, side, side) bool to float."""
    numbers = torch.arange(found.shape[-1], device=found.device)
    gaps = (numbers[:, None] - numbers) ** 2
    squares = torch.where(found, 0.0, FAR)
    along_columns = squares[:, None] + gaps[:, :, None]
    squares = along_columns.amin(2)
    along_rows = squares[:, :, None] + gaps
    return along_rows.amin(3).sqrt()


def equalise(levels: Tensor) -> Tensor:
    """Spread the levels of each layer, whole numbers to 255, evenly. Source: equalizeHist of OpenCV."""
    flat = levels.flatten(1).long()
    counts = torch.zeros(len(flat), 256, device=levels.device)
    counts.scatter_add_(1, flat, torch.ones_like(flat).float())
    lowest = counts.gather(1, flat.amin(1, keepdim=True))
    above = (counts.cumsum(1) - lowest).clamp(min=0)
    rest = flat.shape[1] - lowest
    spread = (255 / rest * above).round()
    equal = torch.where(rest > 0, spread.gather(1, flat), flat)
    return equal.reshape(levels.shape)
