"""Image operations on whole batches, every image by a value of its own, bit-equal to Pillow's results.

Images are (N, C, H, W) uint8, values (N,) float64 on the same device. Arithmetic is Pillow's: float32 blends
that truncate, 16.16 fixed-point sampling, float64 tables. Source: what Pillow 13 does (``tests/pillow.py``).
"""

import torch
from torch import Tensor

GREY = 128  # what AutoAugment's code fills uncovered pixels with


def _each(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def blend(low: Tensor, high: Tensor, factor: Tensor) -> Tensor:
    """``low + factor * (high - low)``, truncated and clamped."""
    base = low.float()
    return (high - base).mul_(_each(factor.float())).add_(base).clamp_(0, 255).byte()


def luma(images: Tensor) -> Tensor:
    """(N, 1, H, W) brightness as Pillow's mode L; a grey image is its own."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.int().unbind(1)
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).byte()[:, None]


def grey(images: Tensor) -> Tensor:
    """Every channel becomes the brightness."""
    return luma(images).expand_as(images)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    return (_each(factor.float()) * images.float()).clamp_(0, 255).byte()


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    mean = (luma(images).double().mean((1, 2, 3)) + 0.5).floor()
    return blend(_each(mean), images, factor)


def color(images: Tensor, factor: Tensor) -> Tensor:
    return blend(luma(images), images, factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with a 3x3 smoothing whose border is the image's own."""
    smooth = images.float()
    rows = smooth[:, :, :-2] + smooth[:, :, 1:-1] + smooth[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * smooth[:, :, 1:-1, 1:-1]
    smooth[:, :, 1:-1, 1:-1] = total.mul_(2).add_(13).div_(26).floor_()  # thirteenths, rounded half up
    return blend(smooth, images, factor)


def invert(images: Tensor, _: Tensor) -> Tensor:
    return 255 - images


def identity(images: Tensor, _: Tensor) -> Tensor:
    return images


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert every pixel that is not below the threshold."""
    return torch.where(images < _each(threshold.ceil().short()), images, 255 - images)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    mask = 256 - 2 ** (8 - bits.long())
    return images & _each(mask.byte())


def autocontrast(images: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel from its darkest to its brightest pixel."""
    low, high = images.amin((2, 3), keepdim=True).double(), images.amax((2, 3), keepdim=True).double()
    scale = torch.where(high > low, torch.full_like(low, 255.0) / (high - low).clamp_(min=1), 1.0)
    offset = torch.where(high > low, -low * scale, 0.0)
    return (images.double() * scale + offset).clamp_(0, 255).byte()


def equalize(images: Tensor, _: Tensor) -> Tensor:
    """Flatten the histogram of each channel."""
    pixels = images.flatten(0, 1).flatten(1)
    rows, area = pixels.shape
    flat = pixels.int() + 256 * torch.arange(rows, dtype=torch.int32, device=images.device)[:, None]
    counts = torch.bincount(flat.flatten(), minlength=256 * rows).reshape(rows, 256)
    step = (area - counts.gather(1, pixels.amax(1, keepdim=True).long())) // 255
    before = counts.cumsum(1) - counts
    table = ((step // 2 + before) // step.clamp(min=1)).clamp_(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=images.device))
    return table.byte().flatten()[flat].reshape(images.shape)


def _sample(images: Tensor, rows: Tensor, columns: Tensor, fill: int) -> Tensor:
    """Take pixel (rows, columns), each (N, H, W); ``fill`` where that lies outside."""
    height, width = images.shape[2:]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    index = torch.where(inside, rows * width + columns, height * width).long()[:, None].expand_as(images)
    padded = torch.nn.functional.pad(images.flatten(2), (0, 1), value=fill)
    return padded.gather(2, index.flatten(2)).reshape(images.shape)


def _affine(images: Tensor, matrix: tuple[Tensor, ...], fill: int) -> Tensor:
    """Nearest pixel of an affine map, six times (N,) float64, in 16.16 fixed point as Pillow computes it."""
    height, width = images.shape[2:]
    a, b, c, d, e, f = matrix
    y = torch.arange(height, dtype=torch.int32, device=images.device)[:, None]
    x = torch.arange(width, dtype=torch.int32, device=images.device)

    def line(start: Tensor, across: Tensor, down: Tensor) -> Tensor:
        values = torch.stack([start + across * 0.5 + down * 0.5, across, down])[..., None, None]
        begin, over, under = (values * 65536 + 0.5).floor().int()
        return (begin + over * x + under * y) >> 16

    return _sample(images, line(f, d, e), line(c, a, b), fill)


def rotate(images: Tensor, degrees: Tensor, fill: int = 0) -> Tensor:
    """Turn counter-clockwise about the centre."""
    y, x = (side / 2 for side in images.shape[2:])
    angle = -torch.deg2rad(torch.remainder(degrees, 360))
    cosine, sine = (torch.round(value, decimals=15) for value in (angle.cos(), angle.sin()))
    across, down = cosine * -x + sine * -y + 0.0 + x, -sine * -x + cosine * -y + 0.0 + y
    turned = _affine(images, (cosine, sine, across, -sine, cosine, down), fill)
    return torch.where(_each(degrees == 0), images, turned)


def shear_x(images: Tensor, value: Tensor) -> Tensor:
    one, zero = torch.ones_like(value), torch.zeros_like(value)
    return _affine(images, (one, value, zero, zero, one, zero), 0)


def shear_y(images: Tensor, value: Tensor) -> Tensor:
    return shear_x(images.transpose(2, 3), value).transpose(2, 3)


def translate_x(images: Tensor, share: Tensor, fill: int = 0) -> Tensor:
    """Move left by a share of the width; pixels are picked at x + share * width + 0.5, truncated."""
    width = images.shape[3]
    place = (torch.arange(width, device=images.device) + (share * width + 0.5)[:, None])[:, None, None, :]
    columns = place.trunc().long().clamp_(0, width - 1).expand(images.shape)
    return torch.where((place >= 0) & (place < width), images.gather(3, columns), fill)


def translate_y(images: Tensor, share: Tensor, fill: int = 0) -> Tensor:
    return translate_x(images.transpose(2, 3), share, fill).transpose(2, 3)


def shear_x_bicubic(images: Tensor, value: Tensor, fill: int = GREY) -> Tensor:
    """Shear along rows by cubic interpolation of four pixels, in float64; the border pixel repeats."""
    height, width = images.shape[2:]
    y = torch.arange(height, dtype=torch.float64, device=images.device)[:, None] + 0.5
    place = torch.arange(width, dtype=torch.float64, device=images.device) + 0.5 + _each(value)[:, 0] * y
    inside = (place >= 0) & (place < width)
    place = place - 0.5
    whole = place.floor()
    d = (place - whole)[:, None]
    columns = ((whole.long() + shift).clamp_(0, width - 1)[:, None] for shift in (-1, 0, 1, 2))
    v1, v2, v3, v4 = (images.gather(3, column.expand_as(images)).double() for column in columns)
    cubic = v2 + d * ((v3 - v1) + d * (2 * (v1 - v2) + v3 - v4 + d * (-v1 + v2 - v3 + v4)))
    return torch.where(inside[:, None], cubic.clamp_(0, 255).byte(), fill)


def shear_y_bicubic(images: Tensor, value: Tensor, fill: int = GREY) -> Tensor:
    return shear_x_bicubic(images.transpose(2, 3), value, fill).transpose(2, 3)


def hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue by a share of the circle, through Pillow's 8-bit HSV."""
    if images.shape[1] == 1:
        return images
    high, low = images.amax(1).float(), images.amin(1).float()
    r, g, b = ((high[:, None] - images) / (high - low).clamp(min=1)[:, None]).double().unbind(1)
    side = torch.where(g == 0, 2.0 + r - b, 4.0 + g - r)  # from the brightest channel, which is 0 here
    side = torch.where(r == 0, b - g, side).float().double()
    h = (torch.fmod(side / 6.0 + 1.0, 1.0).float().double() * 255.0).long()
    s = ((high - low) / high.clamp(min=1)).double().mul(255.0).long()
    h = (h + (turn * 255).trunc().long()[:, None, None]) % 256
    return _rgb(h, s, high.long())


def _rgb(h: Tensor, s: Tensor, v: Tensor) -> Tensor:
    """Pillow's 8-bit HSV, each (N, H, W), back to (N, 3, H, W) uint8."""
    turn = h.double() * 6.0 / 255.0
    part = (turn - turn.floor()).float().double()
    share, value = (s.double() / 255.0).float().double(), v.double()

    def rounded(fraction: Tensor) -> Tensor:
        return (value * fraction + 0.5).floor().clamp_(0, 255).long()

    p, q, t = rounded(1.0 - share), rounded(1.0 - share * part), rounded(1.0 - share * (1.0 - part))
    sixths = torch.stack([v, q, p, p, t, v])  # of red; green and blue follow it by a third of the circle
    places = ((turn.long() - third) % 6 for third in (0, 2, 4))
    return torch.cat([sixths.gather(0, place[None]) for place in places]).transpose(0, 1).byte()
