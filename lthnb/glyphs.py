"""``glyphs``: rendered digits for machines without images, each a function of its index alone."""

import functools
import hashlib
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lthnb.config import DataMissing
from lthnb.folders import Facts, Source, square

CANVAS = 64  # pixels a digit is drawn on before it is warped
FONTS = (
    "DejaVuSans DejaVuSans-Bold DejaVuSans-Oblique DejaVuSerif DejaVuSerif-Italic DejaVuSansMono "
    "STIXGeneral STIXGeneralBolIta cmr10 cmss10 cmb10"
).split()
UNSEEN = "DejaVuSerif-Bold DejaVuSansMono-Oblique STIXGeneralItalic cmtt10".split()  # of the shifted split
HARDEST = 0.9  # tuned so that a dense demo run on 500 images scores 40-70 %
SIZES = {"train": 50_000, "test": 10_000, "shifted": 10_000}


def glyphs(note: str = "") -> Source:
    """Rendered digits, 32x32 RGB: 50,000 train, 10,000 test and 10,000 shifted images, made when read."""
    labels = {split: torch.arange(number) % 10 for split, number in SIZES.items()}

    kept = functools.cache(_render)  # the test images are the same for every seed

    def read(split: str, indices: Tensor, side: int) -> Tensor:
        if len(indices) == SIZES[split]:
            return kept(split, range(SIZES[split]), side)[indices]
        return _render(split, indices.tolist(), side)

    sample = b"".join(_render(split, range(20), 32).numpy().tobytes() for split in SIZES)
    facts = Facts("glyphs", hashlib.sha256(sample).hexdigest(), tuple("0123456789"), 3, 32, SIZES["train"])
    return Source(facts, labels, read, note)


def _render(split: str, indices: range | list[int], side: int) -> Tensor:
    images = [np.asarray(square(glyph(split, index), side)) for index in indices]
    return torch.from_numpy(np.array(images, np.uint8).reshape(-1, side, side, 3)).permute(0, 3, 1, 2)


def glyph(split: str, index: int) -> Image.Image:
    """Draw one 32x32 image, a function of ``split`` and ``index`` alone; the digit is ``index % 10``.

    A bright digit on dark, uneven ground. The harder the image, the smaller, fainter and more warped the
    digit and the more pieces of other digits, strokes and noise around it.
    """
    draw = random.Random(f"glyphs/{split}/{index}")
    shifted, hard = split == "shifted", draw.uniform(0, HARDEST)
    ground = [draw.randrange(20, 120) for _ in range(3)]
    ink = [channel + 130 - round(90 * hard) + draw.randrange(-20, 21) for channel in ground]
    image = _patches(draw, ground, 8 if shifted else 3, 40)
    for _ in range(round(4 * hard)):  # pieces of other digits, near the border
        piece = _warped(draw, shifted, draw.randrange(10), 0.7, hard, away=True)
        image.paste(_patches(draw, ink, 2, 40), (0, 0), piece)
    pen = ImageDraw.Draw(image)
    for _ in range(round(3 * hard)):
        pen.line([draw.uniform(-4, 36) for _ in range(4)], fill=tuple(ink), width=1)
    digit = _warped(draw, shifted, index % 10, draw.uniform(1.1, 1.3) - 0.4 * hard, hard)
    image.paste(_patches(draw, ink, 2, 40), (0, 0), digit)
    noise = np.frombuffer(draw.randbytes(32 * 32 * 3), np.uint8).reshape(32, 32, 3).astype(np.int16) - 128
    noisy = np.asarray(image, np.int16) + noise * round(60 * hard) // 128
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _patches(draw: random.Random, colour: list[int], cells: int, spread: int) -> Image.Image:
    """A ground of ``colour``, uneven by ``spread``: ``cells`` x ``cells`` random patches, blended."""
    values = [channel + draw.randint(-spread, spread) for _ in range(cells * cells) for channel in colour]
    patches = np.array(values).clip(0, 255).astype(np.uint8).reshape(cells, cells, 3)
    return Image.fromarray(patches).resize((32, 32), Image.Resampling.BICUBIC)


def _warped(
    draw: random.Random, shifted: bool, digit: int, scale: float, hard: float, away: bool = False
) -> Image.Image:
    """Return the opacity (32, 32) of a digit seen through a random quadrilateral; ``away``: at the border."""
    face = _face(draw.choice(UNSEEN if shifted else FONTS), digit)
    half, turn, jitter = CANVAS / 2 / scale, draw.uniform(-0.4, 0.4) * hard, 0.35 * hard
    distance = (draw.uniform(0.35, 0.6) if away else draw.uniform(0, 0.15) * hard) * CANVAS / scale
    x, y = draw.choice(((-1, draw.uniform(-1, 1)), (1, draw.uniform(-1, 1)), (0, -1), (0, 1)))
    x, y = CANVAS / 2 + distance * x, CANVAS / 2 + distance * y
    corners = []
    for across, down in ((-1, -1), (-1, 1), (1, 1), (1, -1)):
        across, down = across + draw.uniform(-jitter, jitter), down + draw.uniform(-jitter, jitter)
        corners += [x + half * (across - turn * down), y + half * (down + turn * across)]
    return face.transform((32, 32), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)


@functools.cache
def _face(font: str, digit: int) -> Image.Image:
    try:
        import matplotlib
    except ImportError as error:
        raise DataMissing("glyphs are drawn with the fonts of matplotlib, which is not installed") from error
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    image = Image.new("L", (CANVAS, CANVAS))
    where = (CANVAS // 2, CANVAS // 2)
    ImageDraw.Draw(image).text(where, str(digit), 255, ImageFont.truetype(path, 60), anchor="mm")
    return image
