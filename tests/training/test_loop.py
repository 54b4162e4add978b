"""The training loop: equal to the plain one bit for bit, told by a history, counted in whole images."""

import math

import pytest
import torch
from helpers import reference
from helpers.small import WIDER, architecture
from torch.nn.utils import prune

from lthnb.config import TrainConfig, stream
from lthnb.images.splits import Data, Split
from lthnb.training import loop, masks
from lthnb.training.augment import augment
from lthnb.training.loop import History
from lthnb.training.networks import build, prunable
from lthnb.training.step import Diverged


def new_model():
    return build(architecture(WIDER), 0)


def halves(model, seed=0):
    """Masks that keep about half of every layer."""
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.rand(weight.shape, generator=draw) < 0.5 for name, weight in prunable(model).items()}


def train(model, data, config, *, seed=0, kept=None, **span):
    """Train a model to its end; return the history."""
    step = loop.make_step(model, data, config)
    step.begin(kept or masks.ones(model))
    history = History()
    for _ in loop.train(step, config, history, seed=seed, **span):
        pass
    return history


def orders(seed, epochs):
    return [torch.randperm(60, generator=stream(seed, "order", epoch)).split(20) for epoch in range(epochs)]


def test_a_cosine_of_several_cycles_begins_anew_in_each():
    config = TrainConfig(epochs=12, cycles=3)
    one = TrainConfig(epochs=4)

    rates = [loop.cosine(config, epoch) for epoch in range(12)]
    assert rates == 3 * [loop.cosine(one, epoch) for epoch in range(4)]


def test_the_learning_rate_is_a_cosine_from_lr_to_zero():
    config = TrainConfig(epochs=200)

    assert loop.cosine(config, 0) == 0.1
    assert loop.cosine(config, 100) == pytest.approx(0.05)
    assert loop.cosine(config, 200) == pytest.approx(0, abs=1e-12)
    assert loop.cosine(config, 2) == pytest.approx(0.05 * (1 + math.cos(math.pi / 100)))


def test_an_order_holds_every_image_once_and_a_tail_of_one_joins_the_batch_before():
    batches = loop.in_batches(torch.randperm(101, generator=stream(0, "order")), 50)

    assert [len(batch) for batch in batches] == [50, 51]
    assert torch.cat(batches).sort().values.tolist() == list(range(101))
    assert [len(batch) for batch in loop.in_batches(torch.arange(102), 50)] == [50, 50, 2]
    assert [len(batch) for batch in loop.in_batches(torch.arange(1), 50)] == [1]


def test_the_loop_equals_the_plain_one_bit_for_bit(loaded):
    epochs = 17  # 51 steps
    config = TrainConfig(epochs=epochs, batch_size=20)
    fast = new_model()
    plain = new_model()

    train(fast, loaded, config, seed=5)
    images = [
        loaded.normalise(augment(loaded.train.images, "base", [stream(5, "augment", epoch)])[0])
        for epoch in range(epochs)
    ]
    reference.train(plain, images, loaded.train.labels, config, orders(5, epochs))

    for name, value in plain.state_dict().items():
        assert torch.equal(value, fast.state_dict()[name]), name


def test_pruned_weights_are_positive_zero_after_every_step(loaded, monkeypatch):
    model = new_model()
    kept = halves(model)
    weights = prunable(model)
    seen = []
    step = torch.optim.SGD.step

    def sound():
        pruned = [weight[~kept[name]] for name, weight in weights.items()]
        return all((values == 0).all() and not values.signbit().any() for values in pruned)

    def look(self, *args, **kwargs):
        seen.append(sound())
        step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.SGD, "step", look)
    train(model, loaded, TrainConfig(epochs=3, batch_size=20), kept=kept)
    seen.append(sound())

    assert len(seen) == 10
    assert all(seen)
    assert all((weight[kept[name]] != 0).all() for name, weight in weights.items())


def test_survivors_follow_the_path_of_torch_pruning_hooks(loaded):
    config = TrainConfig(epochs=4, batch_size=20, augment="none")
    ours = new_model()
    hooked = new_model()
    kept = halves(ours)
    for name, mask in kept.items():
        prune.custom_from_mask(hooked.get_submodule(name.removesuffix(".weight")), "weight", mask)

    train(ours, loaded, config, kept=kept)
    images = [loaded.normalise(loaded.train.images)] * 4
    reference.train(hooked, images, loaded.train.labels, config, orders(0, 4))

    hooked.eval()
    with torch.no_grad():
        assert torch.equal(ours.eval()(images[0]), hooked(images[0]))


def test_training_leaves_the_global_generator_alone(loaded):
    model = new_model()
    before = torch.get_rng_state()
    train(model, loaded, TrainConfig(epochs=2, batch_size=20))

    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_seen_after_so_many_epochs_is_what_a_training_that_stops_there_leaves(loaded):
    config = TrainConfig(epochs=4, batch_size=20)
    whole = loop.make_step(new_model(), loaded, config)
    whole.begin(masks.ones(whole.model))
    kept = {}
    done = []
    for epochs in loop.train(whole, config, History(), seed=0):
        done.append(epochs)
        if epochs == 2:
            kept = loop.copy(whole.model)
    short = new_model()
    train(short, loaded, config, stop=2)

    assert done == [1, 2, 3, 4]
    assert all(torch.equal(kept[name], value) for name, value in short.state_dict().items())
    assert kept["stem.1.num_batches_tracked"] == 6


def test_a_training_goes_on_where_another_stopped_and_adds_to_its_history(loaded):
    config = TrainConfig(epochs=4, batch_size=20)
    straight = new_model()
    expected = train(straight, loaded, config)
    step = loop.make_step(new_model(), loaded, config)
    step.begin(masks.ones(step.model))
    history = History()
    first = list(loop.train(step, config, history, seed=0, stop=1))
    rest = list(loop.train(step, config, history, seed=0, start=1))

    assert (first, rest) == ([1], [2, 3, 4])
    assert history.losses == expected.losses
    assert history.correct[4] == expected.correct[4]
    assert all(torch.equal(value, straight.state_dict()[n]) for n, value in step.model.state_dict().items())


def test_only_the_last_epochs_are_evaluated(loaded):
    config = TrainConfig(epochs=4, batch_size=20, evaluate_last=2)

    correct = train(new_model(), loaded, config).correct

    splits = {done: list(right) for done, right in correct.items()}
    assert splits == {3: ["test"], 4: ["train", "val", "test"]}


def test_accuracy_is_a_count_that_does_not_depend_on_the_batch(loaded):
    model = new_model().eval()
    one_by_one = sum(
        loop.correct(model, loaded, Split(image[None], label[None]))
        for image, label in zip(loaded.test.images, loaded.test.labels, strict=True)
    )

    assert loop.correct(model, loaded, loaded.test) == one_by_one
    assert isinstance(one_by_one, int)


def test_an_empty_split_has_no_right_answers(loaded):
    assert loop.correct(new_model(), loaded, Split(loaded.val.images[:0], loaded.val.labels[:0])) == 0


def test_a_diverging_run_stops_with_what_to_do(loaded):
    model = new_model()
    with torch.no_grad():
        model.head.weight.fill_(float("nan"))

    words = r"epoch 0, step 0: loss or gradient is not finite, .* may be too high"
    with pytest.raises(Diverged, match=words):
        train(model, loaded, TrainConfig(batch_size=20))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_trains_on_the_same_batches(loaded):
    splits = (Split(split.images.cuda(), split.labels.cuda()) for split in loaded.splits.values())
    on_gpu = Data(*splits, loaded.mean.cuda(), loaded.std.cuda(), loaded.classes)
    config = TrainConfig(epochs=2, batch_size=20)

    there = train(new_model().cuda(), on_gpu, config)
    here = train(new_model(), loaded, config)

    assert there.losses[0] == pytest.approx(here.losses[0], rel=1e-2)
