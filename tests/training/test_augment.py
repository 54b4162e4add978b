import numpy as np
import pytest
import torch
from helpers import pillow
from scipy import stats
from torchvision.transforms import AutoAugment, AutoAugmentPolicy

from lthnb.config import AUGMENTATIONS, stream
from lthnb.training import augment as module
from lthnb.training.augment import AUTO, RANDOM, Draws, augment, crop, cutout, flip

NAMES = [name for name in AUGMENTATIONS if name != "none"]


def test_the_names_of_augmentations_are_those_a_configuration_may_ask_for():
    assert tuple(module.AUGMENTATIONS) == AUGMENTATIONS


def once(images, name, epoch=0, kind="corrected"):
    return augment(images, name, [stream(0, "augment", epoch)], kind)[0]


@pytest.fixture(scope="module")
def images(glyphs):
    return glyphs.read("train", torch.arange(60), 32).contiguous()


@pytest.mark.parametrize("name", NAMES)
def test_an_image_depends_on_its_own_draws_only(images, name):
    changed = images.clone()
    changed[1:] = 0

    assert torch.equal(once(images, name)[0], once(changed, name)[0])


@pytest.mark.parametrize("name", NAMES)
def test_equal_images_come_out_different_and_keep_form(images, name):
    out = once(images[:1].expand(60, -1, -1, -1), name)

    assert len({image.numpy().tobytes() for image in out}) > 30
    assert (out.dtype, out.shape) == (torch.uint8, images.shape)


@pytest.mark.parametrize("name", NAMES)
def test_epochs_differ_and_several_in_one_call_equal_single_ones(images, name):
    together = augment(images, name, [stream(0, "augment", epoch) for epoch in range(3)])

    assert torch.equal(torch.stack([once(images, name, epoch) for epoch in range(3)]), together)
    assert not torch.equal(together[0], together[1])


def test_inputs_are_left_alone(images):
    before = images.clone()
    for name in NAMES:
        once(images, name)

    assert torch.equal(images, before)


def test_none_changes_nothing(images):
    assert torch.equal(once(images, "none"), images)


def test_a_crop_is_a_window_of_the_padded_image_at_a_uniform_place():
    image = torch.arange(1, 65, dtype=torch.uint8).reshape(1, 1, 8, 8)
    padded = torch.nn.functional.pad(image, (1, 1, 1, 1))[0, 0]
    windows = {padded[y : y + 8, x : x + 8].numpy().tobytes(): (y, x) for y in range(3) for x in range(3)}

    out = crop(image.expand(9000, 1, 8, 8), Draws([stream(0, "a")], 9000))
    corners = [windows[image[0].numpy().tobytes()] for image in out]

    assert stats.chisquare([corners.count((y, x)) for y in range(3) for x in range(3)]).pvalue > 1e-4


def test_a_flip_mirrors_half_of_the_images():
    images = torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8).expand(10_000, 1, 2, 2)
    out = flip(images, Draws([stream(0, "a")], 10_000))
    mirrored = (out == images.flip(-1)).all(-1).all(-1).flatten()

    assert abs(mirrored.float().mean() - 0.5) < 4 * 0.005
    assert torch.equal(out[~mirrored], images[~mirrored])


@pytest.mark.parametrize("kind", ["corrected", "as_released"])
def test_a_hole_is_a_square_of_half_the_side_filled_with_the_mean(kind):
    images = torch.zeros(9000, 1, 8, 8, dtype=torch.uint8)
    images[:, :, 0, 0] = 192  # a mean of 3
    out = cutout(images, Draws([stream(0, "a")], 9000), kind)
    hole = (out == 3).squeeze(1)
    top, left = (hole.any(axis).float().argmax(1) for axis in (2, 1))
    counts = torch.bincount(5 * top + left, minlength=25).reshape(5, 5)

    assert (hole.sum((1, 2)) == 16).all()
    assert (hole.any(1).sum(1) == 4).all()
    if kind == "corrected":
        assert stats.chisquare(counts.flatten()).pvalue > 1e-4
    else:
        assert counts.diag()[:4].sum() == 9000  # on the diagonal, and never in the last place
        assert stats.chisquare(counts.diag()[:4]).pvalue > 1e-4


def chains(monkeypatch, images, policy):
    """Run a policy; return its result and, per image, the operations it met in turn with their values."""
    inner, layers = module.by_operation, []

    def spy(part, codes, given, operations):
        layers.append((codes, given))
        return inner(part, codes, given, operations)

    monkeypatch.setattr(module, "by_operation", spy)
    out = policy(images, Draws([stream(3, "a")], len(images)))
    return out, [[(int(codes[i]), float(given[i])) for codes, given in layers] for i in range(len(images))]


def through_pillow(images, chain, names):
    results = []
    for image, steps in zip(images.numpy(), chain, strict=True):
        for code, value in steps:
            image = pillow.apply(names[code], image, value)
        results.append(image)
    return np.stack(results)


def test_whole_random_chains_equal_pillow_on_every_image(monkeypatch, glyphs):
    images = glyphs.read("train", torch.arange(2000), 32).contiguous()
    out, chain = chains(monkeypatch, images, module.random_operations)
    names = [entry.operation.__name__ for entry in RANDOM]

    assert np.array_equal(out.numpy(), through_pillow(images, chain, names))
    assert {names[code] for steps in chain for code, _ in steps} == set(names)
    assert [len(steps) for steps in chain] == [4] * 2000


def test_whole_policy_chains_equal_pillow_on_every_image(monkeypatch, glyphs):
    images = glyphs.read("train", torch.arange(2000), 32).contiguous()
    out, chain = chains(monkeypatch, images, module.auto_policy)
    grey = {"shear_y": "shear_y_bicubic", "rotate": "rotate_grey"}
    grey |= {"translate_x": "translate_x_grey", "translate_y": "translate_y_grey"}
    names = [grey.get(name, name) for name in AUTO]

    assert np.array_equal(out.numpy(), through_pillow(images, chain, names))
    assert {names[code] for steps in chain for code, _ in steps} == set(names)


def test_whole_jitter_chains_equal_pillow_on_every_image(monkeypatch, images):
    out, chain = chains(monkeypatch, images, module.colour_jitter)
    names = ["brightness", "contrast", "color", "hue", "identity"]
    jittered = through_pillow(images, [steps[:4] for steps in chain], names)

    assert np.array_equal(
        out.numpy(), through_pillow(torch.from_numpy(jittered), [s[4:] for s in chain], ["identity", "grey"])
    )
    assert all(sorted(code for code, _ in steps[:4]) in ([0, 1, 2, 3], [4] * 4) for steps in chain)


def test_the_policy_is_the_published_one():
    published = AutoAugment(AutoAugmentPolicy.CIFAR10).policies
    codes, chances, _ = module.policy()
    names = [name.replace("_", "") for name in AUTO]
    words = [pair.split() for pair in module.POLICY.split(",")]

    for row, pair, theirs in zip(codes.tolist(), words, published, strict=True):
        assert [names[code] for code in row] == [name.lower() for name, _, _ in theirs]
        for i, (_, _, magnitude) in zip((2, 5), theirs, strict=True):
            assert magnitude is None or int(pair[i]) == magnitude
    assert torch.allclose(chances, torch.tensor([[chance for _, chance, _ in row] for row in published]))


def test_values_are_uniform_over_the_published_ranges(monkeypatch, images):
    low_high = {"rotate": 30, "shear_x": 0.1, "shear_y": 0.1, "translate_x": 0.1, "translate_y": 0.1}
    expected = {name: (-edge, edge) for name, edge in low_high.items()} | {
        "solarize": (0, 256),
        "posterize": (4, 8),
    }
    expected |= dict.fromkeys(("color", "contrast", "brightness", "sharpness"), (0.05, 0.95))
    _, chain = chains(monkeypatch, images[:10].repeat(200, 1, 1, 1), module.random_operations)
    names = [entry.operation.__name__ for entry in RANDOM]
    for name, (low, high) in expected.items():
        drawn = [value for steps in chain for code, value in steps if names[code] == name]
        assert stats.kstest(drawn, "uniform", (low, high - low)).pvalue > 1e-5, name


def test_signs_and_chances_of_the_policy_are_those_drawn(monkeypatch, images):
    _, chain = chains(monkeypatch, images[:10].repeat(800, 1, 1, 1), module.auto_policy)
    moves = [v for steps in chain for code, v in steps if list(AUTO)[code] == "translate_y"]
    colours = [v for steps in chain for code, v in steps if list(AUTO)[code] == "color" and v != 1]
    _codes, chances, _ = module.policy()
    applied = np.mean([code != 0 for steps in chain for code, _ in steps])

    assert abs(np.mean(np.array(moves) > 0) - 0.5) < 4 * 0.5 / len(moves) ** 0.5
    assert abs(np.mean(np.array(colours) > 1) - 0.5) < 4 * 0.5 / len(colours) ** 0.5
    assert max(moves) == pytest.approx(150 / 331)
    assert abs(applied - chances.mean().item()) < 4 * 0.5 / 16_000**0.5


def test_jitter_draws_its_published_ranges(monkeypatch, images):
    _, chain = chains(monkeypatch, images[:10].repeat(200, 1, 1, 1), module.colour_jitter)
    for operation, (low, high) in enumerate([(0.6, 1.4)] * 3 + [(-0.1, 0.1)]):
        drawn = [value for steps in chain for code, value in steps[:4] if code == operation]
        assert stats.kstest(drawn, "uniform", (low, high - low)).pvalue > 1e-5


def test_rates_are_those_of_the_sources(monkeypatch, glyphs):
    images = glyphs.read("train", torch.arange(10), 32).repeat(400, 1, 1, 1)
    _, chain = chains(monkeypatch, images, module.colour_jitter)
    jitter = np.mean([steps[0][0] != 4 for steps in chain])
    grey = np.mean([steps[4][0] == 1 for steps in chain])

    assert abs(jitter - 0.8) < 4 * (0.16 / 4000) ** 0.5
    assert abs(grey - 0.2) < 4 * (0.16 / 4000) ** 0.5
