"""The step that is captured on a GPU: what it may change, and that a replay equals the step itself."""

import dataclasses

import pytest
import torch
from helpers import small
from helpers.small import WIDER, architecture

from lthnb.images.splits import Data, Split
from lthnb.runs.machine import set_determinism
from lthnb.training import loop, masks, step
from lthnb.training.networks import build

RUN = WIDER.replace(epochs=3, batch_size=25, rounds=2, rewind_epoch=1, augment="rand+cutout")


def rehearsed(action):
    """Stands for a capture on a CPU: the action runs as often, a replay is it on its own tensors."""
    for _ in range(3):
        action()
    return action


def on(device, data):
    splits = (Split(split.images.to(device), split.labels.to(device)) for split in data.splits.values())
    return Data(*splits, data.mean.to(device), data.std.to(device), data.classes)


def new_step(data, capture=None, precision="fp32"):
    return step.Step(build(architecture(RUN), 0), data, RUN.train, precision, capture)


def states(data, capture, monkeypatch, precision="fp32"):
    """Weights, BatchNorm and losses of every round, and the step that all of them took."""
    made = []

    def make_step(model, data, config, precision):
        made.append(step.Step(model, data, config, precision, capture))
        return made[0]

    monkeypatch.setattr(loop, "make_step", make_step)
    rounds = [
        (loop.copy(current.model), current.history.losses)
        for current in small.rounds(RUN, data, precision=precision)
    ]
    assert len(made) == 1
    return rounds, made[0]


def assert_equal(first, second):
    for (weights, losses), (others, rest) in zip(first, second, strict=True):
        assert losses == rest
        for name, value in weights.items():
            assert torch.equal(value, others[name]), name


def test_replays_equal_steps_over_all_rounds_and_tails(loaded, monkeypatch):
    plain, _ = states(loaded, None, monkeypatch)
    replayed, used = states(loaded, rehearsed, monkeypatch)

    assert sorted(used.replays) == [10, 25]  # captured once per batch size for all rounds
    assert_equal(plain, replayed)


def test_a_capture_that_fails_is_told_and_changes_nothing(loaded, monkeypatch, capsys):
    def failing(action):
        action()
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    plain, _ = states(loaded, None, monkeypatch)
    eager, used = states(loaded, failing, monkeypatch)

    assert_equal(plain, eager)
    assert not used.captured
    assert capsys.readouterr().out == (
        "NOTE the step is not captured, which is slower: operation not permitted when stream is capturing\n"
    )


def test_no_room_for_a_capture_is_no_reason_to_go_on(loaded):
    def full(action):
        raise torch.OutOfMemoryError("CUDA out of memory")

    one = new_step(loaded, full)
    with pytest.raises(torch.OutOfMemoryError):
        one(loaded.train.images[:25], loaded.train.labels[:25])


def test_the_rate_may_be_a_tensor_as_on_cuda(loaded, monkeypatch):
    def sgd(model, config):
        lr = torch.tensor(config.lr)
        rest = {"momentum": config.momentum, "weight_decay": config.weight_decay}
        return torch.optim.SGD(model.parameters(), lr=lr, fused=True, **rest)

    monkeypatch.setattr(step, "optimiser", sgd)
    plain, _ = states(loaded, None, monkeypatch)
    replayed, _ = states(loaded, rehearsed, monkeypatch)

    assert_equal(plain, replayed)


def test_a_step_begins_with_masks_applied_and_the_momentum_that_is_given(loaded):
    one = new_step(loaded)
    kept = {
        name: torch.arange(mask.numel()).reshape(mask.shape) % 2 == 0 for name, mask in one.pruned.items()
    }
    one(loaded.train.images[:25], loaded.train.labels[:25])
    held = {name: value.clone() for name, value in one.momentum().items()}

    one.begin(kept)
    assert all(not value.any() for value in one.momentum().values())
    for name, weight in one.weights.items():
        assert torch.equal(weight != 0, kept[name])
        assert not weight[~kept[name]].signbit().any()
    one.begin(kept, held)
    assert all(torch.equal(value, held[name]) for name, value in one.momentum().items())
    one.begin(masks.ones(one.model))
    assert not any(pruned.any() for pruned in one.pruned.values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_captured_step_equals_the_eager_one_bit_for_bit_on_a_gpu(loaded, monkeypatch, precision):
    set_determinism()
    data = on("cuda", loaded)
    eager, _ = states(data, None, monkeypatch, precision)
    replayed, used = states(data, step.graphed, monkeypatch, precision)
    again, _ = states(data, step.graphed, monkeypatch, precision)

    assert used.captured
    assert_equal(eager, replayed)
    assert_equal(replayed, again)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_augments_as_a_cpu(loaded):
    set_determinism()
    data = on("cuda", loaded)
    for name in ("base", "contrast", "rand+cutout", "auto+cutout"):
        config = dataclasses.replace(RUN.train, augment=name)
        here, there = (loop._ahead(images, config, 0, range(2)) for images in (loaded, data))
        assert (here[1][0].int() - there[1][0].cpu().int()).abs().max() <= 1
        assert torch.equal(here[1][1], there[1][1].cpu())
