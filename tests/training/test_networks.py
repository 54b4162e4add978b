"""Networks: their initial weights, which of them may be pruned, what they cost, and a trap of a library."""

import subprocess
import sys

import pytest
import torch
from helpers import small
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lthnb import config
from lthnb.config import ROOT, NetworkConfig, ParameterError
from lthnb.training import networks
from lthnb.training.networks import (
    NETWORKS,
    Architecture,
    DualBatchNorm,
    Shortcut,
    build,
    convolution_weights,
    multiply_adds,
    prunable,
    small_dense,
    switch_norms_,
)
from lthnb.training.starts import STARTS


def architecture(side=32, channels=3, classes=10, **network):
    return Architecture(NetworkConfig(**network), channels, side, tuple(map(str, range(classes))))


def test_networks_are_those_that_a_configuration_may_name():
    assert tuple(NETWORKS) == config.NETWORKS


def test_a_seed_gives_one_network_and_another_seed_another():
    first, again, other = (build(architecture(width=4), seed).state_dict() for seed in (0, 0, 1))

    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(not torch.equal(first[name], other[name]) for name in first if "conv" in name)


def test_building_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    build(architecture(width=4), seed=0)

    assert torch.equal(torch.get_rng_state(), before)


def test_an_empty_network_has_names_and_shapes_and_no_memory():
    shape = architecture(width=4)
    built = build(shape, 0).state_dict()
    empty = shape.empty().state_dict()

    assert all(value.is_meta for value in empty.values())
    assert {name: value.shape for name, value in empty.items()} == {n: v.shape for n, v in built.items()}


@pytest.mark.parametrize("name", config.NETWORKS)
def test_a_network_declares_the_weights_of_all_its_convolutions_as_prunable(name):
    model = architecture(model=name, width=4).empty()
    convolutions = {part: kind for part, kind in model.named_modules() if isinstance(kind, nn.Conv2d)}

    assert model.prunable_names == tuple(f"{part}.weight" for part in convolutions)
    assert list(prunable(model)) == list(model.prunable_names)
    assert all(prunable(model)[f"{part}.weight"] is kind.weight for part, kind in convolutions.items())


def test_what_a_network_declares_alone_is_prunable():
    model = small.architecture().empty()
    model.prunable_names = ("head.weight",)

    assert list(prunable(model)) == ["head.weight"]


def test_convolutions_alone_are_prunable_and_their_number_is_the_published_one():
    model = architecture().empty()

    assert sum(weight.numel() for weight in prunable(model).values()) == 11_159_232
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_173_962


@pytest.mark.parametrize("init", STARTS)
@pytest.mark.parametrize("side", [32, 96])
def test_dual_norms_add_weights_and_change_none_of_a_single_network(side, init):
    single, dual = (
        build(architecture(side, width=4, init=init, norm=norm), 0) for norm in ("single", "dual")
    )
    weights = dual.state_dict()
    added = {name for name in weights if ".auxiliary." in name}
    rest = {name: value for name, value in weights.items() if name not in added}

    assert list(rest) == list(single.state_dict())
    assert all(torch.equal(value, rest[name]) for name, value in single.state_dict().items())
    assert dual.prunable_names == single.prunable_names
    assert not any(isinstance(part, DualBatchNorm) for part in single.modules())
    assert {name.replace(".auxiliary", "") for name in added} == {
        name for name in rest if "conv" not in name and "head" not in name and rest[name].dim() < 2
    }


def test_adversarial_images_pass_the_auxiliary_norms_alone_and_others_the_main_ones_alone():
    single, dual = (build(architecture(width=4, norm=norm), 0) for norm in ("single", "dual"))
    images = torch.randn(8, 3, 32, 32, generator=config.stream(0, "images"))
    expected = single(images)
    before = {name: value.clone() for name, value in dual.state_dict().items()}
    for adversarial in (True, False):
        switch_norms_(dual, adversarial)
        assert torch.equal(dual(images), expected)  # all norms start equal
        moved = {name for name, value in dual.state_dict().items() if not torch.equal(value, before[name])}
        assert moved and all((".auxiliary." in name) == adversarial for name in moved)
        before = {name: value.clone() for name, value in dual.state_dict().items()}

    dual.stem[1].auxiliary.running_mean.fill_(7)
    assert torch.equal(dual.eval()(images), single.eval()(images))


@pytest.mark.parametrize(("side", "kernel"), [(16, 3), (32, 3), (64, 3), (96, 7)])
def test_the_stem_fits_the_image(side, kernel):
    model = build(architecture(side, channels=1, classes=7, width=4, model="resnet10"), seed=0)

    assert model.stem[0].kernel_size == (kernel, kernel)
    assert model(torch.zeros(2, 1, side, side)).shape == (2, 7)


@pytest.mark.parametrize("side", [32, 96])
@pytest.mark.parametrize("widths", ["", "3-7-11-25"])
@pytest.mark.parametrize("model", config.NETWORKS)
def test_convolution_weights_are_counted_without_building(model, widths, side):
    shape = architecture(side, model=model, width=6, widths=widths)
    built = sum(weight.numel() for weight in prunable(build(shape, 0)).values())

    assert convolution_weights(shape.network, 3, side) == built


def test_multiply_adds_of_the_paper_s_network_are_half_of_torch_s_count_of_operations():
    counts = multiply_adds(architecture())
    model = architecture().empty().eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 32, 32, device="meta"))
    operations = counter.get_flop_counts()["Global"][torch.ops.aten.convolution]

    assert sum(counts.values()) == operations / 2
    assert sum(counts.values()) == pytest.approx(555.4e6, rel=0.01)
    assert operations == pytest.approx(1.111e9, rel=0.01)


@pytest.mark.parametrize("side", [16, 32, 96])
def test_multiply_adds_are_weights_times_the_places_they_are_used_at(side):
    shape = architecture(side, width=4)
    model = build(shape, 0).eval()
    places = {}
    for name, part in model.named_modules():
        if isinstance(part, nn.Conv2d):

            def look(_part, _inputs, out, name=f"{name}.weight"):
                places[name] = out.shape[-1] * out.shape[-2]

            part.register_forward_hook(look)
    model(torch.zeros(1, 3, side, side))

    expected = {name: weight.numel() * places[name] for name, weight in prunable(model).items()}
    assert multiply_adds(shape) == expected


@pytest.mark.parametrize("channels", [2, 15, 16])
def test_a_shortcut_gives_the_same_output_and_gradients_as_a_strided_convolution(channels):
    draw = torch.Generator().manual_seed(0)
    shortcut = Shortcut(channels, 5, stride=2).double()
    plain = nn.Sequential(nn.Conv2d(channels, 5, 1, 2, bias=False), nn.BatchNorm2d(5)).double()
    plain.load_state_dict(shortcut.state_dict())
    ours = torch.randn(3, channels, 8, 8, dtype=torch.float64, generator=draw).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    weights = torch.randn(3, 5, 4, 4, dtype=torch.float64, generator=draw)
    (shortcut(ours) * weights).sum().backward()
    (plain(theirs) * weights).sum().backward()

    torch.testing.assert_close(shortcut(ours), plain(theirs), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(shortcut[0].weight.grad, plain[0].weight.grad, rtol=1e-12, atol=1e-12)
    assert shortcut.skips == (2 if channels < networks.REGISTER else 1)


NARROW = """
import torch
from helpers import small
from lthnb.config import NetworkConfig
from lthnb.training.networks import Architecture, build
torch.set_num_threads(1)
for widths in ("1-2-3-5", "2-4-8-16"):
    network = NetworkConfig(model="resnet10", widths=widths)
    model = build(Architecture(network, 3, 16, small.DIGITS), seed=0)
    images = torch.ones(100, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    for _ in range(5):
        model(images).sum().backward()
print("whole")
"""


def test_a_network_of_few_channels_trains_without_writing_past_its_memory():
    """oneDNN's strided 1x1 convolution does (uxlfoundation/oneDNN#6035); glibc then aborts the process."""
    ended = subprocess.run(
        [sys.executable, "-c", NARROW],
        cwd=ROOT / "tests",
        env=small.environment(MALLOC_CHECK_="3", MALLOC_PERTURB_="165"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (ended.returncode, ended.stdout.strip()) == (0, "whole"), ended.stderr


def test_the_small_dense_network_of_the_paper_has_width_twelve():
    assert small_dense(NetworkConfig(), 0.8**15).stages == (12, 24, 48, 96)


@pytest.mark.parametrize("width", [16, 64])
def test_small_dense_networks_have_a_ticket_s_weights_within_one_percent(width):
    full = NetworkConfig(width=width)
    for density in (0.512, 0.262, 0.134, 0.0687, 0.0352):
        narrow = small_dense(full, density)
        assert convolution_weights(narrow) == pytest.approx(density * convolution_weights(full), rel=0.01)
        first, *_, last = narrow.stages
        assert 4 <= last / first <= 12  # about 1 : 8


def test_a_density_below_every_network_is_an_error():
    with pytest.raises(ParameterError, match="no network of four stages has 0 convolution weights"):
        small_dense(NetworkConfig(width=4), 1e-5)
