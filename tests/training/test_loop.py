import math

import pytest
from helpers import reference
import torch

from lthnb.images import splits as data
from lthnb.training import masks, loop as train
from lthnb.training.augment import augment
from lthnb.config import DataConfig, NetworkConfig, TrainConfig, stream
from lthnb.training.networks import build

TINY = NetworkConfig(model="resnet10", width=4)


@pytest.fixture(scope="module")
def loaded(glyphs):
    return data.load(
        glyphs, DataConfig(name="glyphs", images=60, side=16, val_limit=50, test_limit=50), seed=0
    )


def halves(model, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.rand(w.shape, generator=draw) < 0.5 for name, w in masks.prunable(model).items()}


def test_the_learning_rate_is_a_cosine_from_lr_to_zero():
    config = TrainConfig(epochs=200)

    assert train.cosine(config, 0) == 0.1
    assert train.cosine(config, 100) == pytest.approx(0.05)
    assert train.cosine(config, 200) == pytest.approx(0, abs=1e-12)
    assert train.cosine(config, 2) == pytest.approx(0.05 * (1 + math.cos(math.pi / 100)))


def test_an_order_holds_every_image_once_and_a_tail_of_one_joins_the_batch_before():
    batches = train.order(101, 50, stream(0, "order"))

    assert [len(batch) for batch in batches] == [50, 51]
    assert torch.cat(batches).sort().values.tolist() == list(range(101))
    assert [len(batch) for batch in train.order(102, 50, stream(0, "order"))] == [50, 50, 2]
    assert [len(batch) for batch in train.order(1, 50, stream(0, "order"))] == [1]


def test_the_loop_equals_the_plain_one_bit_for_bit(loaded):
    config, epochs = TrainConfig(epochs=17, batch_size=20), 17  # 51 steps
    fast, plain = build(TINY, 0, side=16), build(TINY, 0, side=16)

    train.train(fast, masks.ones(fast), loaded, config, seed=5)
    images = [
        loaded.normalise(augment(loaded.train.images, "base", [stream(5, "augment", epoch)])[0])
        for epoch in range(epochs)
    ]
    orders = [torch.randperm(60, generator=stream(5, "order", epoch)).split(20) for epoch in range(epochs)]
    reference.train(plain, images, loaded.train.labels, config, orders)

    for name, value in plain.state_dict().items():
        assert torch.equal(value, fast.state_dict()[name]), name


def test_pruned_weights_are_positive_zero_after_every_step(loaded, monkeypatch):
    model = build(TINY, 0, side=16)
    found, seen = halves(model), []
    step = torch.optim.SGD.step

    def look(self, *args, **kwargs):
        seen.append(
            all((w[~found[n]] == 0).all() and not w[~found[n]].signbit().any() for n, w in weights.items())
        )
        step(self, *args, **kwargs)

    weights = masks.prunable(model)
    monkeypatch.setattr(torch.optim.SGD, "step", look)
    train.train(model, found, loaded, TrainConfig(epochs=3, batch_size=20), seed=0)
    seen.append(
        all((w[~found[n]] == 0).all() and not w[~found[n]].signbit().any() for n, w in weights.items())
    )

    assert len(seen) == 10
    assert all(seen)
    assert all((w[found[n]] != 0).all() for n, w in weights.items())


def test_survivors_follow_the_path_of_torch_pruning_hooks(loaded):
    from torch.nn.utils import prune

    config = TrainConfig(epochs=4, batch_size=20, augment="none")
    ours, hooked = build(TINY, 0, side=16), build(TINY, 0, side=16)
    found = halves(ours)
    for name, mask in found.items():
        prune.custom_from_mask(hooked.get_submodule(name.removesuffix(".weight")), "weight", mask)

    train.train(ours, found, loaded, config, seed=0)
    images = [loaded.normalise(loaded.train.images)] * 4
    orders = [torch.randperm(60, generator=stream(0, "order", epoch)).split(20) for epoch in range(4)]
    reference.train(hooked, images, loaded.train.labels, config, orders)

    hooked.eval()
    with torch.no_grad():
        assert torch.equal(ours.eval()(images[0]), hooked(images[0]))


def test_training_leaves_the_global_generator_alone(loaded):
    model = build(TINY, 0, side=16)
    before = torch.get_rng_state()
    train.train(model, masks.ones(model), loaded, TrainConfig(epochs=2, batch_size=20), seed=0)

    assert torch.equal(torch.get_rng_state(), before)


def test_the_kept_state_is_that_after_exactly_so_many_epochs(loaded):
    config = TrainConfig(epochs=4, batch_size=20)
    whole, short = build(TINY, 0, side=16), build(TINY, 0, side=16)

    kept = train.train(whole, masks.ones(whole), loaded, config, seed=0, keep_at=2).kept
    train.train(short, masks.ones(short), loaded, config, seed=0, stop=2)

    assert all(torch.equal(kept[name], value) for name, value in short.state_dict().items())
    assert kept["stem.1.num_batches_tracked"] == 6


def test_only_the_last_epochs_are_evaluated(loaded):
    model = build(TINY, 0, side=16)
    config = TrainConfig(epochs=4, batch_size=20, evaluate_last=2)

    found = train.train(model, masks.ones(model), loaded, config, seed=0).correct

    assert {done: list(right) for done, right in found.items()} == {3: ["test"], 4: ["train", "val", "test"]}


def test_accuracy_is_a_count_that_does_not_depend_on_the_batch(loaded):
    model = build(TINY, 0, side=16).eval()
    one_by_one = sum(
        train.correct(model, loaded, data.Split(i[None], y[None]))
        for i, y in zip(loaded.test.images, loaded.test.labels, strict=True)
    )

    assert train.correct(model, loaded, loaded.test) == one_by_one
    assert isinstance(one_by_one, int)


def test_a_diverging_run_stops_with_what_to_do(loaded):
    model = build(TINY, 0, side=16)
    with torch.no_grad():
        model.head.weight.fill_(float("nan"))

    with pytest.raises(
        train.Diverged, match=r"epoch 0, step 0: loss or gradient is not finite, .* may be too high"
    ):
        train.train(model, masks.ones(model), loaded, TrainConfig(batch_size=20), seed=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_trains_on_the_same_batches(loaded):
    on_gpu = data.Data(
        *(data.Split(s.images.cuda(), s.labels.cuda()) for s in (loaded.train, loaded.val, loaded.test)),
        loaded.mean.cuda(),
        loaded.std.cuda(),
        loaded.classes,
    )
    model = build(TINY, 0, side=16).cuda()

    result = train.train(model, masks.ones(model), on_gpu, TrainConfig(epochs=2, batch_size=20), seed=0)
    cpu = build(TINY, 0, side=16)
    other = train.train(cpu, masks.ones(cpu), loaded, TrainConfig(epochs=2, batch_size=20), seed=0)

    assert result.losses[0] == pytest.approx(other.losses[0], rel=1e-2)
