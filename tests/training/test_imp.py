"""The method: what each round starts from, what it keeps, and that equal configurations give equal bits."""

import dataclasses
import hashlib

import pytest
import torch
from helpers import small
from helpers.small import WIDER, architecture, density

from lthnb import config
from lthnb.images.splits import Split
from lthnb.training import imp, loop, masks, step
from lthnb.training.augment import augment
from lthnb.training.loop import History
from lthnb.training.networks import build

RUN = WIDER


def weights_hash(*values):
    """SHA-256 over the bytes of tensors."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(value.contiguous().numpy().tobytes())
    return digest


def digest(run, data):
    """SHA-256 over weights, buffers, masks, losses and counts of all rounds; counts of test are left out."""
    whole = hashlib.sha256()
    for current in small.rounds(run, data):
        values = [*current.model.state_dict().values(), *current.masks.values()]
        whole.update(weights_hash(*values).digest())
        correct = {
            done: {name: number for name, number in right.items() if name != "test"}
            for done, right in current.history.correct.items()
        }
        whole.update(repr((current.index, current.history.losses, correct)).encode())
    return whole.hexdigest()


def losses(run, data):
    return [current.history.losses for current in small.rounds(run, data)]


def test_the_protocol_has_not_changed(loaded):
    """Initial weights, batches, learning rates, counts and losses of a tiny run, as released.

    When this fails, equal configurations give other numbers: raise ``config.PROTOCOL`` and note why.
    """
    seen = weights_hash(*build(architecture(RUN), 0).state_dict().values())
    for epoch in range(2):
        images = augment(loaded.train.images, "base", [config.stream(0, "augment", epoch)])[0]
        seen.update(images.contiguous().numpy().tobytes())
        seen.update(torch.randperm(60, generator=config.stream(0, "order", epoch)).numpy().tobytes())
    seen.update(repr([f"{loop.cosine(RUN.train, epoch):.9f}" for epoch in range(4)]).encode())
    kept = []
    last = []
    for current in small.rounds(RUN, loaded):
        kept.append(sum(masks.survivors(current.masks).values()))
        last.append(current.history.losses[-1])

    assert config.PROTOCOL == 1
    assert seen.hexdigest()[:16] == "b11c826b7acaad0d"
    assert kept == [19212, 11527, 6916, 4150]
    assert last == pytest.approx([2.263, 2.222, 2.246, 2.231], rel=0.02)


def test_two_runs_of_one_configuration_are_equal_and_another_seed_is_not(loaded):
    assert digest(RUN, loaded) == digest(RUN, loaded) != digest(RUN.replace(seed=1), loaded)


def test_test_labels_and_images_influence_nothing(loaded):
    shuffled = Split(loaded.test.images.flip(0) // 2, loaded.test.labels.flip(0))

    assert digest(RUN, loaded) == digest(RUN, dataclasses.replace(loaded, test=shuffled))


def test_every_epoch_is_a_pass_and_every_complete_pass_a_round(loaded):
    seen = [(now.index, now.epoch, now.stop, now.complete) for now in imp.passes(RUN, loaded)]
    rounds = [(now.index, now.epoch) for now in small.rounds(RUN, loaded)]

    assert seen[:4] == [(0, 1, 4, False), (0, 2, 4, False), (0, 3, 4, False), (0, 4, 4, True)]
    assert seen[4:6] == [(1, 3, 4, False), (1, 4, 4, True)]
    assert len(seen) == imp.epochs(RUN) == 10
    assert rounds == [(0, 4), (1, 4), (2, 4), (3, 4)]


def test_each_round_starts_from_the_rewind_weights_with_momentum_zero(loaded, monkeypatch):
    begun = []  # of each round: weights, masks and the epoch its training starts at
    rates = []  # of each round: the learning rate of every step
    momentum = []  # of each round: the sum of all magnitudes before its first step
    train = loop.train
    sgd_step = torch.optim.SGD.step

    def spy(taken, settings, history, *, start=0, **rest):
        kept = {name: ~pruned for name, pruned in taken.pruned.items()}
        begun.append((loop.copy(taken.model), kept, start))
        rates.append([])
        yield from train(taken, settings, history, start=start, **rest)

    def look(self, *args):
        if not rates[-1]:
            held = [float(state["momentum_buffer"].abs().sum()) for state in self.state.values()]
            momentum.append(sum(held))
        rates[-1].append(self.param_groups[0]["lr"])
        sgd_step(self, *args)

    monkeypatch.setattr(loop, "train", spy)
    monkeypatch.setattr(torch.optim.SGD, "step", look)
    made = [(current.masks, current.rewind) for current in small.rounds(RUN, loaded)]

    rewind = made[0][1]
    assert len(begun) == 4
    for index in (1, 2, 3):
        weights, used, start = begun[index]
        own, same = made[index]
        assert start == 2
        assert same is rewind
        for name, value in rewind.items():  # BatchNorm and its counter too
            expected = value * own[name] if name in own else value
            assert torch.equal(weights[name], expected), name
        assert all(torch.equal(used[name], own[name]) for name in own)
        assert all((own[name] <= made[index - 1][0][name]).all() for name in own)
        assert rates[index] == rates[0][6:]  # two of four epochs, three steps each
    assert momentum == [0, 0, 0, 0]


def test_the_rewind_weights_are_not_touched_by_later_training(loaded):
    seen = set()
    for current in imp.passes(RUN, loaded):
        if current.epoch >= 2:
            seen.add(weights_hash(*current.rewind.values()).hexdigest())

    assert len(seen) == 1


def test_batches_are_equal_in_every_round(loaded, monkeypatch):
    seen = []
    plain = loop.augment

    def spy(*args):
        augmented = plain(*args)
        seen.extend(weights_hash(images).hexdigest() for images in augmented)
        return augmented

    monkeypatch.setattr(loop, "augment", spy)
    list(small.rounds(RUN, loaded))

    assert len(seen) == 10
    assert seen[2:4] == seen[4:6] == seen[6:8] == seen[8:10]


def test_a_shorter_run_is_the_beginning_of_a_longer_one(loaded):
    assert losses(RUN, loaded)[:2] == losses(RUN.replace(rounds=1), loaded)


def test_a_ticket_trained_alone_equals_its_round(loaded):
    *_, last = small.rounds(RUN, loaded)
    alone = loop.make_step(build(architecture(RUN), 0), loaded, RUN.train)
    alone.begin(masks.ones(alone.model))
    list(loop.train(alone, RUN.train, History(), seed=0, stop=2))
    alone.begin(last.masks)
    list(loop.train(alone, RUN.train, History(), seed=0, start=2))

    for name, value in last.model.state_dict().items():
        assert torch.equal(alone.model.state_dict()[name], value), name


def test_no_pruning_follows_the_last_training(loaded):
    made = [(current.index, density(current.masks)) for current in small.rounds(RUN, loaded)]

    assert [index for index, _ in made] == [0, 1, 2, 3]
    assert made[-1][1] == pytest.approx(0.6**3, abs=1e-3)


def test_rewinding_as_released_is_one_epoch_later_and_trains_as_long_as_round_zero(loaded):
    short = RUN.replace(rounds=1)
    released = losses(short.replace(rewind="as_released"), loaded)
    corrected = losses(short, loaded)

    assert [len(curve) for curve in released] == [4, 4]
    assert [len(curve) for curve in corrected] == [4, 2]
    assert released[0] == corrected[0]
    epochs = [
        current.epoch for current in imp.passes(short.replace(rewind="as_released"), loaded) if current.rewind
    ]
    assert epochs[0] == 3


@pytest.mark.parametrize(
    ("change", "spans"),
    [
        ({}, {0: (0, 4), 1: (2, 4), 2: (2, 4), 3: (2, 4)}),
        ({"rewind": "as_released"}, {0: (0, 4), 1: (2, 6), 2: (2, 6), 3: (2, 6)}),
        ({"control": "random"}, {0: (0, 2), 1: (2, 4), 2: (2, 4), 3: (2, 4)}),
        ({"control": "shuffled", "every": 3}, {0: (0, 2), 3: (2, 4)}),
        ({"control": "random", "rewind": "as_released", "every": 2}, {0: (0, 3), 2: (2, 6)}),
        ({"control": "reinit", "every": 2}, {2: (0, 4)}),
    ],
)
def test_the_epochs_of_every_round_are_known_beforehand(change, spans):
    config = RUN.replace(**change)

    assert imp.epoch_spans(config) == spans
    assert list(imp.epoch_spans(config)) == sorted(spans)
    assert imp.epochs(config) == sum(stop - start for start, stop in spans.values())


def test_a_divergence_says_seed_round_epoch_and_step(loaded, monkeypatch):
    plain = step.Step.begin_epoch

    def spoil(self, lr):
        plain(self, lr)
        if not all(bool((~pruned).all()) for pruned in self.pruned.values()):
            with torch.no_grad():
                self.model.head.bias.fill_(float("nan"))

    monkeypatch.setattr(step.Step, "begin_epoch", spoil)

    with pytest.raises(step.Diverged, match=r"^seed 0, round 1, epoch 2, step 0: .* not finite"):
        list(small.rounds(RUN, loaded))


def test_shuffled_training_labels_reach_chance(loaded):
    draw = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    noise = dataclasses.replace(loaded, train=Split(loaded.train.images, loaded.train.labels[draw]))
    *_, last = small.rounds(RUN, noise)

    assert abs(last.history.correct[4]["test"] / 50 - 0.1) < 4 * (0.09 / 50) ** 0.5
