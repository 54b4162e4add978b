"""Attacks: inside their bound, up the loss, in units of pixels."""

import dataclasses

import pytest
import torch
from helpers.small import SMALL, make
from torch import nn
from torch.nn import functional as F

from lthnb.images.splits import Split, load
from lthnb.measures.attacks import adversarial, withstood
from lthnb.measures.finished import FinishedRun

FGSM = {"radius": 8 / 255}
PGD = {"radius": 8 / 255, "step": 2 / 255, "steps": 10}


@pytest.fixture(scope="module")
def run(glyphs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("attacked")
    config = SMALL.replace(rounds=0, epochs=12, width=8)
    return FinishedRun(make(config, glyphs, folder), folder / config.key, load(glyphs, config.data, 0))


@pytest.mark.parametrize("how", [FGSM, PGD, {"radius": 0.3}])
def test_an_attack_stays_within_its_radius_and_among_pixels(run, how):
    changed = adversarial(run.ticket(0).model(), run.data, run.data.test, **how)
    moved = (changed - run.data.test.images / 255).abs()

    assert changed.shape == run.data.test.images.shape
    assert float(moved.max()) <= how["radius"] + 1e-6
    assert float(moved.max()) > how["radius"] / 2
    assert float(changed.min()) >= 0 and float(changed.max()) <= 1


def test_more_steps_leave_fewer_right_answers_and_none_leave_more_than_clean_images(run):
    model = run.ticket(0).model()
    train = run.data.train
    clean = withstood(model, run.data, train, radius=0.0)
    one = withstood(model, run.data, train, **FGSM)
    ten = withstood(model, run.data, train, **PGD)

    assert len(train) / 3 < clean
    assert ten <= one < clean


def test_one_step_follows_the_sign_of_finite_differences(run):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).double()
    with torch.no_grad():
        model[1].weight.copy_(torch.linspace(-1, 1, 36).reshape(3, 12).sin())
    data = dataclasses.replace(
        run.data, mean=torch.full((1, 3, 1, 1), 0.4).double(), std=torch.full((1, 3, 1, 1), 0.2).double()
    )
    images = torch.arange(90, 102, dtype=torch.uint8).reshape(1, 3, 2, 2)
    split = Split(images, torch.tensor([1]))
    changed = adversarial(model, data, split, radius=1 / 255)
    for place in range(12):
        shifted = images.double().flatten().repeat(2, 1)
        shifted[0, place] += 0.01
        shifted[1, place] -= 0.01
        losses = F.cross_entropy(
            model(data.normalise(shifted.reshape(2, 3, 2, 2))), split.labels.repeat(2), reduction="none"
        )
        assert torch.sign(losses[0] - losses[1]) == torch.sign(
            changed.flatten()[place] - images.flatten()[place] / 255
        )


def test_the_radius_is_that_of_pixels_whatever_the_spread_of_the_images(run):
    model = run.ticket(0).model()
    for spread in (0.1, 1.0):
        data = dataclasses.replace(run.data, std=torch.full((1, 3, 1, 1), spread))
        moved = (adversarial(model, data, run.data.test, **FGSM) - run.data.test.images / 255).abs()
        assert float(moved.max()) == pytest.approx(8 / 255, abs=1e-6)


def test_an_attack_leaves_the_network_as_it_was(run):
    model = run.ticket(0).model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    adversarial(model, run.data, run.data.test, **PGD)

    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
