"""How far a step goes at the rewind weights: against the plain formula, and what it does not depend on."""

import dataclasses

import pytest
import torch
from helpers.small import WIDER, make
from torch.nn import functional as F

from lthnb.images.splits import load
from lthnb.measures import fair_test
from lthnb.measures.finished import FinishedRun
from lthnb.training.networks import prunable

RUN = WIDER.replace(epochs=3, rounds=1, rate=0.5, rewind_epoch=1, batch_size=30)


@pytest.fixture(scope="module")
def run(glyphs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    return FinishedRun(make(RUN, glyphs, folder), folder / RUN.key, load(glyphs, RUN.data, 0))


def test_every_arm_has_a_step_and_a_signal(run):
    values = fair_test.measure(run)

    assert list(values) == ["dense", "ticket", "shuffled"]
    assert all(arm["step"] > 0 and arm["signal"] > 0 for arm in values.values())
    assert len({arm["step"] for arm in values.values()}) == 3


def test_the_dense_step_is_that_of_the_plain_formula(run):
    ratios = []
    gradients = []
    for batch in (slice(0, 30), slice(30, 60)):
        model = run.ticket(0).model("rewind").train()
        images = run.data.normalise(run.data.train.images[batch])
        F.cross_entropy(model(images), run.data.train.labels[batch]).backward()
        weights = prunable(model)
        ratios.append([0.1 * float(w.grad.norm() / w.detach().norm()) for w in weights.values()])
        gradients.append(torch.cat([w.grad.flatten() for w in weights.values()]))
    first, second = gradients
    values = fair_test.measure(run)["dense"]

    assert values["step"] == pytest.approx(float(torch.tensor(ratios).mean(0).median()), rel=1e-4)
    assert values["signal"] == pytest.approx(
        float((first + second).norm() / (first - second).norm()), rel=1e-3
    )


def test_a_step_grows_with_the_learning_rate_alone(run):
    config = run.record.config.replace(lr=0.2)
    twice = dataclasses.replace(run, record=dataclasses.replace(run.record, config=config))
    ticket = run.ticket(1).masks

    once = fair_test.steps(run, run.ticket(0), ticket)
    doubled = fair_test.steps(twice, run.ticket(0), ticket)
    assert doubled["step"] == pytest.approx(2 * once["step"])
    assert doubled["signal"] == pytest.approx(once["signal"])
