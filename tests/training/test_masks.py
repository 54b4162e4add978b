"""Masks: what pruning keeps, in which order, and what the controls draw."""

import itertools

import pytest
import torch
from helpers import reference
from helpers.small import DIGITS, architecture, density
from torch import nn

from lthnb import config
from lthnb.config import NetworkConfig, stream
from lthnb.training import masks
from lthnb.training.masks import CONTROLS, Example, survivors
from lthnb.training.networks import Architecture, build, convolution_names, prunable

PAPER = (  # densities in percent after 0, 1, ... 15 prunings of 20 %
    "100 80 64 51.2 40.96 32.768 26.214 20.972 16.777 13.422 10.737 8.59 6.872 5.498 4.398 3.518"
)
PAPER = [float(percent) for percent in PAPER.split()]


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


@pytest.mark.parametrize(
    "weights", [{"a": torch.ones(2)}, {"b": torch.ones(3)}, {"a": torch.ones(3), "b": torch.ones(3)}]
)
def test_names_and_shapes_must_agree(weights):
    with pytest.raises(ValueError, match="differ"):
        masks.prune_by_magnitude(weights, {"a": torch.ones(3, dtype=torch.bool)}, rate=0.5)


def test_masks_equal_those_of_torch_on_a_hundred_random_networks():
    for seed in range(100):
        draw = torch.Generator().manual_seed(seed)
        sizes = torch.randint(1, 9, (4,), generator=draw).tolist()
        model = nn.Sequential(*[nn.Conv2d(a, b, 3) for a, b in itertools.pairwise(sizes)])
        model.prunable_names = convolution_names(model)
        for weight in prunable(model).values():
            nn.init.normal_(weight, generator=draw)
        weights = {name: weight.detach().clone() for name, weight in prunable(model).items()}
        ours = masks.ones(model)
        rates = torch.rand(4, generator=draw).mul(0.6).add(0.1).tolist()
        for rate in rates:
            ours = masks.prune_by_magnitude(weights, ours, rate)

        theirs = reference.masks_after(model, rates)

        assert all(torch.equal(a, b) for a, b in zip(ours.values(), theirs, strict=True))


def test_densities_of_the_paper():
    kept = total = 11_159_232
    for aim in PAPER:
        assert round(100 * kept / total, 3) == pytest.approx(aim, abs=6e-4)
        kept -= round(0.2 * kept)


def test_densities_of_a_real_network_follow_the_paper_for_sixteen_rounds():
    model = build(Architecture(NetworkConfig(width=4), 3, 32, DIGITS), seed=0)
    kept = masks.ones(model)
    for aim in PAPER:
        assert 100 * density(kept) == pytest.approx(aim, abs=0.01)
        smaller = masks.prune_by_magnitude(prunable(model), kept, 0.2)
        assert all((smaller[name] <= kept[name]).all() for name in kept)
        kept = smaller


def test_pruned_weights_become_positive_zero():
    weights = {"a": torch.tensor([-1.0, 2.0])}

    masks.zero_(weights, masks.pruned_places({"a": torch.tensor([False, True])}))

    assert weights["a"].tolist() == [0.0, 2.0]
    assert not weights["a"].signbit().any()


@pytest.fixture(scope="module")
def model():
    return build(architecture(), 0)


def example(model, part):
    """A ticket that keeps one of so many weights in every layer."""
    kept = {name: weight.numel() // part for name, weight in prunable(model).items()}
    return Example(kept, lambda: pytest.fail("the ticket's masks are not read"))


def drawn(model, control, part, seed=0):
    return CONTROLS[control].masks(model, example(model, part), stream(seed, f"{control} masks"))


def test_controls_are_those_that_a_configuration_may_name():
    assert tuple(CONTROLS) == config.CONTROLS


def test_random_masks_keep_their_number_and_shuffled_ones_that_of_each_layer(model):
    kept = example(model, 7).survivors

    shuffled = survivors(drawn(model, "shuffled", 7))
    anywhere = survivors(drawn(model, "random", 7))

    assert shuffled == kept
    assert sum(anywhere.values()) == sum(kept.values())
    assert anywhere != kept


@pytest.mark.parametrize("control", ["random", "shuffled"])
def test_drawn_masks_of_fewer_weights_lie_inside_those_of_more(model, control):
    wide = drawn(model, control, 2)
    narrow = drawn(model, control, 5)

    assert all((narrow[name] <= wide[name]).all() for name in wide)


@pytest.mark.parametrize("control", ["random", "shuffled"])
def test_drawn_masks_have_the_names_and_shapes_of_the_network(model, control):
    shapes = {name: weight.shape for name, weight in prunable(model).items()}

    assert {name: mask.shape for name, mask in drawn(model, control, 3).items()} == shapes


def test_shuffled_masks_overlap_as_chance_has_it(model):
    kept = example(model, 3).survivors
    for seed in range(50):
        first = drawn(model, "shuffled", 3, seed)
        second = drawn(model, "shuffled", 3, seed + 100)
        for name, number in kept.items():
            size = first[name].numel()
            mean = number**2 / size
            spread = (mean * (1 - number / size) ** 2 * size / (size - 1)) ** 0.5
            assert abs(int((first[name] & second[name]).sum()) - mean) <= 5 * spread


def test_a_reinitialised_ticket_takes_the_ticket_s_own_masks_and_new_weights(model):
    own = masks.ones(model)

    taken = CONTROLS["reinit"].masks(model, Example(survivors(own), lambda: own), stream(0, "reinit masks"))

    assert taken is own
    assert {name for name, control in CONTROLS.items() if control.new_weights} == {"reinit"}
