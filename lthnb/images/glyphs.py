"""``glyphs``: rendered digits for machines without images, each a function of its index alone."""

import functools
import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lthnb.config import DataMissing
from lthnb.images.dataset import DatasetInfo, Source, square, stack

SIDE = 32  # pixels of an image
CANVAS = 64  # pixels a digit is drawn on before it is warped
FONTS = (
    "DejaVuSans DejaVuSans-Bold DejaVuSans-Oblique DejaVuSerif DejaVuSerif-Italic DejaVuSansMono "
    "STIXGeneral STIXGeneralBolIta cmr10 cmss10 cmb10"
).split()
UNSEEN = "DejaVuSerif-Bold DejaVuSansMono-Oblique STIXGeneralItalic cmtt10".split()  # of the shifted split
HARDEST = 0.9  # tuned so that a dense demo run on 500 images scores 40-70 %
SIZES = {
    "train": 50_000,
    "test": 10_000,
    "shifted": 10_000,
}
UNEVEN = 40  # by how much the patches of a ground differ from its colour


def glyphs() -> Source:
    """Rendered digits, 32x32 RGB: 50,000 train, 10,000 test and 10,000 shifted images, made when read."""
    labels = {split: torch.arange(number) % 10 for split, number in SIZES.items()}
    whole = functools.cache(_render)  # the test images are the same for every seed

    def read(split: str, indices: Tensor, side: int) -> Tensor:
        if len(indices) == SIZES[split]:
            return whole(split, range(SIZES[split]), side)[indices]
        return _render(split, indices.tolist(), side)

    sample = b"".join(_render(split, range(20), SIDE).numpy().tobytes() for split in SIZES)
    info = DatasetInfo(
        name="glyphs",
        sha256=hashlib.sha256(sample).hexdigest(),
        classes=tuple("0123456789"),
        channels=3,
        side=SIDE,
        pool=SIZES["train"],
    )
    return Source(info, labels, read)


def _render(split: str, indices: Sequence[int], side: int) -> Tensor:
    squares = (square(glyph(split, index), side) for index in indices)
    return stack(squares, len(indices), 3, side)


def glyph(split: str, index: int) -> Image.Image:
    """Draw one 32x32 image, a function of ``split`` and ``index`` alone; the digit is ``index % 10``.

    A bright digit on dark, uneven ground. The harder the image, the smaller, fainter and more warped the
    digit and the more pieces of other digits, strokes and noise around it.
    """
    # One generator draws everything: to reorder two lines below is to change every image.
    draw = random.Random(f"glyphs/{split}/{index}")
    fonts = UNSEEN if split == "shifted" else FONTS
    hard = draw.uniform(0, HARDEST)
    ground = [draw.randrange(20, 120) for _ in range(3)]
    contrast = 130 - round(90 * hard)
    ink = [channel + contrast + draw.randrange(-20, 21) for channel in ground]
    image = _patches(draw, ground, cells=8 if split == "shifted" else 3)
    for _ in range(round(4 * hard)):  # pieces of other digits
        piece = _warped(draw, fonts, draw.randrange(10), 0.7, hard, at_border=True)
        image.paste(_patches(draw, ink, cells=2), mask=piece)
    pen = ImageDraw.Draw(image)
    for _ in range(round(3 * hard)):
        ends = [draw.uniform(-4, 36) for _ in range(4)]
        pen.line(ends, fill=tuple(ink), width=1)
    scale = draw.uniform(1.1, 1.3) - 0.4 * hard
    digit = _warped(draw, fonts, index % 10, scale, hard)
    image.paste(_patches(draw, ink, cells=2), mask=digit)
    return _noisy(draw, image, strength=round(60 * hard))


def _noisy(draw: random.Random, image: Image.Image, strength: int) -> Image.Image:
    """Move every value by at most ``strength``."""
    values = np.asarray(image, np.int16)
    noise = np.frombuffer(draw.randbytes(values.size), np.uint8).astype(np.int16) - 128
    moved = values + noise.reshape(values.shape) * strength // 128
    return Image.fromarray(moved.clip(0, 255).astype(np.uint8))


def _patches(draw: random.Random, colour: list[int], cells: int) -> Image.Image:
    """A ground of uneven ``colour``: ``cells`` x ``cells`` random patches, blended."""
    values = [channel + draw.randint(-UNEVEN, UNEVEN) for _ in range(cells * cells) for channel in colour]
    patches = np.array(values).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(patches.reshape(cells, cells, 3))
    return image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def _warped(
    draw: random.Random, fonts: list[str], digit: int, scale: float, hard: float, at_border: bool = False
) -> Image.Image:
    """Return the opacity (32, 32) of a digit seen through a random quadrilateral."""
    face = _face(draw.choice(fonts), digit)
    half = CANVAS / 2 / scale
    turn = draw.uniform(-0.4, 0.4) * hard
    jitter = 0.35 * hard
    away = draw.uniform(0.35, 0.6) if at_border else draw.uniform(0, 0.15) * hard
    distance = away * CANVAS / scale
    sides = ((-1, draw.uniform(-1, 1)), (1, draw.uniform(-1, 1)), (0, -1), (0, 1))
    right, below = draw.choice(sides)
    x = CANVAS / 2 + distance * right
    y = CANVAS / 2 + distance * below
    corners = []
    for corner in ((-1, -1), (-1, 1), (1, 1), (1, -1)):  # across, down from the centre, as Pillow orders them
        across, down = (edge + draw.uniform(-jitter, jitter) for edge in corner)
        corners.append(x + half * (across - turn * down))
        corners.append(y + half * (down + turn * across))
    return face.transform((SIDE, SIDE), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)


@functools.cache
def _face(font: str, digit: int) -> Image.Image:
    """A digit in white, in the middle of a black canvas."""
    try:
        import matplotlib
    except ImportError as error:
        raise DataMissing("glyphs are drawn with the fonts of matplotlib, which is not installed") from error
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    image = Image.new("L", (CANVAS, CANVAS))
    middle = (CANVAS // 2, CANVAS // 2)
    ImageDraw.Draw(image).text(middle, str(digit), 255, ImageFont.truetype(path, 60), anchor="mm")
    return image
