import numpy as np
import pytest
import torch
from conftest import opened
from helpers import pillow

from lthnb.training import pillow_ops

OURS = {name: getattr(pillow_ops, name) for name in pillow.OPERATIONS if hasattr(pillow_ops, name)} | {
    "translate_x_grey": lambda images, v: pillow_ops.translate_x(images, v, fill=128),
    "translate_y_grey": lambda images, v: pillow_ops.translate_y(images, v, fill=128),
    "rotate_grey": lambda images, v: pillow_ops.rotate(images, v, fill=128),
}


@pytest.fixture(scope="module")
def pictures(glyphs):
    """Rendered digits, and the cases that break tables: one colour, two colours, noise, a ramp."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (20, 3, 32, 32), generator=draw, dtype=torch.uint8)
    flat = torch.randint(0, 256, (10, 3, 1, 1), generator=draw, dtype=torch.uint8).expand(10, 3, 32, 32)
    two = torch.where(noise[:5] < 90, 7, 250).byte()
    ramp = torch.arange(1024).div(4, rounding_mode="floor").byte().reshape(1, 1, 32, 32).expand(5, 3, 32, 32)
    return torch.cat([glyphs.read("train", torch.arange(160), 32), noise, flat, two, ramp]).contiguous()


def values(name, number):
    low, high = pillow.RANGES.get(name, (0, 1))
    shares = torch.rand(number, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    shares[:2] = torch.tensor([0, 1])  # both ends too
    return low + (high - low) * shares


def differing(name, images, value):
    ours = OURS[name](images, value).numpy()
    theirs = [pillow.apply(name, image, v) for image, v in zip(images.numpy(), value.tolist(), strict=True)]
    return int((ours != np.stack(theirs)).any((1, 2, 3)).sum())


@pytest.mark.parametrize("name", pillow.OPERATIONS)
@pytest.mark.parametrize("side", [32, 16])
def test_every_operation_equals_pillow_bit_for_bit(pictures, name, side):
    images = pictures[:, :, :side, :side].contiguous()

    assert name in OURS
    assert differing(name, images, values(name, len(images))) == 0


@pytest.mark.parametrize("name", sorted(pillow.OPERATIONS.keys() - {"hue", "grey", "rotate_grey"} - {
    name for name in pillow.OPERATIONS if name.endswith(("bicubic", "_grey"))
}))  # fmt: skip
def test_grey_images_equal_pillow_too(pictures, name):
    images = pictures[:, :1].contiguous()

    assert differing(name, images, values(name, len(images))) == 0


@pytest.mark.parametrize("name", pillow.OPERATIONS)
def test_real_images_equal_pillow_bit_for_bit(real_images, name):
    source = opened(real_images("cifar10_exact"))
    images = source.read("train", torch.arange(0, 10_000, 50), 32).contiguous()

    assert differing(name, images, values(name, len(images))) == 0


def test_equal_images_in_one_batch_take_values_of_their_own(pictures):
    images = pictures[:1].expand(9, -1, -1, -1)
    out = pillow_ops.brightness(images, torch.linspace(0.1, 0.9, 9, dtype=torch.float64))

    assert len({image.numpy().tobytes() for image in out}) == 9
