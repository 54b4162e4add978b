"""Initial weights: their spread, and that they come from one generator alone."""

import pytest
import torch
from torch import nn

from lthnb import config
from lthnb.config import NetworkConfig, stream
from lthnb.training.networks import Architecture, build, prunable
from lthnb.training.starts import STARTS

DIGITS = tuple("0123456789")


def test_starts_are_those_that_a_configuration_may_name():
    assert tuple(STARTS) == config.STARTS


def test_initial_standard_deviation_of_every_layer_is_that_of_pytorch():
    model = build(Architecture(NetworkConfig(), 3, 32, DIGITS), seed=0)

    for name, weight in prunable(model).items():
        expected = 1 / (3 * weight[0].numel()) ** 0.5
        assert weight.std().item() == pytest.approx(expected, rel=0.03), name


def test_torchvision_draws_by_fan_out():
    network = NetworkConfig(init="torchvision", width=32)
    model = build(Architecture(network, 3, 32, DIGITS), seed=0)
    weight = model.layer3[0].conv1.weight  # 64 -> 128 channels

    assert weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.03)


@pytest.mark.parametrize("name", STARTS)
def test_a_start_draws_from_its_generator_alone_and_leaves_no_old_value(name):
    models = [
        nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
        for _ in range(2)
    ]
    before = torch.get_rng_state()
    for model in models:
        for value in model.parameters():
            nn.init.constant_(value, 7.0)
        STARTS[name](model, stream(0, "init"))
    first, second = (model.state_dict() for model in models)

    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert first["1.weight"].tolist() == [1.0] * 4 and first["1.bias"].tolist() == [0.0] * 4
    assert not any((value == 7).any() for value in first.values())
