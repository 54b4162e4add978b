"""Augmentation of whole epochs, each image on its own draws; uint8 in, uint8 out, on the images' device.

Draws are made on the CPU in the order of the images, so that every device, round and control sees the same;
images are then grouped by operation. Several epochs may be made in one call, each by its own generator.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from lthnb.training import pillow_ops as do

GROUP = {"cpu": 128}  # images an operation takes at once: temporaries stay in a processor's cache; else all
Operation = Callable[[Tensor, Tensor], Tensor]  # (images, their values) -> images


@dataclass(frozen=True)
class Draws:
    """Random numbers for the epochs of one call, one generator an epoch of ``number`` images."""

    generators: list[torch.Generator]
    number: int

    def integers(self, high: int, rows: int = 1) -> Tensor:
        """(rows, images) whole numbers below ``high``, int64."""
        shape = (rows, self.number)
        epochs = [torch.randint(0, high, shape, generator=generator) for generator in self.generators]
        return torch.cat(epochs, dim=1)

    def shares(self, rows: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
        """(rows, images) numbers in [0, 1)."""
        shape = (rows, self.number)
        epochs = [torch.rand(shape, generator=generator, dtype=dtype) for generator in self.generators]
        return torch.cat(epochs, dim=1)


def augment(images: Tensor, name: str, generators: list[torch.Generator], kind: str = "corrected") -> Tensor:
    """Return (epochs, N, C, H, W) augmented images, channels last, one epoch per generator.

    ``name`` is one of ``AUGMENTATIONS``, ``kind`` that of the cutout.
    """
    epochs = len(generators)
    number = len(images)
    if name == "none":
        return images.expand(epochs, *images.shape)
    draws = Draws(generators, number)
    out = images.repeat(epochs, 1, 1, 1)
    for step in AUGMENTATIONS[name]:
        out = cutout(out, draws, kind) if step is cutout else step(out, draws)
    return out.contiguous(memory_format=torch.channels_last).unflatten(0, (epochs, number))


def crop(images: Tensor, draws: Draws) -> Tensor:
    """Pad by an eighth of the side with zeros and cut each image back to its size at a uniform position."""
    height, width = images.shape[2:]
    padding = width // 8
    top, left = draws.integers(2 * padding + 1, rows=2).to(images.device)
    padded = pad(images, (padding,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (N, C, tops, lefts, H, W), a view
    image = torch.arange(len(images), device=images.device)
    return windows[image, :, top, left]


def flip(images: Tensor, draws: Draws) -> Tensor:
    """Mirror about half of the images left to right."""
    coin = draws.shares(dtype=torch.float32)[0].to(images.device)
    return torch.where(do.per_image(coin < 0.5), images.flip(-1), images).contiguous()


def cutout(images: Tensor, draws: Draws, kind: str = "corrected") -> Tensor:
    """Fill a square of half the side with the image's mean colour.

    Its position is uniform among those inside the image. ``as_released`` follows the paper's code: the left
    edge equals the top edge, and the last row and column are never covered.
    """
    side = images.shape[-1]
    half = side // 2
    top, left = draws.integers(side - half + (kind == "corrected"), rows=2).to(images.device)
    if kind == "as_released":
        left = top
    position = torch.arange(side, device=images.device)

    def covered(edge: Tensor) -> Tensor:
        offset = position - edge[:, None]
        return (offset >= 0) & (offset < half)

    hole = covered(top)[:, None, :, None] & covered(left)[:, None, None, :]
    mean = images.float().mean((2, 3), keepdim=True).round().byte()
    return torch.where(hole, mean, images)


def by_operation(images: Tensor, codes: Tensor, values: Tensor, operations: list[Operation]) -> Tensor:
    """Give each image its operation: ``codes`` (N,) int64 and ``values`` (N,) float64 on the CPU."""
    out = images.clone()
    device = images.device
    for code, operation in enumerate(operations):
        chosen = (codes == code).nonzero().flatten()
        if operation is do.identity or len(chosen) == 0:
            continue
        for group in chosen.split(GROUP.get(device.type, len(chosen))):
            rows = group.to(device)
            out[rows] = operation(images[rows], values[group].to(device))
    return out


@dataclass(frozen=True)
class Ranged:
    """An operation and the range of its value: drawn evenly from it, or by a magnitude from 0 to 9."""

    operation: Operation
    low: float = 0.0
    high: float = 0.0
    signed: bool = False  # half of the values are turned negative
    neutral: float = 0.0  # added to the signed value


RANDOM = [  # drawn evenly
    Ranged(do.identity),
    Ranged(do.autocontrast),
    Ranged(do.equalize),
    Ranged(do.rotate, -30, 30),
    Ranged(do.solarize, 0, 256),
    Ranged(do.color, 0.05, 0.95),
    Ranged(do.contrast, 0.05, 0.95),
    Ranged(do.brightness, 0.05, 0.95),
    Ranged(do.sharpness, 0.05, 0.95),
    Ranged(do.shear_x, -0.1, 0.1),
    Ranged(do.shear_y, -0.1, 0.1),
    Ranged(do.translate_x, -0.1, 0.1),
    Ranged(do.translate_y, -0.1, 0.1),
    Ranged(do.posterize, 4, 8),
]


def random_operations(images: Tensor, draws: Draws) -> Tensor:
    """Apply four of the 14 operations in turn, each drawn with replacement and with a uniform value.

    Source: Cubuk et al. (2020), as in the paper's code.
    """
    operations = [entry.operation for entry in RANDOM]
    ranges = torch.tensor([(entry.low, entry.high) for entry in RANDOM], dtype=torch.float64)
    low, high = ranges.unbind(1)
    codes = draws.integers(len(RANDOM), rows=4)
    shares = draws.shares(rows=4)
    for code, share in zip(codes, shares, strict=True):
        value = low[code] + (high - low)[code] * share
        images = by_operation(images, code, value, operations)
    return images


AUTO = {  # from magnitude 0 to 9
    "identity": Ranged(do.identity),
    "shear_y": Ranged(do.shear_y_bicubic, 0, 0.3, signed=True),
    "translate_x": Ranged(functools.partial(do.translate_x, fill=do.GREY), 0, 150 / 331, signed=True),
    "translate_y": Ranged(functools.partial(do.translate_y, fill=do.GREY), 0, 150 / 331, signed=True),
    "rotate": Ranged(functools.partial(do.rotate, fill=do.GREY), 0, 30),
    "color": Ranged(do.color, 0, 0.9, signed=True, neutral=1),
    "posterize": Ranged(do.posterize, 8, 4),
    "solarize": Ranged(do.solarize, 256, 0),
    "contrast": Ranged(do.contrast, 0, 0.9, signed=True, neutral=1),
    "sharpness": Ranged(do.sharpness, 0, 0.9, signed=True, neutral=1),
    "brightness": Ranged(do.brightness, 0, 0.9, signed=True, neutral=1),
    "autocontrast": Ranged(do.autocontrast),
    "equalize": Ranged(do.equalize),
    "invert": Ranged(do.invert),
}
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
def policy() -> tuple[Tensor, Tensor, Tensor]:
    """Operation codes, probabilities and unsigned values of ``POLICY``, each (25, 2)."""
    names = list(AUTO)
    words = iter(POLICY.replace(",", " ").split())
    rows = []
    for name, chance, magnitude in zip(words, words, words, strict=True):
        entry = AUTO[name]
        span = entry.high - entry.low
        value = entry.low + span * int(magnitude) / 9
        if name == "posterize":
            value = round(value)
        rows.append((names.index(name), float(chance), value))
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 2, 3)
    codes, chances, values = table.unbind(2)
    return codes.long(), chances.float(), values


def auto_policy(images: Tensor, draws: Draws) -> Tensor:
    """Apply one of CIFAR-10's 25 sub-policies: two operations, each with a probability and a magnitude.

    Source: Cubuk et al. (2019), table 7; grey fill, bicubic shear, float translations as in the paper's code.
    """
    codes, chances, values = policy()
    operations = [entry.operation for entry in AUTO.values()]
    signed = torch.tensor([entry.signed for entry in AUTO.values()])
    neutral = torch.tensor([entry.neutral for entry in AUTO.values()], dtype=torch.float64)
    pair = draws.integers(len(codes))[0]
    shares = draws.shares(2)
    coins = draws.shares(2)
    for layer in (0, 1):
        code = codes[pair, layer]
        sign = torch.where(signed[code] & (coins[layer] < 0.5), -1.0, 1.0)
        value = values[pair, layer] * sign + neutral[code]
        applied = torch.where(shares[layer] < chances[pair, layer], code, 0)  # 0: identity
        images = by_operation(images, applied, value, operations)
    return images


def colour_jitter(images: Tensor, draws: Draws) -> Tensor:
    """Change brightness, contrast, saturation (0.4) and hue (0.1) in random order; make grey.

    Source: Chen et al. (2020), appendix A.
    """
    order = draws.shares(4).argsort(0)
    share = draws.shares(4)
    jitters, greys = draws.shares(2)
    values = torch.cat([0.6 + 0.8 * share[:3], 0.2 * share[3:] - 0.1])
    operations = [do.brightness, do.contrast, do.color, do.hue, do.identity]
    for code in order:
        value = values.gather(0, code[None])[0]
        applied = torch.where(jitters < 0.8, code, 4)  # 4: identity
        images = by_operation(images, applied, value, operations)
    return by_operation(images, (greys < 0.2).long(), greys, [do.identity, do.grey])


Step = Callable[[Tensor, Draws], Tensor]  # (images of all epochs, draws) -> images
AUGMENTATIONS: dict[str, tuple[Step, ...]] = {
    "none": (),
    "base": (crop, flip),
    "contrast": (crop, flip, colour_jitter),
    "rand": (crop, flip, random_operations),
    "auto": (crop, flip, auto_policy),
    "base+cutout": (crop, flip, cutout),
    "rand+cutout": (crop, flip, random_operations, cutout),
    "auto+cutout": (crop, flip, auto_policy, cutout),
}
