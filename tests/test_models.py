import pytest
import torch

from lthnb.config import NetworkConfig, ParameterError
from lthnb.masks import prunable
from lthnb.models import build, convolution_weights, small_dense


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


@pytest.mark.parametrize("side", [32, 96])
@pytest.mark.parametrize("widths", ["", "3-7-11-25"])
@pytest.mark.parametrize("model", ["resnet10", "resnet18"])
def test_convolution_weights_are_counted_without_building(model, widths, side):
    config = NetworkConfig(model=model, width=6, widths=widths)
    built = sum(weight.numel() for weight in prunable(build(config, 0, side=side)).values())

    assert convolution_weights(config, 3, side) == built


def test_the_small_dense_network_of_the_paper_has_width_twelve():
    assert small_dense(NetworkConfig(), 0.8**15).stages == (12, 24, 48, 96)


@pytest.mark.parametrize("width", [16, 64])
def test_small_dense_networks_have_a_ticket_s_weights_within_one_percent(width):
    full = NetworkConfig(width=width)
    for density in (0.512, 0.262, 0.134, 0.0687, 0.0352):
        small = small_dense(full, density)
        assert convolution_weights(small) == pytest.approx(density * convolution_weights(full), rel=0.01)
        first, *_, last = small.stages
        assert 4 <= last / first <= 12  # about 1 : 8


def test_a_density_below_every_network_is_an_error():
    with pytest.raises(ParameterError, match="no network of four stages has 0 convolution weights"):
        small_dense(NetworkConfig(width=4), 1e-5)
