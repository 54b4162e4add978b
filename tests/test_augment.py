import torch
from scipy import stats

from lthnb.augment import augment, crop, flip
from lthnb.config import stream


def test_an_image_depends_on_its_own_draws_only():
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    changed = images.clone()
    changed[1:] = 0

    assert torch.equal(
        augment(images, "base", stream(0, "a"))[0], augment(changed, "base", stream(0, "a"))[0]
    )


def test_equal_images_come_out_different():
    images = torch.arange(16 * 16, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(40, 3, 16, 16)

    assert len({image.numpy().tobytes() for image in augment(images, "base", stream(0, "a"))}) > 20


def test_epochs_differ_and_a_repeated_epoch_does_not():
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    first, again, later = (augment(images, "base", stream(0, "augment", epoch)) for epoch in (0, 0, 1))

    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert (first.dtype, first.shape) == (torch.uint8, images.shape)


def test_a_crop_is_a_window_of_the_padded_image_at_a_uniform_place():
    image = torch.arange(1, 65, dtype=torch.uint8).reshape(1, 1, 8, 8)
    padded = torch.nn.functional.pad(image, (1, 1, 1, 1))[0, 0]
    windows = {padded[y : y + 8, x : x + 8].numpy().tobytes(): (y, x) for y in range(3) for x in range(3)}

    places = [
        windows[out[0].numpy().tobytes()] for out in crop(image.expand(9000, 1, 8, 8), stream(0, "a"), 1)
    ]

    assert stats.chisquare([places.count((y, x)) for y in range(3) for x in range(3)]).pvalue > 1e-4


def test_a_flip_mirrors_half_of_the_images():
    images = torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8).expand(10_000, 1, 2, 2)
    out = flip(images, stream(0, "a"))
    mirrored = (out == images.flip(-1)).all(-1).all(-1).flatten()

    assert abs(mirrored.float().mean() - 0.5) < 4 * 0.005
    assert torch.equal(out[~mirrored], images[~mirrored])


def test_none_changes_nothing():
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)

    assert augment(images, "none", stream(0, "a")) is images
