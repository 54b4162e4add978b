"""What a network is trained to make small: the plain loss, and the one with attacked images."""

import copy
import dataclasses
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from helpers import faults, small
from helpers.pretended import pretended
from helpers.small import TINY, architecture, make, on_cpu
from torch import nn
from torch.nn import functional as F

from lthnb import config
from lthnb.config import stream
from lthnb.experiments import resolve
from lthnb.images import splits
from lthnb.runs.execute import execute
from lthnb.runs.machine import set_determinism
from lthnb.training import loop, step
from lthnb.training.networks import build, prunable
from lthnb.training.objectives import OBJECTIVES, advprop, attack, cross_entropy, start

RUN = TINY.replace(objective="advprop", norm="dual", rounds=2, rate=0.5)
REAL = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def pixels(number=8, low=0, high=256, side=4):
    draw = stream(0, "pixels")
    return torch.randint(low, high, (number, 3, side, side), dtype=torch.uint8, generator=draw)


def linear(classes=2, side=4):
    """A network of one layer in double precision, and the loss of eight images of the first class."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * side**2, classes)).double()
    for values in model.parameters():
        nn.init.normal_(values, generator=stream(0, "weights"))
    return model, torch.zeros(8, dtype=torch.int64)


def dual(data):
    """The network of the run and a batch of its images."""
    return build(architecture(RUN), 0), data.train.images[:20], data.train.labels[:20]


def test_objectives_are_those_that_a_configuration_may_name():
    assert tuple(OBJECTIVES) == config.OBJECTIVES


def test_cross_entropy_is_the_mean_over_images_in_fp32():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.bfloat16)
    labels = torch.tensor([0, 0])

    loss = cross_entropy(lambda images: images / 2, logits, labels, lambda images: images * 2)

    chances = logits.float().softmax(1)[:, 0]
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(-chances.log().mean().item())


def test_a_start_is_uniform_within_epsilon_and_a_fifth_of_the_images_stay():
    images = pixels(2000).float()
    noise = start(images) - images
    moved = noise.flatten(1).any(1)

    assert noise.abs().max() <= 8
    assert moved.float().mean().item() == pytest.approx(0.8, abs=0.03)
    assert noise[moved].mean().item() == pytest.approx(0, abs=0.05)
    assert noise[moved].std().item() == pytest.approx(16 / 12**0.5, rel=0.01)
    neighbours = noise[moved].flatten(1)[:, :2].T
    assert torch.corrcoef(neighbours)[0, 1].abs() < 0.1


def test_the_start_of_an_image_depends_on_its_pixels_alone():
    images = pixels().float()
    changed = images.clone()
    changed[0, 0, 0, 1] += 1
    same = (start(images) - images).eq(start(changed) - changed).flatten(1)

    assert same[1:].all()
    assert not same[0].all()
    assert torch.equal(start(images[3:4]), start(images)[3:4])


def test_attacked_images_stay_within_epsilon_and_within_pixels():
    model, labels = linear()
    for low, high in ((0, 4), (0, 256), (252, 256)):
        images = pixels(low=low, high=high)
        moved = attack(images, partial(cross_entropy, model, labels=labels, normalise=torch.Tensor.double))
        assert moved.dtype == torch.float32
        assert moved.min() >= 0 and moved.max() <= 255
        assert (moved - images).abs().max() <= 8
        assert (moved != images).any()


def test_an_attack_goes_the_way_of_finite_differences():
    model, labels = linear(classes=5)
    images = pixels()

    def loss(values):
        return F.cross_entropy(model(values.double() / 255), labels)

    began = start(images.float()).double()
    slope = torch.empty_like(began)
    for place in range(began.numel()):
        nudge = torch.zeros(began.numel(), dtype=torch.float64)
        nudge[place] = 1e-3
        nudge = nudge.view_as(began)
        slope.view(-1)[place] = loss(began + nudge) - loss(began - nudge)
    expected = (began.float() + 2 * slope.sign().float()).clamp(images - 8.0, images + 8.0).clamp(0, 255)

    assert torch.equal(attack(images, loss), expected)


def test_epsilon_is_in_pixels_whatever_the_spread_of_the_images(loaded):
    model, labels = linear()
    images = pixels(low=100, high=150)
    narrow = dataclasses.replace(loaded, std=loaded.std / 50)
    moved = [
        attack(
            images,
            lambda one, data=data: cross_entropy(model, one, labels, lambda x: data.normalise(x).double()),
        )
        for data in (loaded, narrow)
    ]

    assert (moved[0] - images).abs().max() == 8
    assert torch.equal(*moved)


def test_an_attack_leaves_no_gradient_and_moves_no_statistics(loaded):
    model, images, labels = dual(loaded)
    before = loop.copy(model)
    model.eval()
    attack(images, partial(cross_entropy, model, labels=labels, normalise=loaded.normalise))

    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_noise_and_pixels_stay_in_fp32_under_bf16(loaded):
    model, images, labels = dual(loaded)
    plain = start(images.float())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(start(images.float()), plain)
        loss = advprop(model, images, labels, loaded.normalise)
        moved = attack(images, partial(cross_entropy, model, labels=labels, normalise=loaded.normalise))

    assert loss.dtype == moved.dtype == torch.float32


def test_main_statistics_move_as_without_attacked_images_and_the_others_once(loaded):
    model, images, labels = dual(loaded)
    single = build(architecture(RUN.replace(objective="cross_entropy", norm="single")), 0)
    advprop(model, images, labels, loaded.normalise)
    cross_entropy(single, images, labels, loaded.normalise)

    state = model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in single.state_dict().items())
    assert {int(value) for name, value in state.items() if name.endswith("tracked")} == {1}
    assert all(part.training for part in model.modules())


def test_the_loss_is_the_mean_of_that_of_images_and_of_attacked_ones(loaded):
    model, images, labels = dual(loaded)
    single = build(architecture(RUN.replace(objective="cross_entropy", norm="single")), 0)
    plain = partial(cross_entropy, labels=labels, normalise=loaded.normalise)
    attacked = attack(images, partial(plain, copy.deepcopy(single).eval()))
    expected = (plain(single, images) + plain(single, attacked)) / 2  # all norms start equal

    loss = advprop(model, images, labels, loaded.normalise)
    loss.backward()

    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert all(weight.grad is not None for weight in model.parameters())


@pytest.mark.parametrize("where", ["pretended", pytest.param("real", marks=REAL)])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_is_captured_and_its_replays_equal_it(glyphs, precision, where):
    set_determinism()
    with pretended() if where == "pretended" else nullcontext():
        data = splits.load(glyphs, RUN.data, 0, "cuda")
        states = []
        for capture in (None, step.graphed):
            model = build(architecture(RUN), 0).to("cuda")
            one = step.Step(model, data, RUN.train, precision, capture)
            for first in (0, 20, 40):
                one(data.train.images[first : first + 20], data.train.labels[first : first + 20])
            states.append({name: value.cpu() for name, value in model.state_dict().items()})

    assert one.captured
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_plan_that_names_the_objective_gets_its_norms(glyphs):
    planned = resolve(glyphs.info, "smoke", {"fraction": 60, "objective": "advprop"})

    assert planned.network.norm == "dual"
    assert resolve(glyphs.info, "smoke", {"fraction": 60}).network.norm == "single"


def test_pruned_weights_stay_zero_and_the_norms_of_both_kinds_learn(loaded):
    for current in small.rounds(RUN, loaded):
        weights = prunable(current.model)
        assert all(not weights[name][~mask].any() for name, mask in current.masks.items())
        norm = current.model.stem[1]
        assert not torch.equal(norm.weight, norm.auxiliary.weight)
        assert not torch.equal(norm.running_mean, norm.auxiliary.running_mean)

    assert current.index == 2
    assert small.density(current.masks) == pytest.approx(0.25, abs=0.01)


def test_a_run_comes_to_its_record_and_goes_on_where_it_stopped(glyphs, tmp_path):
    whole = make(RUN, glyphs, tmp_path / "whole")
    for done in execute(RUN, glyphs, on_cpu(tmp_path / "cut"), every=0):
        if done == 2:
            break
    assert not (tmp_path / "cut" / f"{RUN.key}.json").exists()
    resumed = make(RUN, glyphs, tmp_path / "cut")

    assert len(whole.rounds) == 3
    assert resumed.made["exact"] is True
    assert faults.digest(RUN, tmp_path / "cut") == faults.digest(RUN, tmp_path / "whole")
