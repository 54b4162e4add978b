"""Where the weights of a ticket are: nulls, overlaps, and what is saved."""

import dataclasses

import pytest
import torch
from helpers.small import WIDER, architecture, make

from lthnb.images.splits import load
from lthnb.measures import layers
from lthnb.measures.finished import FinishedRun
from lthnb.training import masks
from lthnb.training.networks import build, multiply_adds, prunable

RUN = WIDER.replace(epochs=3, rounds=2, rate=0.5, rewind_epoch=1)
OTHER = RUN.replace(augment="rand")


@pytest.fixture(scope="module")
def run(glyphs, tmp_path_factory):
    """A finished run with its images, and another of the same initialisation as its relative."""
    folder = tmp_path_factory.mktemp("inside")
    relative = FinishedRun(make(OTHER, glyphs, folder), folder / OTHER.key)
    data = load(glyphs, RUN.data, 0)
    return FinishedRun(make(RUN, glyphs, folder), folder / RUN.key, data, (relative,))


@pytest.fixture(scope="module")
def values(run):
    return layers.measure(run)


def largest(weights, number):
    """The masks of so many weights of the largest magnitude."""
    flat = torch.cat([weight.detach().abs().flatten() for weight in weights.values()])
    least = flat.sort().values[-number]
    return {name: weight.abs() >= least for name, weight in weights.items()}


def shared(first, second):
    return [int((first[name] & second[name]).sum()) for name in first]


def test_a_finished_run_knows_its_key_its_last_round_and_its_tickets(run, tmp_path):
    assert (run.key, run.last) == (RUN.key, 2)
    assert run.ticket(2).about["round"] == 2
    assert run.has_tickets()
    assert not dataclasses.replace(run, folder=tmp_path).has_tickets()


def test_nulls_keep_as_many_weights_as_the_ticket_and_only_the_largest(run, values):
    for name in ("init", "rewind"):
        kept = [sum(row["kept"]) for row in run.record.rounds]
        assert [sum(counts) for counts in values["null"][name]] == kept
    weights = prunable(build(architecture(RUN), 0))
    null = largest(weights, sum(run.record.rounds[2]["kept"]))

    assert values["null"]["init"][2] == list(masks.survivors(null).values())
    assert values["shared"]["init"] == shared(null, run.ticket(2).masks)


def test_nulls_of_rewind_weights_are_those_of_the_dense_ticket(run, values):
    early = run.ticket(0)
    weights = {name: early.states["rewind"][name] for name in early.masks}
    null = largest(weights, sum(run.record.rounds[2]["kept"]))

    assert values["null"]["rewind"][2] == list(masks.survivors(null).values())
    assert values["shared"]["rewind"] == shared(null, run.ticket(2).masks)


def test_shared_survivors_are_counted_layer_by_layer(run, values):
    (relative,) = run.relatives

    assert values["shared"][OTHER.key] == shared(run.ticket(2).masks, relative.ticket(2).masks)


def test_rewind_weights_of_a_relative_are_laid_beside_those_of_the_run(run, values):
    number = sum(run.record.rounds[2]["kept"])
    (relative,) = run.relatives
    tickets = (run.ticket(0), relative.ticket(0))
    mine, theirs = (largest({n: t.states["rewind"][n] for n in t.masks}, number) for t in tickets)

    assert values["rewinds"] == {
        OTHER.key: {"kept": list(masks.survivors(theirs).values()), "shared": shared(mine, theirs)}
    }


def test_norms_are_those_of_the_two_branches(run, values):
    model = run.ticket(0).model().eval()
    with torch.no_grad():
        images = model.stem(run.data.normalise(run.data.test.images[:500]))
        block = model.layer1[0]
        hidden = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(images)))))
    expected = float(images.flatten(1).norm(dim=1).mean() / hidden.flatten(1).norm(dim=1).mean())

    assert values["norms"]["dense"][0] == pytest.approx(expected, abs=2e-3)
    assert len(values["norms"]["ticket"]) == 4


def test_what_is_dead_is_told_of_every_round(run, values):
    last = layers.saved(run.ticket(2).masks, architecture(RUN))

    assert (values["dead"][0], values["channels"][0]) == (0, 1.0)
    assert (values["dead"][2], values["channels"][2]) == last
    assert values["round"] == 2


def test_only_channels_that_nothing_writes_or_reads_are_dead():
    full = masks.ones(build(architecture(RUN), 0))
    assert layers.saved(full, architecture(RUN)) == (0, 1.0)

    full["layer1.0.conv1.weight"][2] = False  # nothing writes channel 2
    full["layer1.0.conv2.weight"][:, 3] = False  # nothing reads channel 3
    full["layer2.0.conv2.weight"][0] = False  # an output of a block stays
    dead, channels = layers.saved(full, architecture(RUN))

    sizes = multiply_adds(architecture(RUN))
    halved = (sizes["layer1.0.conv1.weight"] + sizes["layer1.0.conv2.weight"]) / 2
    assert dead == 2
    assert channels == pytest.approx(1 - halved / sum(sizes.values()))
