"""Image operations on whole batches, every image by a value of its own, bit-equal to Pillow's results.

Images are (N, C, H, W) uint8, values (N,) float64 on the same device; results have the form of the images.
Arithmetic is Pillow's: float32 blends that truncate, 16.16 fixed-point sampling, float64 tables. To write a
formula in another order is to lose bits. Source: what Pillow 13 does (``tests/helpers/pillow.py``).
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

GREY = 128  # what AutoAugment's code fills uncovered pixels with
FIXED = 65536  # one, in 16.16 fixed point
Line = tuple[Tensor, Tensor, Tensor]  # three times (N,): across, down, start of a source coordinate


def per_image(values: Tensor) -> Tensor:
    """(N,) values as (N, 1, 1, 1), one for all pixels of an image."""
    return values[:, None, None, None]


def blend(low: Tensor, high: Tensor, factor: Tensor) -> Tensor:
    """``low + factor * (high - low)``, truncated and clamped."""
    base = low.float()
    share = per_image(factor.float())
    return (high - base).mul_(share).add_(base).clamp_(0, 255).byte()


def luma(images: Tensor) -> Tensor:
    """(N, 1, H, W) brightness as Pillow's mode L; a grey image is its own."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.int().unbind(1)
    weighted = 19595 * red + 38470 * green + 7471 * blue
    return ((weighted + FIXED // 2) >> 16).byte()[:, None]


def identity(images: Tensor, _: Tensor) -> Tensor:
    return images


def invert(images: Tensor, _: Tensor) -> Tensor:
    return 255 - images


def grey(images: Tensor, _: Tensor) -> Tensor:
    """Every channel becomes the brightness."""
    return luma(images).expand_as(images)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    share = per_image(factor.float())
    return (share * images.float()).clamp_(0, 255).byte()


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the mean brightness, a whole number."""
    mean = luma(images).double().mean((1, 2, 3))
    rounded = (mean + 0.5).floor()
    return blend(per_image(rounded), images, factor)


def color(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the brightness of each pixel."""
    return blend(luma(images), images, factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with a 3x3 smoothing whose border is the image's own."""
    smooth = images.float()
    inner = smooth[:, :, 1:-1, 1:-1]  # a view
    rows = smooth[:, :, :-2] + smooth[:, :, 1:-1] + smooth[:, :, 2:]
    nine = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    total = nine + 4 * inner
    inner.copy_(total.mul_(2).add_(13).div_(26).floor_())  # thirteenths, rounded half up
    return blend(smooth, images, factor)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert every pixel that is not below the threshold."""
    limit = per_image(threshold.ceil().short())
    return torch.where(images < limit, images, 255 - images)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the upper bits of every value."""
    mask = 256 - 2 ** (8 - bits.long())
    return images & per_image(mask.byte())


def autocontrast(images: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel from its darkest to its brightest pixel."""
    low = images.amin((2, 3), keepdim=True).double()
    high = images.amax((2, 3), keepdim=True).double()
    uneven = high > low  # a channel of one colour stays as it is
    full = torch.full_like(low, 255.0)  # a plain 255.0 would be multiplied by a reciprocal, one bit off
    scale = torch.where(uneven, full / (high - low).clamp_(min=1), 1.0)
    offset = torch.where(uneven, -low * scale, 0.0)
    return (images.double() * scale + offset).clamp_(0, 255).byte()


def equalize(images: Tensor, _: Tensor) -> Tensor:
    """Flatten the histogram of each channel."""
    pixels = images.flatten(0, 1).flatten(1)  # (channels of all images, H * W)
    rows, area = pixels.shape
    row = torch.arange(rows, dtype=torch.int32, device=images.device)
    bins = pixels.int() + 256 * row[:, None]  # each channel counts into 256 bins of its own
    counts = torch.bincount(bins.flatten(), minlength=256 * rows).reshape(rows, 256)
    brightest = counts.gather(1, pixels.amax(1, keepdim=True).long())
    step = (area - brightest) // 255
    darker = counts.cumsum(1) - counts
    table = ((step // 2 + darker) // step.clamp(min=1)).clamp_(max=255)
    unchanged = torch.arange(256, device=images.device)
    table = torch.where(step > 0, table, unchanged)
    return table.byte().flatten()[bins].reshape(images.shape)


def _affine(images: Tensor, column: Line, row: Line, fill: int) -> Tensor:
    """Nearest pixel of an affine map, in 16.16 fixed point as Pillow computes it; outside it is ``fill``.

    ``column`` and ``row`` say where the pixel at (x, y) comes from: across * x + down * y + start, each.
    """
    height, width = images.shape[2:]
    y = torch.arange(height, dtype=torch.int32, device=images.device)[:, None]
    x = torch.arange(width, dtype=torch.int32, device=images.device)

    def source(line: Line) -> Tensor:
        across, down, start = line
        middle = start + across * 0.5 + down * 0.5  # of the first pixel
        exact = torch.stack([middle, across, down])[..., None, None]
        fixed = (exact * FIXED + 0.5).floor().int()
        return (fixed[0] + fixed[1] * x + fixed[2] * y) >> 16

    rows = source(row)
    columns = source(column)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    padded = pad(images.flatten(2), (0, 1), value=fill)  # one pixel more, for all that lie outside
    index = torch.where(inside, rows * width + columns, height * width).long()
    every_channel = index[:, None].expand_as(images).flatten(2)
    return padded.gather(2, every_channel).reshape(images.shape)


def rotate(images: Tensor, degrees: Tensor, fill: int = 0) -> Tensor:
    """Turn counter-clockwise about the centre."""
    height, width = images.shape[2:]
    y = height / 2
    x = width / 2
    angle = -torch.deg2rad(torch.remainder(degrees, 360))
    cosine = torch.round(angle.cos(), decimals=15)
    sine = torch.round(angle.sin(), decimals=15)
    column = (cosine, sine, cosine * -x + sine * -y + x)
    row = (-sine, cosine, -sine * -x + cosine * -y + y)
    turned = _affine(images, column, row, fill)
    return torch.where(per_image(degrees == 0), images, turned)


def shear_x(images: Tensor, value: Tensor) -> Tensor:
    """Move each row by ``value`` times its distance from the top."""
    one = torch.ones_like(value)
    zero = torch.zeros_like(value)
    return _affine(images, (one, value, zero), (zero, one, zero), fill=0)


def shear_y(images: Tensor, value: Tensor) -> Tensor:
    return shear_x(images.transpose(2, 3), value).transpose(2, 3)


def translate_x(images: Tensor, share: Tensor, fill: int = 0) -> Tensor:
    """Move left by a share of the width; pixels are picked at x + share * width + 0.5, truncated."""
    width = images.shape[3]
    x = torch.arange(width, device=images.device)
    shift = share * width + 0.5
    source = (x + shift[:, None])[:, None, None, :]
    inside = (source >= 0) & (source < width)
    columns = source.trunc().long().clamp_(0, width - 1)
    moved = images.gather(3, columns.expand(images.shape))
    return torch.where(inside, moved, fill)


def translate_y(images: Tensor, share: Tensor, fill: int = 0) -> Tensor:
    return translate_x(images.transpose(2, 3), share, fill).transpose(2, 3)


def shear_x_bicubic(images: Tensor, value: Tensor, fill: int = GREY) -> Tensor:
    """Shear along rows by cubic interpolation of four pixels, in float64; the border pixel repeats."""
    height, width = images.shape[2:]
    y = torch.arange(height, dtype=torch.float64, device=images.device)[:, None] + 0.5
    x = torch.arange(width, dtype=torch.float64, device=images.device) + 0.5
    source = x + value[:, None, None] * y  # (N, H, W), in pixels from the left edge
    inside = (source >= 0) & (source < width)
    source = source - 0.5  # from the middle of the first pixel
    whole = source.floor()
    d = (source - whole)[:, None]

    def neighbour(shift: int) -> Tensor:
        column = (whole.long() + shift).clamp_(0, width - 1)[:, None]
        return images.gather(3, column.expand_as(images)).double()

    v1, v2, v3, v4 = (neighbour(shift) for shift in (-1, 0, 1, 2))
    cubic = v2 + d * ((v3 - v1) + d * (2 * (v1 - v2) + v3 - v4 + d * (-v1 + v2 - v3 + v4)))
    return torch.where(inside[:, None], cubic.clamp_(0, 255).byte(), fill)


def shear_y_bicubic(images: Tensor, value: Tensor, fill: int = GREY) -> Tensor:
    return shear_x_bicubic(images.transpose(2, 3), value, fill).transpose(2, 3)


def hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue by a share of the circle, through Pillow's 8-bit HSV; a grey image has none."""
    if images.shape[1] == 1:
        return images
    high = images.amax(1).float()
    span = high - images.amin(1).float()
    below = (high[:, None] - images) / span.clamp(min=1)[:, None]  # in C's float, as all that is cut to it
    red, green, blue = below.double().unbind(1)
    # sixths of the circle from the brightest channel, the one that is 0 below the highest
    sixths = torch.where(green == 0, 2.0 + red - blue, 4.0 + green - red)
    sixths = torch.where(red == 0, blue - green, sixths).float().double()
    circle = torch.fmod(sixths / 6.0 + 1.0, 1.0).float().double()
    hues = (circle * 255.0).long() + (turn * 255).trunc().long()[:, None, None]
    saturation = (span / high.clamp(min=1)).double().mul(255.0).long()
    return _rgb(hues % 256, saturation, high.long())


def _rgb(hues: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Pillow's 8-bit HSV, each (N, H, W) int64, back to (N, 3, H, W) uint8."""
    turn = hues.double() * 6.0 / 255.0
    part = (turn - turn.floor()).float().double()
    share = (saturation.double() / 255.0).float().double()
    bright = value.double()

    def rounded(fraction: Tensor) -> Tensor:
        return (bright * fraction + 0.5).floor().clamp_(0, 255).long()

    p = rounded(1.0 - share)
    q = rounded(1.0 - share * part)
    t = rounded(1.0 - share * (1.0 - part))
    red_by_sixth = torch.stack([value, q, p, p, t, value])
    # green and blue follow red by a third of the circle
    sixths = [(turn.long() - third) % 6 for third in (0, 2, 4)]
    channels = [red_by_sixth.gather(0, sixth[None]) for sixth in sixths]
    return torch.cat(channels).transpose(0, 1).byte()
