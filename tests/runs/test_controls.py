"""Random and shuffled masks and reinitialised tickets: what they share with the ticket and what not."""

import dataclasses

from helpers import faults
import pytest
import torch

from lthnb.runs import record, execute as running, ticket as tickets
from lthnb.training import imp
from lthnb.config import ParameterError, RunConfig, stream
from lthnb.images.splits import load
from lthnb.training.masks import dropped, prunable, zero_
from lthnb.training.networks import build
from lthnb.training.loop import copy, train

TICKET = RunConfig.of(
    name="glyphs", images=60, side=16, val_limit=50, test_limit=50, model="resnet10", width=4,
    epochs=4, batch_size=20, rounds=4, rate=0.4, rewind_epoch=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(glyphs, tmp_path_factory):
    """A folder with the ticket's run and its three controls, trained at rounds 2 and 4."""
    folder = tmp_path_factory.mktemp("controls")
    for control in ("none", "random", "shuffled", "reinit"):
        config = TICKET if control == "none" else TICKET.replace(control=control, every=2)
        running.run(config, glyphs, runs=str(folder))
    return folder


def kept(folder, control):
    config = TICKET.replace(control=control, every=2) if control else TICKET
    return {row["round"]: row["kept"] for row in record.load(config, str(folder)).rounds}


def test_counts_are_those_of_the_ticket(runs):
    ticket = kept(runs, "")

    assert list(ticket) == [0, 1, 2, 3, 4]
    for control in ("random", "shuffled", "reinit"):
        found = kept(runs, control)
        assert list(found) == [2, 4]
        assert [sum(found[index]) for index in found] == [sum(ticket[index]) for index in found]
    assert all(kept(runs, name)[4] == ticket[4] for name in ("shuffled", "reinit"))
    assert kept(runs, "random")[4] != ticket[4]


def starts(config, glyphs, masks_of, monkeypatch):
    """Weights and masks with which each training of a run begins."""
    found, inner = [], imp.train

    def spy(model, masks, *args, **options):
        zero_(prunable(model), dropped(masks))
        found.append((copy(model), masks, options["start"]))
        return inner(model, masks, *args, **options)

    monkeypatch.setattr(imp, "train", spy)
    list(imp.rounds(config, load(glyphs, config.data, config.seed), masks_of=masks_of))
    return found


def masks_from(runs, glyphs, config):
    this = running._Run(config, glyphs, "cpu", "fp32", runs / config.key, None, 20)
    return this._control()


@pytest.mark.parametrize("control", ["random", "shuffled"])
def test_random_and_shuffled_masks_start_from_the_ticket_s_rewind_weights(runs, glyphs, monkeypatch, control):
    config = TICKET.replace(control=control, every=2)
    with monkeypatch.context() as patch:
        ticket = starts(TICKET, glyphs, None, patch)
    with monkeypatch.context() as patch:
        _, *others = starts(config, glyphs, masks_from(runs, glyphs, config), patch)

    assert [start for _, _, start in others] == [2, 2]
    for (weights, masks, _), (theirs, own, _) in zip(others, ticket[2::2], strict=True):
        for name, mask in masks.items():
            both = mask & own[name]
            assert torch.equal(weights[name][both], theirs[name][both])
        rest = weights.keys() - masks.keys()
        assert all(torch.equal(weights[name], theirs[name]) for name in rest)  # BatchNorm too


def test_reinitialised_tickets_keep_the_masks_and_every_survivor_differs(runs, glyphs, monkeypatch):
    config = TICKET.replace(control="reinit", every=2)
    found = starts(config, glyphs, masks_from(runs, glyphs, config), monkeypatch)
    first = build(TICKET.network, 0, side=16).state_dict()

    assert [start for _, _, start in found] == [0, 0]  # trained the full length
    for (weights, masks, _), index in zip(found, (2, 4), strict=True):
        ticket = tickets.load(runs / TICKET.key / f"round-{index:02}.safetensors")
        early = tickets.load(runs / TICKET.key / "round-00.safetensors").states["rewind"]
        for name, mask in masks.items():
            assert torch.equal(mask, ticket.masks[name])
            assert (weights[name][mask] != first[name][mask]).all()
            assert (weights[name][mask] != early[name][mask]).all()
            assert (
                weights[name][mask].abs().max() <= 1 / weights[name][0].numel() ** 0.5
            )  # drawn as the first


def test_the_rewind_weights_of_a_control_are_those_of_the_ticket_s_dense_round(glyphs):
    model, data = build(TICKET.network, 0, side=16), load(glyphs, TICKET.data, 0)
    full = {name: torch.ones_like(w, dtype=torch.bool) for name, w in prunable(model).items()}
    whole = train(model, full, data, TICKET.train, seed=0, keep_at=2).kept
    model = build(TICKET.network, 0, side=16)
    short = train(model, full, data, TICKET.train, seed=0, keep_at=2, stop=2).kept

    assert all(torch.equal(whole[name], short[name]) for name in whole)


def test_a_control_makes_what_it_needs_of_its_ticket(runs, glyphs, tmp_path):
    config = TICKET.replace(control="reinit", every=2)
    running.run(config, glyphs, runs=str(tmp_path))
    other = {row["round"]: row["correct"] for row in record.load(config, str(tmp_path)).rounds}
    before = (tmp_path / f"{TICKET.key}.json").read_bytes()
    (tmp_path / f"{config.key}.json").unlink()
    for path in (tmp_path / TICKET.key).glob("round-*"):
        path.unlink()  # as if the record had come from another machine
    running.run(config, glyphs, runs=str(tmp_path))

    assert (tmp_path / f"{TICKET.key}.json").read_bytes() == before
    assert {row["round"]: row["correct"] for row in record.load(config, str(tmp_path)).rounds} == other


@pytest.mark.parametrize("control", ["shuffled", "reinit"])
def test_a_control_that_was_stopped_goes_on_with_the_same_bits(runs, glyphs, tmp_path, monkeypatch, control):
    config, inner = TICKET.replace(control=control, every=2), imp.train
    running.run(TICKET, glyphs, runs=str(tmp_path))

    def stopping(model, masks, data, settings, *, after, **options):
        def then(done, step, trained):
            after(done, step, trained)
            if done == 3 and sum(map(int, next(iter(masks.values())).flatten())) < 108:
                raise KeyboardInterrupt

        return inner(model, masks, data, settings, after=then, **options)

    with monkeypatch.context() as patch:
        patch.setattr(imp, "train", stopping)
        with pytest.raises(KeyboardInterrupt):
            running.run(config, glyphs, runs=str(tmp_path), every=0)
    went_on = running.run(config, glyphs, runs=str(tmp_path))
    straight = record.load(config, str(runs))

    assert [row["curve"] for row in went_on.rounds] == [row["curve"] for row in straight.rounds]
    assert went_on.made["exact"]


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ParameterError, match="every must be 1 unless a control is run, got 2"):
        TICKET.replace(every=2)
    with pytest.raises(ParameterError, match="control 'random' needs 5 or more rounds"):
        TICKET.replace(control="random", every=5)
    with pytest.raises(ParameterError, match="widths must be empty, or the channels of four stages"):
        TICKET.replace(widths="1-2-3")


def test_streams_of_the_controls_differ():
    names = ("init", "reinit", "random masks", "shuffled masks")
    assert len({int(torch.randint(2**60, (), generator=stream(0, name))) for name in names}) == 4
    assert dataclasses.asdict(TICKET.replace(control="random").parent) == dataclasses.asdict(TICKET)
    assert faults.TINY.parent == faults.TINY
