"""What one step adds to the loss at the rewind weights: against the plain formula."""

import pytest
import torch
from helpers.small import WIDER, make
from torch.nn import functional as F

from lthnb.images.splits import load
from lthnb.measures import fair_test
from lthnb.measures.finished import FinishedRun

RUN = WIDER.replace(epochs=3, rounds=1, rate=0.5, rewind_epoch=1)


@pytest.fixture(scope="module")
def run(glyphs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    return FinishedRun(make(RUN, glyphs, folder), folder / RUN.key, load(glyphs, RUN.data, 0))


def test_every_arm_has_a_change_for_each_rate_and_they_differ(run):
    values = fair_test.measure(run)

    assert list(values) == ["rates", "dense", "ticket", "shuffled"]
    assert {len(arm) for arm in values.values()} == {len(fair_test.RATES)}
    assert len({tuple(arm) for arm in values.values()}) == 4


@pytest.mark.parametrize(("arm", "index"), [("dense", 0), ("ticket", 1)])
def test_a_change_is_that_of_a_plain_step_under_the_masks(run, arm, index):
    masks = run.ticket(index).masks
    model = run.ticket(0).model("rewind").train()
    images = run.data.normalise(run.data.train.images)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    weights = dict(model.named_parameters())

    def masked_loss():
        with torch.no_grad():
            for name, mask in masks.items():
                weights[name] *= mask
        return F.cross_entropy(model(images), run.data.train.labels)

    loss = masked_loss()
    loss.backward()
    sgd.step()

    assert fair_test.measure(run)[arm][3] == pytest.approx(float(masked_loss() - loss), abs=1e-5)


def test_a_small_step_lowers_the_loss_and_pruned_weights_stay_out_of_it(run):
    values = fair_test.measure(run)

    assert all(values[arm][0] < 0 for arm in ("dense", "ticket", "shuffled"))
    whole = fair_test.changes(run, run.ticket(0), run.ticket(0).masks)
    assert whole == values["dense"]
