"""What every operation of ``pillow_ops`` must equal, done by Pillow one image at a time."""

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from lthnb.training import augment

AFFINE, BICUBIC, FILL = Image.Transform.AFFINE, Image.Resampling.BICUBIC, (128, 128, 128)


def _hue(image, turn):
    h, s, v = image.convert("HSV").split()
    moved = (np.array(h, dtype=np.int64) + int(turn * 255)) % 256
    return Image.merge("HSV", (Image.fromarray(moved.astype(np.uint8)), s, v)).convert("RGB")


def _rotate_grey(image, degrees):
    turned = image.convert("RGBA").rotate(degrees)
    return Image.composite(turned, Image.new("RGBA", turned.size, (128,) * 4), turned).convert(image.mode)


OPERATIONS = {
    "identity": lambda image, v: image,
    "autocontrast": lambda image, v: ImageOps.autocontrast(image),
    "equalize": lambda image, v: ImageOps.equalize(image),
    "invert": lambda image, v: ImageOps.invert(image),
    "rotate": lambda image, v: image.rotate(v),
    "solarize": lambda image, v: ImageOps.solarize(image, v),
    "color": lambda image, v: ImageEnhance.Color(image).enhance(v),
    "contrast": lambda image, v: ImageEnhance.Contrast(image).enhance(v),
    "brightness": lambda image, v: ImageEnhance.Brightness(image).enhance(v),
    "sharpness": lambda image, v: ImageEnhance.Sharpness(image).enhance(v),
    "posterize": lambda image, v: ImageOps.posterize(image, int(v)),
    "shear_x": lambda image, v: image.transform(image.size, AFFINE, (1, v, 0, 0, 1, 0)),
    "shear_y": lambda image, v: image.transform(image.size, AFFINE, (1, 0, 0, v, 1, 0)),
    "translate_x": lambda image, v: image.transform(image.size, AFFINE, (1, 0, v * image.size[0], 0, 1, 0)),
    "translate_y": lambda image, v: image.transform(image.size, AFFINE, (1, 0, 0, 0, 1, v * image.size[1])),
    "shear_x_bicubic": lambda im, v: im.transform(
        im.size, AFFINE, (1, v, 0, 0, 1, 0), BICUBIC, fillcolor=FILL
    ),
    "shear_y_bicubic": lambda im, v: im.transform(
        im.size, AFFINE, (1, 0, 0, v, 1, 0), BICUBIC, fillcolor=FILL
    ),
    "translate_x_grey": lambda im, v: im.transform(
        im.size, AFFINE, (1, 0, v * im.size[0], 0, 1, 0), fillcolor=FILL
    ),
    "translate_y_grey": lambda im, v: im.transform(
        im.size, AFFINE, (1, 0, 0, 0, 1, v * im.size[1]), fillcolor=FILL
    ),
    "rotate_grey": _rotate_grey,
    "hue": _hue,
    "grey": lambda image, v: image.convert("L").convert("RGB"),
}
RANGES = {
    "rotate": (-30, 30), "solarize": (0, 256), "color": (0.05, 1.9), "contrast": (0.05, 1.9),
    "brightness": (0.05, 1.9), "sharpness": (0.05, 1.9), "posterize": (4, 8.99), "shear_x": (-0.3, 0.3),
    "shear_y": (-0.3, 0.3), "translate_x": (-0.45, 0.45), "translate_y": (-0.45, 0.45),
    "shear_x_bicubic": (-0.3, 0.3), "shear_y_bicubic": (-0.3, 0.3), "translate_x_grey": (-0.45, 0.45),
    "translate_y_grey": (-0.45, 0.45), "rotate_grey": (0, 30), "hue": (-0.1, 0.1),
}  # fmt: skip


def apply(name, image, value):
    """``image`` (C, H, W) uint8 array through Pillow and back."""
    mode = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    out = np.asarray(OPERATIONS[name](Image.fromarray(np.ascontiguousarray(mode)), float(value)))
    return out[None] if out.ndim == 2 else out.transpose(2, 0, 1)


SIMPLE = "identity autocontrast equalize rotate solarize color contrast brightness sharpness".split()
RANDOM = [*SIMPLE, "shear_x", "shear_y", "translate_x", "translate_y", "posterize"]
SMALL = dict.fromkeys(("shear_x", "shear_y", "translate_x", "translate_y"), (-0.1, 0.1))


def random_chain(image, draw):
    """Four of the fourteen operations on a Pillow image."""
    ranges = RANGES | SMALL
    for name in draw.choices(RANDOM, k=4):
        image = OPERATIONS[name](image, draw.uniform(*ranges.get(name, (0, 1))))
    return image


def _policy():
    """The 25 sub-policies as triples of operation, probability and value, by the names used here."""
    own = {"shear_y": "shear_y_bicubic", "rotate": "rotate_grey"}
    own |= {"translate_x": "translate_x_grey", "translate_y": "translate_y_grey"}
    names = [own.get(name, name) for name in augment.AUTO]
    plus = [entry.neutral for entry in augment.AUTO.values()]
    rows = zip(*(part.tolist() for part in augment.policy()), strict=True)
    return [[(names[c], p, v + plus[c]) for c, p, v in zip(*row, strict=True)] for row in rows]


def policy_chain(image, draw, policy=[]):  # noqa: B006 made at the first call
    """One sub-policy on a Pillow image."""
    policy.extend([] if policy else _policy())
    for name, chance, value in draw.choice(policy):
        if draw.random() < chance:
            image = OPERATIONS[name](image, value)
    return image
