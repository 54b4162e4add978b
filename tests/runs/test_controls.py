"""Random and shuffled masks and reinitialised tickets: what they share with the ticket and what not."""

import dataclasses
import shutil

import pytest
import torch
from helpers import faults, small
from helpers.small import SMALL, TINY, WIDER, make

from lthnb.config import ParameterError, stream
from lthnb.images.splits import load
from lthnb.runs import record
from lthnb.runs.checkpoint import Checkpoints
from lthnb.runs.execute import Execution, execute
from lthnb.runs.packed import TicketError
from lthnb.runs.queue import Job, missing
from lthnb.runs.record import MissingRun
from lthnb.runs.ticket import Ticket, ticket_path
from lthnb.training import imp, loop
from lthnb.training.masks import CONTROLS, ones
from lthnb.training.networks import build

TICKET = WIDER.replace(rounds=4)
CONTROLLED = {control: TICKET.replace(control=control, every=2) for control in CONTROLS}


@pytest.fixture(scope="module")
def runs(glyphs, tmp_path_factory):
    """A folder with the ticket's run and its three controls, trained at rounds 2 and 4."""
    folder = tmp_path_factory.mktemp("controls")
    for config in CONTROLLED.values():
        make(config, glyphs, folder)
    return folder


def kept(folder, config):
    return {row["round"]: row["kept"] for row in record.load(config, str(folder)).rounds}


def counts(folder, config):
    return {row["round"]: row["correct"] for row in record.load(config, str(folder)).rounds}


def ticket_of(folder, config, index):
    return Ticket.load(ticket_path(folder / config.key, index))


def test_counts_are_those_of_the_ticket(runs):
    ticket = kept(runs, TICKET)

    assert list(ticket) == [0, 1, 2, 3, 4]
    for config in CONTROLLED.values():
        own = kept(runs, config)
        assert list(own) == [2, 4]
        alike = ticket if config.prune.control != "rewound" else dict.fromkeys(own, ticket[0])
        assert [sum(own[index]) for index in own] == [sum(alike[index]) for index in own]
    assert kept(runs, CONTROLLED["shuffled"])[4] == ticket[4]
    assert kept(runs, CONTROLLED["reinit"])[4] == ticket[4]
    assert kept(runs, CONTROLLED["random"])[4] != ticket[4]


def begun(config, glyphs, monkeypatch, runs):
    """Weights, masks and first epoch of each training of a run."""
    seen = []
    train = loop.train

    def spy(step, settings, history, *, start=0, **rest):
        masks = {name: ~pruned for name, pruned in step.pruned.items()}
        seen.append((loop.copy(step.model), masks, start))
        return train(step, settings, history, start=start, **rest)

    execution = Execution.prepare(config, glyphs, small.on_cpu(runs), runs / config.key, every=1000)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train", spy)
        list(small.rounds(config, execution.data, masks_of=execution.masks_of()))
    return seen


@pytest.mark.parametrize("control", ["random", "shuffled"])
def test_random_and_shuffled_masks_start_from_the_ticket_s_rewind_weights(runs, glyphs, monkeypatch, control):
    ticket = begun(TICKET, glyphs, monkeypatch, runs)
    _, *others = begun(CONTROLLED[control], glyphs, monkeypatch, runs)

    assert [start for _, _, start in others] == [2, 2]
    for (weights, masks, _), (theirs, own, _) in zip(others, ticket[2::2], strict=True):
        for name, mask in masks.items():
            both = mask & own[name]
            assert torch.equal(weights[name][both], theirs[name][both])
        assert any((mask & own[name]).any() for name, mask in masks.items())
        rest = weights.keys() - masks.keys()
        assert all(torch.equal(weights[name], theirs[name]) for name in rest)  # BatchNorm too


def test_reinitialised_tickets_keep_the_masks_and_every_survivor_differs(runs, glyphs, monkeypatch):
    trainings = begun(CONTROLLED["reinit"], glyphs, monkeypatch, runs)
    first = build(small.architecture(TICKET), 0).state_dict()
    early = ticket_of(runs, TICKET, 0).states["rewind"]

    assert [start for _, _, start in trainings] == [0, 0]  # trained the full length
    for (weights, masks, _), index in zip(trainings, (2, 4), strict=True):
        ticket = ticket_of(runs, TICKET, index)
        for name, mask in masks.items():
            survivors = weights[name][mask]
            assert torch.equal(mask, ticket.masks[name])
            assert (survivors != first[name][mask]).all()
            assert (survivors != early[name][mask]).all()
            assert survivors.abs().max() <= 1 / weights[name][0].numel() ** 0.5  # drawn as the first


def test_a_ticket_retrained_as_it_was_found_is_the_ticket_bit_for_bit(runs):
    own = counts(runs, CONTROLLED["retrained"])

    assert own == {index: counts(runs, TICKET)[index] for index in (2, 4)}
    for index in own:
        again = ticket_of(runs, CONTROLLED["retrained"], index)
        first = ticket_of(runs, TICKET, index)
        assert all(torch.equal(mask, first.masks[name]) for name, mask in again.masks.items())
        for kind in first.states.keys() & again.states.keys():
            assert all(
                torch.equal(value, first.states[kind][name]) for name, value in again.states[kind].items()
            )


def test_a_ticket_can_be_found_on_one_schedule_and_trained_on_another(runs, glyphs, monkeypatch):
    config = CONTROLLED["retrained"].replace(lr=0.01, epochs=6, found_lr=0.1, found_epochs=4)
    ticket = begun(TICKET, glyphs, monkeypatch, runs)
    first, *others = begun(config, glyphs, monkeypatch, runs)

    assert config.requires == TICKET
    assert [start for _, _, start in others] == [2, 2]
    assert torch.equal(first[0]["stem.0.weight"], ticket[0][0]["stem.0.weight"])
    for (weights, masks, _), (theirs, own, _) in zip(others, ticket[2::2], strict=True):
        assert all(torch.equal(mask, own[name]) for name, mask in masks.items())
        assert all(torch.equal(value, theirs[name]) for name, value in weights.items())


def test_a_dense_network_is_rewound_to_all_early_weights(runs, glyphs, monkeypatch):
    _, *others = begun(CONTROLLED["rewound"], glyphs, monkeypatch, runs)
    early = ticket_of(runs, TICKET, 0).states["rewind"]

    for weights, masks, start in others:
        assert start == 2
        assert all(mask.all() for mask in masks.values())
        assert all(torch.equal(value, early[name]) for name, value in weights.items())


def test_a_mask_of_ones_with_its_momentum_restored_is_the_dense_run_bit_for_bit(glyphs):
    data = load(glyphs, TICKET.data, 0)
    model = build(small.architecture(TICKET), 0)
    step = loop.make_step(model, data, TICKET.train)
    step.begin(ones(model))
    history = loop.History()
    for done in loop.train(step, TICKET.train, history, seed=0):
        if done == 2:
            early = loop.copy(model)
            momentum = {name: value.clone() for name, value in step.momentum().items()}
    dense = loop.copy(model)

    model.load_state_dict(early)
    step.begin(ones(model), momentum)
    again = loop.History()
    list(loop.train(step, TICKET.train, again, seed=0, start=2))

    assert again.losses == history.losses[2:]
    assert all(torch.equal(value, dense[name]) for name, value in model.state_dict().items())


def test_the_rewind_weights_of_a_control_are_those_of_the_ticket_s_dense_round(glyphs):
    data = load(glyphs, TICKET.data, 0)
    ticket = next(small.rounds(TICKET, data))
    first = next(now for now in imp.passes(CONTROLLED["random"], data, masks_of=None) if now.complete)

    assert (ticket.epoch, first.epoch) == (4, 2)
    assert ticket.rewind.keys() == first.rewind.keys()
    assert all(torch.equal(value, first.rewind[name]) for name, value in ticket.rewind.items())


def test_the_first_pass_of_a_control_is_no_round_of_it(runs):
    assert not imp.is_round(CONTROLLED["random"], 0)
    assert imp.is_round(TICKET, 0)
    assert not ticket_path(runs / CONTROLLED["random"].key, 0).exists()


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_without_its_ticket_s_run_says_which_is_missing(glyphs, tmp_path, control):
    config = CONTROLLED[control]

    with pytest.raises(MissingRun, match=rf"{TICKET.slug} \({TICKET.key}\.json\) is not on record"):
        list(execute(config, glyphs, small.on_cpu(tmp_path)))
    assert not (tmp_path / f"{config.key}.json").exists()


def test_what_a_control_needs_of_its_ticket_is_made_before_it(runs, glyphs, tmp_path):
    config = CONTROLLED["reinit"]

    def jobs():
        return missing([Job(config, "glyphs", small.on_cpu(tmp_path), seconds=4.0)])

    def carry_out():
        for job in jobs():
            list(execute(job.config, glyphs, job.settings, again=job.again))

    assert [(job.config, job.again) for job in jobs()] == [(TICKET, False), (config, False)]
    carry_out()
    assert jobs() == []
    assert counts(tmp_path, config) == counts(runs, config)

    before = (tmp_path / f"{TICKET.key}.json").read_bytes()
    (tmp_path / f"{config.key}.json").unlink()
    assert [(job.config, job.again) for job in jobs()] == [(config, False)]
    for path in (tmp_path / TICKET.key).glob("round-*"):
        path.unlink()  # as if the record had come from another machine
    assert [(job.config, job.again) for job in jobs()] == [(TICKET, True), (config, False)]
    carry_out()

    assert (tmp_path / f"{TICKET.key}.json").read_bytes() == before
    assert counts(tmp_path, config) == counts(runs, config)


@pytest.mark.parametrize("control", ["random", "shuffled"])
def test_masks_that_are_drawn_need_the_record_of_the_ticket_alone(runs, glyphs, tmp_path, control):
    config = CONTROLLED[control]
    shutil.copy(runs / f"{TICKET.key}.json", tmp_path)
    assert [job.config for job in missing([Job(config, "glyphs", small.on_cpu(tmp_path))])] == [config]
    list(execute(config, glyphs, small.on_cpu(tmp_path)))

    assert counts(tmp_path, config) == counts(runs, config)


@pytest.mark.parametrize("about", [{"round": 3}, {"key": "0" * 16}], ids=["another round", "another run"])
def test_a_control_refuses_a_ticket_of_another_round_or_run(runs, glyphs, tmp_path, about):
    shutil.copytree(runs / TICKET.key, tmp_path / TICKET.key)
    shutil.copy(runs / f"{TICKET.key}.json", tmp_path)
    path = ticket_path(tmp_path / TICKET.key, 2)
    ticket = Ticket.load(path)
    dataclasses.replace(ticket, about={**ticket.about, **about}).save(path)
    holds = {"round": 2, "key": TICKET.key} | about

    words = rf"round-02.safetensors of {TICKET.key} holds round {holds['round']} of {holds['key']}; remove it"
    with pytest.raises(TicketError, match=words):
        list(execute(CONTROLLED["reinit"], glyphs, small.on_cpu(tmp_path)))


@pytest.mark.parametrize("control", ["shuffled", "reinit"])
def test_a_control_that_was_stopped_goes_on_with_the_same_bits(runs, glyphs, tmp_path, monkeypatch, control):
    config = CONTROLLED[control]
    make(TICKET, glyphs, tmp_path)
    save = Checkpoints.save

    def stopping(self, current, notes):
        save(self, current, notes)
        if (current.index, current.epoch) == (4, 3):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", stopping)
        with pytest.raises(KeyboardInterrupt):
            make(config, glyphs, tmp_path, every=0)
    went_on = make(config, glyphs, tmp_path)

    assert faults.digest(config, tmp_path) == faults.digest(config, runs)
    assert went_on.made["exact"]


def test_what_makes_no_sense_is_refused():
    for fields in ({"every": 2}, {"found_lr": 0.1}, {"found_epochs": 4}):
        with pytest.raises(ParameterError, match="found_epochs belong to a control; control is 'none'"):
            TICKET.replace(**fields)
    with pytest.raises(ParameterError, match=r"cycles must divide epochs \(4\), got 3"):
        TICKET.replace(cycles=3)
    with pytest.raises(ParameterError, match="control 'random' needs 5 or more rounds"):
        TICKET.replace(control="random", every=5)
    with pytest.raises(ParameterError, match="widths must be empty, or the channels of four stages"):
        TICKET.replace(widths="1-2-3")


def test_streams_of_the_controls_differ():
    names = ("init", "reinit", "random masks", "shuffled masks")

    assert len({int(torch.randint(2**60, (), generator=stream(0, name))) for name in names}) == 4


def test_a_control_requires_its_ticket_and_a_refit_the_run_that_chooses():
    refit = SMALL.replace(split="refit")

    assert all(config.requires == TICKET for config in CONTROLLED.values())
    assert refit.requires == SMALL.replace(split="choosing")
    assert TINY.requires is None and refit.requires.requires is None
