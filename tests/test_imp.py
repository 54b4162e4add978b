import dataclasses
import hashlib

import pytest
import torch
from conftest import density

from lthnb import config, data, imp, masks, step, train
from lthnb.augment import augment
from lthnb.models import build

RUN = config.RunConfig.of(
    name="glyphs", images=60, side=16, val_limit=50, test_limit=50, model="resnet10", width=4,
    epochs=4, batch_size=20, rounds=3, rate=0.4, rewind_epoch=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def loaded(glyphs):
    return data.load(glyphs, RUN.data, seed=0)


def digest(run, loaded):
    """SHA-256 over all weights, buffers and masks of all rounds, and the losses and counts."""
    found = hashlib.sha256()
    for each in imp.rounds(run, loaded):
        for value in [*each.model.state_dict().values(), *each.masks.values()]:
            found.update(value.contiguous().numpy().tobytes())
        correct = {
            done: {k: v for k, v in right.items() if k != "test"}
            for done, right in each.trained.correct.items()
        }
        found.update(repr((each.index, each.trained.losses, correct)).encode())
    return found.hexdigest()


def test_the_protocol_has_not_changed(loaded):
    """Initial weights, batches, learning rates, counts and losses of a tiny run, as released.

    When this fails, equal configurations give other numbers: raise ``config.PROTOCOL`` and note why.
    """
    found, model = hashlib.sha256(), build(RUN.network, 0, side=16)
    for value in model.state_dict().values():
        found.update(value.contiguous().numpy().tobytes())
    for epoch in range(2):
        images = augment(loaded.train.images, "base", [config.stream(0, "augment", epoch)])[0]
        found.update(images.contiguous().numpy().tobytes())
        found.update(torch.cat(train.order(60, 20, config.stream(0, "order", epoch))).numpy().tobytes())
    found.update(repr([f"{train.cosine(RUN.train, epoch):.9f}" for epoch in range(4)]).encode())
    made = list(imp.rounds(RUN, loaded))

    assert config.PROTOCOL == 1
    assert found.hexdigest()[:16] == "b11c826b7acaad0d"
    assert [sum(masks.kept(each.masks).values()) for each in made] == [19212, 11527, 6916, 4150]
    assert [each.trained.losses[-1] for each in made] == pytest.approx([2.263, 2.222, 2.246, 2.231], rel=0.02)


def test_two_runs_of_one_configuration_are_equal_and_another_seed_is_not(loaded):
    assert digest(RUN, loaded) == digest(RUN, loaded) != digest(RUN.replace(seed=1), loaded)


def test_test_labels_and_images_influence_nothing(loaded):
    shuffled = data.Split(loaded.test.images.flip(0) // 2, loaded.test.labels.flip(0))

    assert digest(RUN, loaded) == digest(RUN, dataclasses.replace(loaded, test=shuffled))


def test_each_round_starts_from_the_rewind_weights_with_momentum_zero(loaded, monkeypatch):
    starts, rates, steps = [], [], []
    inner, taken, started = imp.train, torch.optim.SGD.step, step.Step.begin

    def spy(model, found, *args, **options):
        starts.append((train.copy(model), found, options["start"]))
        result = inner(model, found, *args, **options)
        starts[-1] += (result.kept,)
        return result

    def begin(self, found, momentum=None):
        rates.append([])
        steps.append([])
        started(self, found, momentum)

    def look(self, *args):
        rates[-1].append(self.param_groups[0]["lr"])
        held = sum(float(state["momentum_buffer"].abs().sum()) for state in self.state.values())
        steps[-1] += [held] if not rates[-1][1:] else []
        taken(self, *args)

    monkeypatch.setattr(imp, "train", spy)
    monkeypatch.setattr(step.Step, "begin", begin)
    monkeypatch.setattr(torch.optim.SGD, "step", look)
    found = [each.masks for each in imp.rounds(RUN, loaded)]

    kept = starts[0][3]
    for index in (1, 2, 3):
        weights, used, start, _ = starts[index]
        assert start == 2
        assert used is found[index]
        assert all(torch.equal(weights[name], kept[name]) for name in kept)  # BatchNorm and its counter too
        assert rates[index] == rates[0][6:]  # two of four epochs, three steps each
        assert (found[index][name] <= found[index - 1][name]).all() if (name := "stem.0.weight") else None
    assert all(first == [0] for first in steps)  # no momentum before the first step


def test_batches_are_equal_in_every_round(loaded, monkeypatch):
    seen, inner = [], train.augment

    def spy(*args):
        out = inner(*args)
        seen.extend(hashlib.sha256(each.contiguous().numpy().tobytes()).hexdigest() for each in out)
        return out

    monkeypatch.setattr(train, "augment", spy)
    list(imp.rounds(RUN, loaded))

    assert seen[2:4] == seen[4:6] == seen[6:8] == seen[8:10]


def test_a_shorter_run_is_the_beginning_of_a_longer_one(loaded):
    short = [each.trained.losses for each in imp.rounds(RUN.replace(rounds=1), loaded)]
    long = [each.trained.losses for each in imp.rounds(RUN, loaded)]

    assert long[:2] == short


def test_a_ticket_trained_alone_equals_its_round(loaded):
    model = build(RUN.network, 0, side=16)
    kept = train.train(model, masks.ones(model), loaded, RUN.train, seed=0, keep_at=2).kept
    *_, last = imp.rounds(RUN, loaded)
    model.load_state_dict(kept)
    train.train(model, last.masks, loaded, RUN.train, seed=0, start=2)

    assert all(
        torch.equal(value, last.model.state_dict()[name]) for name, value in model.state_dict().items()
    )


def test_no_pruning_follows_the_last_training(loaded):
    found = [each for each in imp.rounds(RUN, loaded)]

    assert [each.index for each in found] == [0, 1, 2, 3]
    assert density(found[-1].masks) == pytest.approx(0.6**3, abs=1e-3)


def test_rewinding_as_released_is_one_epoch_later_and_trains_as_long_as_round_zero(loaded):
    released = [
        each.trained.losses for each in imp.rounds(RUN.replace(rewind="as_released", rounds=1), loaded)
    ]
    corrected = [each.trained.losses for each in imp.rounds(RUN.replace(rounds=1), loaded)]

    assert [len(losses) for losses in released] == [4, 4]
    assert [len(losses) for losses in corrected] == [4, 2]
    assert released[0] == corrected[0]


def test_shuffled_training_labels_reach_chance(loaded):
    draw = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    noise = dataclasses.replace(loaded, train=data.Split(loaded.train.images, loaded.train.labels[draw]))
    *_, last = imp.rounds(RUN, noise)

    assert abs(last.trained.correct[4]["test"] / 50 - 0.1) < 4 * (0.09 / 50) ** 0.5
