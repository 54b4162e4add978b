import pytest
import torch

from lthnb.config import NetworkConfig
from lthnb.masks import prunable
from lthnb.models import build


def test_initial_standard_deviation_of_every_layer_is_that_of_pytorch():
    model = build(NetworkConfig(), seed=0)

    for name, weight in prunable(model).items():
        expected = 1 / (3 * weight[0].numel()) ** 0.5
        assert weight.std().item() == pytest.approx(expected, rel=0.03), name


def test_torchvision_draws_by_fan_out():
    model = build(NetworkConfig(init="torchvision", width=32), seed=0)
    weight = model.layer3[0].conv1.weight  # 64 -> 128 channels

    assert weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.03)


def test_a_seed_gives_one_network_and_another_seed_another():
    first, again, other = (build(NetworkConfig(width=4), seed).state_dict() for seed in (0, 0, 1))

    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(not torch.equal(first[name], other[name]) for name in first if "conv" in name)


def test_building_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    build(NetworkConfig(width=4), seed=0)

    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("side", "kernel"), [(16, 3), (32, 3), (64, 3), (96, 7)])
def test_the_stem_fits_the_image(side, kernel):
    model = build(NetworkConfig(width=4, model="resnet10"), seed=0, channels=1, classes=7, side=side)

    assert model.stem[0].kernel_size == (kernel, kernel)
    assert model(torch.zeros(2, 1, side, side)).shape == (2, 7)
