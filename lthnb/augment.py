"""Augmentation of whole epochs, each image on its own draws; uint8 in, uint8 out, on the images' device.

Draws are made on the CPU in the order of the images, so that every device, round and control sees the same;
images are then grouped by operation. Several epochs may be made in one call, each by its own generator.
"""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from lthnb import operations as do

GROUP = {"cpu": 128}  # images an operation takes at once: temporaries stay in a processor's cache; else all
Operation = Callable[[Tensor, Tensor], Tensor]


class Draws:
    """Random numbers for the epochs of one call, one generator an epoch of ``number`` images."""

    def __init__(self, generators: list[torch.Generator], number: int) -> None:
        self.generators, self.number = generators, number

    def integers(self, high: int, rows: int = 1) -> Tensor:
        """(rows, images) whole numbers below ``high``."""
        shape = (rows, self.number)
        return torch.cat([torch.randint(0, high, shape, generator=each) for each in self.generators], 1)

    def shares(self, rows: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
        """(rows, images) numbers in [0, 1)."""
        shape = (rows, self.number)
        return torch.cat([torch.rand(shape, generator=each, dtype=dtype) for each in self.generators], 1)


def crop(images: Tensor, draws: Draws, padding: int) -> Tensor:
    """Pad (N, C, H, W) images with zeros and cut each back to its size at a uniform position."""
    height, width = images.shape[2:]
    top, left = draws.integers(2 * padding + 1, 2).to(images.device)
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (N, C, places, places, H, W), a view
    return windows[torch.arange(len(images), device=images.device), :, top, left]


def flip(images: Tensor, draws: Draws) -> Tensor:
    """Mirror about half of the images left to right."""
    coin = draws.shares(dtype=torch.float32)[0].to(images.device)
    return torch.where(coin[:, None, None, None] < 0.5, images.flip(-1), images)


def cutout(images: Tensor, draws: Draws, kind: str = "corrected") -> Tensor:
    """Fill a square of half the side with the image's mean colour.

    Its place is uniform among those inside the image. ``as_released`` follows the paper's code: the left edge
    equals the top edge, and the last row and column are never covered.
    """
    side = images.shape[-1]
    half = side // 2
    top, left = draws.integers(side - half + (kind == "corrected"), 2)[..., None]
    left = left if kind == "corrected" else top
    place = torch.arange(side)
    rows, columns = ((place >= edge) & (place < edge + half) for edge in (top, left))
    hole = (rows[:, None, :, None] & columns[:, None, None, :]).to(images.device)
    mean = images.float().mean((2, 3), keepdim=True).round().byte()
    return torch.where(hole, mean, images)


def by_operation(images: Tensor, codes: Tensor, values: Tensor, operations: list[Operation]) -> Tensor:
    """Give each image its operation: ``codes`` (N,) int64 and ``values`` (N,) float64 on the CPU."""
    out = images.clone()
    for code, operation in enumerate(operations):
        if operation is do.identity:
            continue
        found = (codes == code).nonzero().flatten()
        for chosen in found.split(GROUP.get(images.device.type, len(found))) if len(found) else ():
            where = chosen.to(images.device)
            out[where] = operation(images[where], values[chosen].to(images.device))
    return out


# fmt: off
RANDOM: list[tuple[Operation, float, float]] = [  # operation and the range of its value
    (do.identity, 0, 0), (do.autocontrast, 0, 0), (do.equalize, 0, 0), (do.rotate, -30, 30),
    (do.solarize, 0, 256), (do.color, 0.05, 0.95), (do.contrast, 0.05, 0.95), (do.brightness, 0.05, 0.95),
    (do.sharpness, 0.05, 0.95), (do.shear_x, -0.1, 0.1), (do.shear_y, -0.1, 0.1), (do.translate_x, -0.1, 0.1),
    (do.translate_y, -0.1, 0.1), (do.posterize, 4, 8),
]
AUTO: dict[str, tuple[Operation, float, float, bool]] = {  # values at magnitudes 0 and 9, with a sign?
    "identity": (do.identity, 0, 0, False), "shear_y": (do.shear_y_bicubic, 0, 0.3, True),
    "translate_x": (functools.partial(do.translate_x, fill=do.GREY), 0, 150 / 331, True),
    "translate_y": (functools.partial(do.translate_y, fill=do.GREY), 0, 150 / 331, True),
    "rotate": (functools.partial(do.rotate, fill=do.GREY), 0, 30, False), "color": (do.color, 0, 0.9, True),
    "posterize": (do.posterize, 8, 4, False), "solarize": (do.solarize, 256, 0, False),
    "contrast": (do.contrast, 0, 0.9, True), "sharpness": (do.sharpness, 0, 0.9, True),
    "brightness": (do.brightness, 0, 0.9, True), "autocontrast": (do.autocontrast, 0, 0, False),
    "equalize": (do.equalize, 0, 0, False), "invert": (do.invert, 0, 0, False),
}
# fmt: on


def random_operations(images: Tensor, draws: Draws, layers: int = 4) -> Tensor:
    """Apply ``layers`` of the 14 operations in turn, each drawn with replacement and with a uniform value.

    Source: Cubuk et al. (2020), as in the paper's code.
    """
    operations, low, high = zip(*RANDOM, strict=True)
    low, high = torch.tensor([low, high], dtype=torch.float64)
    for code, share in zip(draws.integers(len(RANDOM), layers), draws.shares(layers), strict=True):
        images = by_operation(images, code, low[code] + (high - low)[code] * share, list(operations))
    return images


ENHANCE = {"color", "contrast", "sharpness", "brightness"}  # their values are added to 1
POLICY = """
    invert .1 7 contrast .2 6, rotate .7 2 translate_x .3 9, sharpness .8 1 sharpness .9 3,
    shear_y .5 8 translate_y .7 9, autocontrast .5 8 equalize .9 2, shear_y .2 7 posterize .3 7,
    color .4 3 brightness .6 7, sharpness .3 9 brightness .7 9, equalize .6 5 equalize .5 1,
    contrast .6 7 sharpness .6 5, color .7 7 translate_x .5 8, equalize .3 7 autocontrast .4 8,
    translate_y .4 3 sharpness .2 6, brightness .9 6 color .2 8, solarize .5 2 invert .0 3,
    equalize .2 0 autocontrast .6 0, equalize .2 8 equalize .6 4, color .9 9 equalize .6 6,
    autocontrast .8 4 solarize .2 8, brightness .1 3 color .7 0, solarize .4 5 autocontrast .9 3,
    translate_y .9 9 translate_y .7 9, autocontrast .9 2 solarize .8 3, equalize .8 8 invert .1 3,
    translate_y .7 9 autocontrast .9 1
"""  # 25 pairs of operation, probability, magnitude


@functools.cache
def _policy() -> tuple[Tensor, Tensor, Tensor]:
    """Operation codes, probabilities and unsigned values of the policy, each (25, 2)."""
    words = POLICY.replace(",", " ").split()
    names, (_, low, high, _) = list(AUTO), zip(*AUTO.values(), strict=True)
    codes = torch.tensor([names.index(word) for word in words[::3]]).reshape(-1, 2)
    chances = torch.tensor([float(word) for word in words[1::3]]).reshape(-1, 2)
    magnitudes = torch.tensor([int(word) for word in words[2::3]]).reshape(-1, 2)
    low, high = torch.tensor([low, high], dtype=torch.float64)
    values = low[codes] + (high - low)[codes] * magnitudes / 9
    return codes, chances, torch.where(codes == names.index("posterize"), values.round(), values)


def auto_policy(images: Tensor, draws: Draws) -> Tensor:
    """Apply one of CIFAR-10's 25 sub-policies: two operations, each with a probability and a magnitude.

    Source: Cubuk et al. (2019), table 7; grey fill, bicubic shear, float translations as in the paper's code.
    """
    codes, chances, values = _policy()
    signed = torch.tensor([sign for _, _, _, sign in AUTO.values()])
    enhancing = torch.tensor([name in ENHANCE for name in AUTO])
    pick = draws.integers(len(codes))[0]
    for layer, (share, coin) in enumerate(zip(draws.shares(2), draws.shares(2), strict=True)):
        code = codes[pick, layer]
        sign = torch.where(signed[code] & (coin < 0.5), -1.0, 1.0)
        value = values[pick, layer] * sign + enhancing[code].double()
        code = torch.where(share < chances[pick, layer], code, 0)
        images = by_operation(images, code, value, [operation for operation, *_ in AUTO.values()])
    return images


def colour_jitter(images: Tensor, draws: Draws) -> Tensor:
    """Change brightness, contrast, saturation (0.4) and hue (0.1) in random order; make grey.

    Source: Chen et al. (2020), appendix A.
    """
    order, share, (jitters, greys) = draws.shares(4).argsort(0), draws.shares(4), draws.shares(2)
    value = torch.cat([0.6 + 0.8 * share[:3], 0.2 * share[3:] - 0.1])
    operations = [do.brightness, do.contrast, do.color, do.hue, do.identity]
    for code in order:
        chosen = value.gather(0, code[None])[0]
        images = by_operation(images, torch.where(jitters < 0.8, code, 4), chosen, operations)
    return by_operation(images, (greys < 0.2).long(), greys, [do.identity, lambda part, _: do.grey(part)])


POLICIES = {"base": None, "contrast": colour_jitter, "rand": random_operations, "auto": auto_policy}


def augment(images: Tensor, name: str, generators: list[torch.Generator], kind: str = "corrected") -> Tensor:
    """Return (epochs, N, C, H, W) augmented images, channels last, one epoch per generator.

    ``none``, or ``base`` (crop with padding side/8, flip) then ``contrast``, ``rand`` or ``auto``, then
    ``+cutout`` of a ``kind``.
    """
    epochs, number = len(generators), len(images)
    if name == "none":
        return images.expand(epochs, *images.shape)
    draws = Draws(generators, number)
    policy, _, hole = name.partition("+")
    images = flip(crop(images.repeat(epochs, 1, 1, 1), draws, images.shape[-1] // 8), draws)
    if POLICIES[policy]:
        images = POLICIES[policy](images.contiguous(), draws)
    if hole:
        images = cutout(images, draws, kind)
    return images.contiguous(memory_format=torch.channels_last).unflatten(0, (epochs, number))
