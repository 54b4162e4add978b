"""The 19 corruptions of CIFAR-10-C, one picture at a time, as its makers would write them today.

Every function takes ``(picture, constant, generator)``: the picture (H, W, 3) uint8, one entry of
``CONSTANTS``, and the generator of this picture and kind. Values are doubles in [0, 1] until they are stored,
and storing truncates. What scikit-image, OpenCV and ImageMagick did there is written out here.

Source: make_cifar_c.py in github.com/hendrycks/robustness (Hendrycks & Dietterich 2019). What differs: draws
(torch's, in a fixed order), textures of ``frost`` (ours), exact distances in ``spatter`` (OpenCV's 5x5 mask
is a little off), exact positions in ``elastic_transform`` (OpenCV rounds them to 1/32 pixel).
"""

import colorsys
import io
import math
import zlib

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

CONSTANTS = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),  # standard deviation
    "shot_noise": (500, 250, 100, 75, 50),  # photons of a white pixel
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),  # share of values
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),  # radius, blur of the disk
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),  # sigma, reach, times
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),  # radius, sigma
    "zoom_blur": (1.06, 1.11, 1.16, 1.21, 1.26),  # where the factors stop, from 1 in steps of 0.01
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "elastic_transform": (  # fractions of the side
        (0, 0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    ),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
    "jpeg_compression": (80, 65, 58, 50, 40),
    "speckle_noise": (0.06, 0.1, 0.12, 0.16, 0.2),
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1),
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
}


def corrupt(images, kind, severity, seed=0):
    """Images (N, 3, H, W) uint8 as ``kind`` of ``severity`` 1 ... 5 leaves them, one after the other."""
    constant, results = CONSTANTS[kind][severity - 1], []
    for image in images:
        content = image.numpy().tobytes()
        generator = torch.Generator().manual_seed(zlib.crc32(content, zlib.crc32(f"{seed}/{kind}".encode())))
        picture = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
        results.append(torch.from_numpy(PLAIN[kind](picture, constant, generator)).permute(2, 0, 1))
    return torch.stack(results)


def stored(values):
    """Values in [0, 1] as bytes: clipped, times 255, truncated."""
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def normal(generator, *shape):
    return torch.randn(math.prod(shape), generator=generator).numpy().astype(np.float64).reshape(shape)


def uniform(generator, *shape):
    return torch.rand(math.prod(shape), generator=generator).numpy().astype(np.float64).reshape(shape)


# Noise: one draw a value, channel after channel.


def gaussian_noise(picture, deviation, generator):
    noise = normal(generator, 3, *picture.shape[:2]).transpose(1, 2, 0)
    return stored(picture / 255 + deviation * noise)


def shot_noise(picture, photons, generator):
    rate = torch.from_numpy(picture).permute(2, 0, 1).contiguous().float() / 255 * photons
    counts = torch.poisson(rate, generator=generator).numpy().astype(np.float64).transpose(1, 2, 0)
    return stored(counts / photons)


def impulse_noise(picture, share, generator):
    draw = uniform(generator, 3, *picture.shape[:2]).transpose(1, 2, 0)
    result = picture.copy()
    result[draw < share / 2] = 255
    result[(draw >= share / 2) & (draw < share)] = 0
    return result


def speckle_noise(picture, deviation, generator):
    noise = normal(generator, 3, *picture.shape[:2]).transpose(1, 2, 0)
    return stored(picture / 255 * (1 + deviation * noise))


# Blur


def blurred(values, sigma, **options):
    """``skimage.filters.gaussian``: over rows and columns alone, the border replicated unless told."""
    sigmas = (sigma, sigma, 0)[: values.ndim]
    return ndimage.gaussian_filter(values, sigmas, **{"mode": "nearest", "truncate": 4} | options)


def filtered(values, kernel):
    """``cv2.filter2D`` of each channel: a correlation, the border mirrored at the outermost pixels."""
    if values.ndim == 3:
        return np.stack([filtered(values[..., channel], kernel) for channel in range(3)], -1)
    return ndimage.correlate(values, kernel, mode="mirror")


def gaussian_blur(picture, sigma, generator):
    return stored(blurred(picture / 255, sigma))


def disk(radius, alias_blur):
    """A disk of weights (17, 17), its rim softened by a Gaussian of three taps (``cv2.GaussianBlur``)."""
    down, across = np.mgrid[-8:9, -8:9]
    inside = (down**2 + across**2 <= radius**2).astype(np.float64)
    side = math.exp(-1 / (2 * alias_blur**2))
    taps = np.array([side, 1, side]) / (1 + 2 * side)
    return filtered(inside / inside.sum(), np.outer(taps, taps))


def defocus_blur(picture, constant, generator):
    return stored(filtered(picture / 255, disk(*constant)))


def glass_blur(picture, constant, generator):
    sigma, reach, times = constant
    assert reach == 1
    height, width = picture.shape[:2]
    draw = uniform(generator, times, 2, height, width)
    pixels = stored(blurred(picture / 255, sigma))
    for time in range(times):
        for row in range(height - 1, 1, -1):
            for column in range(width - 1, 1, -1):
                above = row - int(draw[time, 0, row, column] < 0.5)
                left = column - int(draw[time, 1, row, column] < 0.5)
                # Published as a swap, but both sides are views: the second assignment changes nothing.
                pixels[row, column] = pixels[above, left]
    return stored(blurred(pixels / 255, sigma))


def moved(values, radius, sigma, degrees):
    """``MagickMotionBlurImage`` of bytes: half a Gaussian along one direction, the border replicated."""
    height, width = values.shape[:2]
    length = 2 * math.ceil(radius) + 1
    weights = [math.exp(-(step**2) / (2 * sigma**2)) for step in range(length)]
    across, down = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    total = np.zeros(values.shape)
    for step, weight in enumerate(weights):
        rows = np.clip(np.arange(height) + math.ceil(step * down - 0.5), 0, height - 1)
        columns = np.clip(np.arange(width) + math.ceil(step * across - 0.5), 0, width - 1)
        total += weight / sum(weights) * values[rows][:, columns]
    return np.floor(total + 0.5).astype(np.uint8)


def motion_blur(picture, constant, generator):
    return moved(picture, *constant, degrees=-45 + 90 * uniform(generator, 1)[0])


def zoomed(values, factor):
    """The middle of ``values`` (H, W, ...) enlarged, cut to the size it had."""
    side = values.shape[0]
    part = math.ceil(side / factor)
    first = (side - part) // 2
    middle = values[first : first + part, first : first + part]
    large = ndimage.zoom(middle, (factor, factor, 1)[: values.ndim], order=1)
    first = (large.shape[0] - side) // 2
    return large[first : first + side, first : first + side]


def zoom_blur(picture, stop, generator):
    values = picture / 255
    factors = np.arange(1, stop, 0.01)  # in floating point it reaches some of the stops
    return stored((values + sum(zoomed(values, factor) for factor in factors)) / (len(factors) + 1))


# Weather


def snow(picture, constant, generator):
    mean, deviation, zoom, threshold, radius, sigma, kept = constant
    layer = mean + deviation * normal(generator, *picture.shape[:2])
    degrees = -135 + 90 * uniform(generator, 1)[0]
    layer = zoomed(layer, zoom)
    layer[layer < threshold] = 0
    flakes = moved(stored(layer), radius, sigma, degrees)[..., np.newaxis] / 255
    values = picture / 255
    grey = (values @ [0.299, 0.587, 0.114])[..., np.newaxis]
    values = kept * values + (1 - kept) * np.maximum(values, grey * 1.5 + 0.5)
    return stored(values + flakes + flakes[::-1, ::-1])


def frost(picture, constant, generator):
    from lthnb.images.shifts import frost_textures  # pictures, not the code under test

    textures = np.asarray(frost_textures())
    height, width = picture.shape[:2]
    which, down, across = uniform(generator, 3)
    top, left = int(down * (textures.shape[1] - height)), int(across * (textures.shape[2] - width))
    texture = textures[int(5 * which), top : top + height, left : left + width].astype(np.float64)
    return np.clip(constant[0] * picture + constant[1] * texture, 0, 255).astype(np.uint8)


def plasma(side, decay, generator):
    """Clouds (side, side) in [0, 1] by the diamond-square algorithm on a torus; side is a power of two."""
    draws = iter(uniform(generator, side * side - 1))
    clouds, wibble, step = np.zeros((side, side)), 100.0, side

    def fill(first_row, first_column, offsets):
        for row in range(first_row, side, step):
            for column in range(first_column, side, step):
                near = sum(clouds[(row + down) % side, (column + right) % side] for down, right in offsets)
                clouds[row, column] = near / 4 + wibble * wibble * (2 * next(draws) - 1)

    while step >= 2:
        half = step // 2
        diagonal = [(-half, -half), (-half, half), (half, -half), (half, half)]
        straight = [(-half, 0), (half, 0), (0, -half), (0, half)]
        fill(half, half, diagonal)
        fill(0, half, straight)
        fill(half, 0, straight)
        step = half
        wibble /= decay
    clouds -= clouds.min()
    return clouds / clouds.max()


def fog(picture, constant, generator):
    strength, decay = constant
    height, width = picture.shape[:2]
    side = 1 << (max(height, width) - 1).bit_length()
    values = picture / 255
    brightest = values.max()
    values = values + strength * plasma(side, decay, generator)[:height, :width, np.newaxis]
    return stored(values * brightest / (brightest + strength))


def threshold_edges(layer, low=50, high=150):
    """``cv2.Canny`` of bytes (H, W), aperture 3, L1 magnitude: True where an edge runs."""
    height, width = layer.shape
    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    across = ndimage.correlate(layer.astype(np.int64), sobel, mode="nearest")
    down = ndimage.correlate(layer.astype(np.int64), sobel.T, mode="nearest")
    size = np.pad(abs(across) + abs(down), 1)  # no gradient outside of the picture
    ridge = np.zeros((height, width), bool)
    for row in range(height):
        for column in range(width):
            dx, dy = int(across[row, column]), int(down[row, column])
            around = size[row : row + 3, column : column + 3]
            here = around[1, 1]
            tangent = abs(dx) * 13573  # of 22.5 degrees, in units of 1 / 32768 as OpenCV counts
            if abs(dy) << 15 < tangent:
                peak = here > around[1, 0] and here >= around[1, 2]
            elif abs(dy) << 15 > tangent + (abs(dx) << 16):
                peak = here > around[0, 1] and here >= around[2, 1]
            elif (dx ^ dy) < 0:
                peak = here > around[0, 2] and here > around[2, 0]
            else:
                peak = here > around[0, 0] and here > around[2, 2]
            ridge[row, column] = here > low and peak
    parts, _ = ndimage.label(ridge, np.ones((3, 3)))
    return ridge & np.isin(parts, parts[ridge & (size[1:-1, 1:-1] > high)])


def equalized(values):
    """``cv2.equalizeHist`` of bytes (H, W)."""
    counts = np.bincount(values.ravel(), minlength=256)
    first = values.min()
    if counts[first] == values.size:
        return values
    above = np.cumsum(counts) - counts[first]
    scale = np.float32(255) / np.float32(values.size - counts[first])
    return np.rint(above.astype(np.float32) * scale).clip(0, 255).astype(np.uint8)[values]


def mean_of_nine(values):
    """``cv2.blur`` by 3x3 before it is stored: the quotient in single precision, so that 20 stays 20."""
    return (filtered(values.astype(np.float64), np.ones((3, 3))) / 9).astype(np.float32)


def water(layer):
    """How much water stands at each pixel, in [0, 1]. Dry stays dry (published: 0 / 0, a black image)."""
    edges = threshold_edges(layer)
    distance = ndimage.distance_transform_edt(~edges) if edges.any() else np.full(layer.shape, 20.0)
    depth = equalized(mean_of_nine(np.minimum(distance, 20)).astype(np.uint8))
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    raised = filtered(depth.astype(np.int64), emboss).clip(0, 255)
    wet = layer * np.rint(mean_of_nine(raised)).astype(np.float64)
    return wet / wet.max() if wet.any() else wet


def spatter(picture, constant, generator):
    mean, deviation, sigma, threshold, strength, mud = constant
    layer = blurred(mean + deviation * normal(generator, *picture.shape[:2]), sigma)
    layer[layer < threshold] = 0
    values = picture / 255
    if mud:
        cover = blurred((layer > threshold).astype(np.float64), strength)
        cover[cover < 0.8] = 0
        cover = cover[..., np.newaxis]
        return stored(values * (1 - cover) + cover * np.array([63, 42, 20]) / 255)
    # A cast to bytes wraps: where the layer is above 1, published pixels start again at 0.
    layer = ((layer * 255).astype(np.int64) % 256).astype(np.uint8)
    colour = np.array([175, 238, 238]) / 255  # red, green, blue
    return stored(values + strength * water(layer)[..., np.newaxis] * colour)


# Light, geometry and storage


def recoloured(picture, change):
    """A picture after ``change(hue, saturation, value)`` of each pixel."""
    result = np.empty(picture.shape)
    for row, column in np.ndindex(picture.shape[:2]):
        hsv = colorsys.rgb_to_hsv(*(picture[row, column] / 255).tolist())
        result[row, column] = colorsys.hsv_to_rgb(*change(*hsv))
    return stored(result)


def brightness(picture, more, generator):
    return recoloured(picture, lambda hue, saturation, value: (hue, saturation, min(value + more, 1)))


def saturate(picture, constant, generator):
    gain, more = constant
    return recoloured(picture, lambda hue, saturation, value: (hue, min(saturation * gain + more, 1), value))


def contrast(picture, gain, generator):
    values = picture / 255
    mean = values.mean((0, 1))
    return stored((values - mean) * gain + mean)


def elastic_transform(picture, constant, generator):
    height, width = picture.shape[:2]
    strength, sigma, reach = (height * fraction for fraction in constant)
    middle, third = np.array([height // 2, width // 2]), min(height, width) // 3
    corners = middle + third * np.array([[1, 1], [1, -1], [-1, -1]])  # across, down
    targets = corners + reach * (2 * uniform(generator, 3, 2) - 1)
    back = np.linalg.solve(np.c_[targets, np.ones(3)], corners)  # (across, down, 1) of a target -> its source
    down, across = np.mgrid[:height, :width].astype(np.float64)
    source = np.stack([across, down, np.ones_like(down)], -1) @ back
    values = sampled(picture / 255, source[..., 1], source[..., 0], "mirror")

    draw = 2 * uniform(generator, 2, height, width) - 1
    shift = [strength * blurred(field, sigma, mode="reflect", truncate=3) for field in draw]
    return stored(sampled(values, down + shift[1], across + shift[0], "reflect"))


def sampled(values, down, across, mode):
    """Values (H, W, 3) read between pixels, bilinearly."""
    channels = np.moveaxis(values, -1, 0)
    read = [ndimage.map_coordinates(channel, (down, across), order=1, mode=mode) for channel in channels]
    return np.stack(read, -1)


def pixelate(picture, share, generator):
    side = picture.shape[0]
    small = Image.fromarray(picture).resize((int(side * share),) * 2, Image.Resampling.BOX)
    return np.asarray(small.resize((side, side), Image.Resampling.BOX)).copy()


def jpeg_compression(picture, quality, generator):
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", quality=quality)
    return np.asarray(Image.open(content)).copy()


_FUNCTIONS = (
    gaussian_noise, shot_noise, impulse_noise, defocus_blur, glass_blur, motion_blur, zoom_blur, snow, frost,
    fog, brightness, contrast, elastic_transform, pixelate, jpeg_compression, speckle_noise, gaussian_blur,
    spatter, saturate,
)  # fmt: skip
PLAIN = {function.__name__: function for function in _FUNCTIONS}
