from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import plain_corruptions
from helpers.plain_corruptions import CONSTANTS
from torch.nn import functional as F

from lthnb.config import ParameterError
from lthnb.images import shifts
from lthnb.images.shifts import CORRUPTIONS, corrupt, frost_textures

KINDS = list(CONSTANTS)
RANDOM = {
    "gaussian_noise", "shot_noise", "impulse_noise", "glass_blur", "motion_blur", "snow", "frost", "fog",
    "elastic_transform", "speckle_noise", "spatter",
}  # fmt: skip
# Kinds that are worse at every severity. The others change two constants at once, or act the other way.
RISING = (
    "gaussian_noise shot_noise impulse_noise speckle_noise gaussian_blur zoom_blur brightness contrast "
    "jpeg_compression pixelate"
).split()

# Share of values equal to those of the plain loop, which works in doubles. To store cuts the fraction off; if
# a value is whole but for rounding, chance decides. A version that rounds to the nearest would share half.
EQUAL = {
    "defocus_blur": 0.94,  # severity 5 is the mean of nine pixels
    "glass_blur": 0.985,  # its narrow filter leaves many values all but whole
    "brightness": 0.94,  # severity 4 adds 51 levels
    "frost": 0.98,  # tenths of whole numbers
    "saturate": 0.88,  # severity 3 takes one and a half times whole numbers
    "impulse_noise": 1,
    "pixelate": 1,
    "jpeg_compression": 1,
}
# Share of values at most one level off.
NEAR = {
    "glass_blur": 0.9998,  # a level lost before the pixels move, another after
    "spatter": 0.9998,  # drops end at thresholds
    "snow": 0.9998,  # so do flakes
}


def fields(number, side):
    """Smooth random colours, some black or saturated: many neighbours are equal."""
    draws = torch.rand(number, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    smooth = F.interpolate(1.6 * draws - 0.3, size=side, mode="bicubic")
    return (255 * smooth.clamp(0, 1)).to(torch.uint8)


def photos(number, side):
    """The same with some noise, as of a camera: few neighbours are equal."""
    noise = torch.randint(-6, 7, (number, 3, side, side), generator=torch.Generator().manual_seed(2))
    return (fields(number, side).clamp(8, 247) + noise).to(torch.uint8)


@pytest.fixture(scope="module")
def images(glyphs):
    return torch.cat([glyphs.read("test", torch.arange(24), 32), photos(8, 32)])


@pytest.fixture(scope="module")
def few(images):
    return images[20:26]


@pytest.fixture(scope="module")
def many(glyphs):
    return glyphs.read("test", torch.arange(256), 32)


def assert_close(kind, ours, plain):
    off = (ours.int() - plain.int()).abs()
    assert (off <= 1).float().mean() >= NEAR.get(kind, 1), f"up to {off.max()} levels off"
    assert (off == 0).float().mean() >= EQUAL.get(kind, 0.99)


def test_kinds_and_constants_are_the_published_ones():
    published = dict(CONSTANTS)
    published["glass_blur"] = tuple((sigma, times) for sigma, _, times in CONSTANTS["glass_blur"])
    # np.arange reaches 1.06 and 1.11, but neither 1.16, 1.21 nor 1.26
    published["zoom_blur"] = tuple(len(np.arange(1, stop, 0.01)) for stop in CONSTANTS["zoom_blur"])

    assert list(CORRUPTIONS) == KINDS
    assert {kind: one.constants for kind, one in CORRUPTIONS.items()} == published


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_what_a_plain_loop_makes(images, kind, severity):
    assert_close(kind, corrupt(images, kind, severity), plain_corruptions.corrupt(images, kind, severity))


@pytest.mark.parametrize("side", [16, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_other_sides_and_seeds_are_as_in_the_plain_loop(kind, side):
    images = photos(3, side)

    assert_close(kind, corrupt(images, kind, 2, seed=5), plain_corruptions.corrupt(images, kind, 2, seed=5))


@pytest.mark.parametrize("kind", KINDS)
def test_only_random_kinds_depend_on_the_seed(few, kind):
    first = corrupt(few, kind, 4)

    assert first.equal(corrupt(few, kind, 4))
    assert first.equal(corrupt(few, kind, 4, seed=1)) == (kind not in RANDOM)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_does_not_depend_on_its_neighbours(images, kind):
    images = torch.cat([images[:20], fields(8, 32)])
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(2))
    together = corrupt(images, kind, 5)

    assert corrupt(images[order], kind, 5).equal(together[order])
    assert corrupt(images[7:12], kind, 5).equal(together[7:12])
    assert corrupt(images[25:26], kind, 5).equal(together[25:26])
    beside_others = torch.cat([255 - images[:3], images[3:5]])
    assert corrupt(beside_others, kind, 5)[3:].equal(together[3:5])


def test_images_are_the_same_in_however_many_parts_they_are_worked_on(monkeypatch, few):
    together = corrupt(few, "snow", 2)
    monkeypatch.setattr(shifts, "AT_ONCE", 4 * 32 * 32)

    assert corrupt(few, "snow", 2).equal(together)


@pytest.mark.parametrize("kind", KINDS)
def test_images_come_back_new_and_in_their_shape(few, kind):
    given = few.clone()
    corrupted = corrupt(given, kind, 1)

    assert given.equal(few)
    assert (corrupted.dtype, corrupted.shape) == (torch.uint8, few.shape)
    assert corrupted.is_contiguous()
    assert corrupted.data_ptr() != given.data_ptr()


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_in_memory_does_not_matter(few, kind):
    channels_last = few.contiguous(memory_format=torch.channels_last)

    assert corrupt(channels_last, kind, 3).equal(corrupt(few, kind, 3))
    assert corrupt(channels_last, kind, 3).is_contiguous()


@pytest.mark.parametrize("kind", RISING)
def test_images_are_further_away_at_higher_severity(many, kind):
    away = [(corrupt(many, kind, severity).float() - many).square() for severity in range(1, 6)]
    distances = [squares.sum((1, 2, 3)).sqrt().mean().item() for squares in away]

    assert distances[0] > 0
    assert all(low < high for low, high in pairwise(distances)), distances


@pytest.mark.parametrize("kind", KINDS)
def test_no_images_become_no_images(images, kind):
    assert corrupt(images[:0], kind, 3).shape == (0, 3, 32, 32)


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_one_colour_are_as_in_the_plain_loop(kind):
    flat = torch.tensor([0, 255, 127], dtype=torch.uint8).reshape(3, 1, 1, 1).expand(3, 3, 32, 32)
    off = [corrupt(flat, kind, n).int() - plain_corruptions.corrupt(flat, kind, n).int() for n in (2, 5)]

    assert max(difference.abs().max() for difference in off) <= 2  # glass loses a level twice


@pytest.mark.parametrize("kind", KINDS)
def test_grey_images_keep_their_one_channel(few, kind):
    assert corrupt(few[:, :1], kind, 2).shape == (6, 1, 32, 32)


@pytest.mark.parametrize(
    "kind", ["defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "gaussian_blur"]
)
def test_grey_images_are_treated_as_grey_colours(few, kind):
    grey = few[:, :1]
    colours = corrupt(grey.expand(-1, 3, -1, -1), kind, 3)

    assert (corrupt(grey, kind, 3).int() - colours.int()).abs().max() <= 1


def test_contrast_draws_a_channel_to_its_mean_and_cuts_fractions_off():
    halves = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    halves[..., 4:] = 255

    assert corrupt(halves, "contrast", 2)[0, 0, 0].tolist() == 4 * [63] + 4 * [191]  # 63.75 and 191.25


def test_saturated_grey_is_red():
    grey = torch.full((1, 3, 8, 8), 101, dtype=torch.uint8)

    assert corrupt(grey, "saturate", 5)[0, :, 2, 2].tolist() == [101, 80, 80]  # 80 % of 101 is 80.8


def test_black_stays_black_in_fog():
    black = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)

    assert corrupt(black, "fog", 5).equal(black)


def test_gaussian_noise_has_the_published_deviation():
    grey = torch.full((1, 3, 128, 128), 128, dtype=torch.uint8)
    measured = [corrupt(grey, "gaussian_noise", severity).float().std().item() for severity in range(1, 6)]

    assert measured == pytest.approx([255 * share for share in (0.04, 0.06, 0.08, 0.09, 0.10)], rel=0.03)


def test_impulses_are_half_white_and_half_black():
    grey = torch.full((1, 3, 128, 128), 128, dtype=torch.uint8)
    noisy = corrupt(grey, "impulse_noise", 5)
    shares = [(noisy == level).float().mean().item() for level in (0, 128, 255)]

    assert shares == pytest.approx([0.035, 0.93, 0.035], rel=0.06)


def test_frost_is_cut_out_of_five_different_pictures():
    textures = torch.as_tensor(frost_textures())

    assert textures.dtype == torch.uint8
    assert textures.shape == (5, textures.shape[1], textures.shape[1], 3)
    assert textures.shape[1] > 64
    assert len({tuple(texture.flatten().tolist()) for texture in textures}) == 5


@pytest.mark.parametrize("severity", [0, 6, "2", 2.0, True])
def test_a_wrong_severity_is_named_with_its_range(few, severity):
    with pytest.raises(ParameterError) as error:
        corrupt(few, "fog", severity)

    assert str(error.value) == f"severity must be a whole number from 1 to 5, got {severity!r}"


def test_a_wrong_kind_is_named_with_the_nearest_one(few):
    with pytest.raises(ParameterError) as error:
        corrupt(few, "gausian_noise", 1)

    names = ", ".join(KINDS)
    assert str(error.value) == (
        f"kind must be one of {names}, got 'gausian_noise'; did you mean 'gaussian_noise'?"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(2, 3, 32, 32),
        torch.zeros(3, 32, 32, dtype=torch.uint8),
        torch.zeros(2, 3, 32, 16, dtype=torch.uint8),
        torch.zeros(2, 4, 32, 32, dtype=torch.uint8),
        torch.zeros(2, 3, 7, 7, dtype=torch.uint8),
        torch.zeros(2, 3, 257, 257, dtype=torch.uint8),
    ],
    ids=["float", "one image", "not square", "four channels", "too small", "too large"],
)
def test_other_tensors_than_images_are_refused(wrong):
    with pytest.raises(ParameterError, match="images must be"):
        corrupt(wrong, "contrast", 1)
