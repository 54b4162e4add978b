import itertools

import pytest
import reference
import torch
from conftest import density
from torch import nn

from lthnb import masks
from lthnb.config import NetworkConfig, stream
from lthnb.models import build

PAPER = [
    100,
    80,
    64,
    51.2,
    40.96,
    32.768,
    26.214,
    20.972,
    16.777,
    13.422,
    10.737,
    8.59,
    6.872,
    5.498,
    4.398,
    3.518,
]


def ones_like(weights):
    return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}


def test_magnitude_pruning_ranks_across_layers():
    weights = {"a": torch.tensor([0.1, -0.9]), "b": torch.tensor([[0.5, 0.2]])}

    half = masks.prune_by_magnitude(weights, ones_like(weights), rate=0.5)

    assert {name: m.tolist() for name, m in half.items()} == {"a": [False, True], "b": [[True, False]]}


def test_pruned_weights_are_never_ranked_again():
    weights = {"a": torch.tensor([0.0, 0.3, 0.2, 0.1])}
    full = {"a": torch.tensor([False, True, True, True])}

    assert masks.prune_by_magnitude(weights, full, rate=0.34)["a"].tolist() == [False, True, True, False]


def test_counts_are_exact_with_ties_and_ties_go_by_position():
    weights = {"a": torch.ones(7), "b": -torch.ones(3)}

    pruned = masks.prune_by_magnitude(weights, ones_like(weights), rate=0.5)

    assert pruned["a"].tolist() == [False] * 5 + [True] * 2
    assert pruned["b"].tolist() == [True] * 3


def test_inputs_are_left_alone():
    weights = {"a": torch.tensor([0.1, 0.2])}
    full = ones_like(weights)

    masks.prune_by_magnitude(weights, full, rate=0.5)

    assert full["a"].all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_give_no_mask(bad):
    weights = {"a": torch.tensor([0.1, bad])}

    with pytest.raises(ValueError, match="not finite"):
        masks.prune_by_magnitude(weights, ones_like(weights), rate=0.5)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="differ"):
        masks.prune_by_magnitude({"a": torch.ones(2)}, {"a": torch.ones(3, dtype=torch.bool)}, rate=0.5)


def test_masks_equal_those_of_torch_on_a_hundred_random_networks():
    for seed in range(100):
        draw = torch.Generator().manual_seed(seed)
        sizes = torch.randint(1, 9, (4,), generator=draw).tolist()
        model = nn.Sequential(*[nn.Conv2d(a, b, 3) for a, b in itertools.pairwise(sizes)])
        for weight in masks.prunable(model).values():
            nn.init.normal_(weight, generator=draw)
        weights, ours = (
            {name: w.detach().clone() for name, w in masks.prunable(model).items()},
            masks.ones(model),
        )
        rates = torch.rand(4, generator=draw).mul(0.6).add(0.1).tolist()
        for rate in rates:
            ours = masks.prune_by_magnitude(weights, ours, rate)

        theirs = reference.masks_after(model, rates)

        assert all(torch.equal(a, b) for a, b in zip(ours.values(), theirs, strict=True))


def test_densities_of_the_paper():
    kept, total = 11_159_232, 11_159_232
    for aim in PAPER:
        assert round(100 * kept / total, 3) == pytest.approx(aim, abs=6e-4)
        kept -= round(0.2 * kept)


def test_densities_of_a_real_network_follow_the_paper_for_sixteen_rounds():
    model = build(NetworkConfig(width=4), seed=0)
    found = masks.ones(model)
    for aim in PAPER:
        assert 100 * density(found) == pytest.approx(aim, abs=0.01)
        smaller = masks.prune_by_magnitude(masks.prunable(model), found, 0.2)
        assert all((smaller[name] <= found[name]).all() for name in found)
        found = smaller


def test_convolutions_alone_are_prunable_and_their_number_is_the_published_one():
    with torch.device("meta"):
        from lthnb.models import ResNet

        model = ResNet(NetworkConfig(), 3, 10, 32)

    assert sum(weight.numel() for weight in masks.prunable(model).values()) == 11_159_232
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_173_962


def test_pruned_weights_become_positive_zero():
    weights = {"a": torch.tensor([-1.0, 2.0])}

    masks.zero_(weights, masks.dropped({"a": torch.tensor([False, True])}))

    assert weights["a"].tolist() == [0.0, 2.0]
    assert not weights["a"].signbit().any()


def sizes(found):
    return {name: int(mask.sum()) for name, mask in found.items()}


def test_random_masks_keep_their_number_and_shuffled_ones_that_of_each_layer():
    model = build(NetworkConfig(model="resnet10", width=4), 0)
    kept = {name: weight.numel() // 7 for name, weight in masks.prunable(model).items()}

    shuffled = masks.drawn(model, kept, stream(0, "shuffled masks"))
    anywhere = masks.drawn(model, sum(kept.values()), stream(0, "random masks"))

    assert sizes(shuffled) == kept
    assert sum(sizes(anywhere).values()) == sum(kept.values())
    assert sizes(anywhere) != kept


@pytest.mark.parametrize("whole", [True, False])
def test_drawn_masks_of_fewer_weights_lie_inside_those_of_more(whole):
    model = build(NetworkConfig(model="resnet10", width=4), 0)
    many, few = ({n: w.numel() // part for n, w in masks.prunable(model).items()} for part in (2, 5))
    many, few = (sum(kept.values()) if whole else kept for kept in (many, few))

    wide, narrow = (masks.drawn(model, kept, stream(3, "masks")) for kept in (many, few))

    assert all((narrow[name] <= wide[name]).all() for name in wide)


def test_shuffled_masks_overlap_as_chance_has_it():
    model = build(NetworkConfig(model="resnet10", width=4), 0)
    full = masks.ones(model)
    kept = {name: mask.numel() // 3 for name, mask in full.items()}
    for seed in range(50):
        first, second = (masks.drawn(model, kept, stream(s, "masks")) for s in (seed, seed + 100))
        for name, mask in full.items():
            size, number = mask.numel(), kept[name]
            mean = number**2 / size
            spread = (mean * (1 - number / size) ** 2 * size / (size - 1)) ** 0.5
            assert abs(int((first[name] & second[name]).sum()) - mean) <= 5 * spread
