"""Numbers of the page on layers: parts, work, overlaps, what a null explains."""

import pytest
from helpers import made_up

from lthnb.pages import inside


def two_layers(kept, seed=0, **config):
    """A dense network and a ticket of 100 weights in the stem and 900 in the second stage."""
    made = made_up.record([0.4, 0.5], seed=seed, **config)
    made.prunable.clear()
    made.prunable.update({"stem.0.weight": 100, "layer2.0.conv1.weight": 900})
    made.rounds[0]["kept"], made.rounds[1]["kept"] = [100, 900], kept
    return made


def test_chance_is_the_mean_of_a_draw_in_every_layer():
    made = two_layers([50, 90])
    kept = made.rounds[1]["kept"]
    sizes = inside.layer_sizes(made)

    assert inside.over_chance([25, 9], kept, [50, 90], sizes) == pytest.approx(1)
    assert inside.over_chance([50, 90], kept, [50, 90], sizes) == pytest.approx(140 / 34)


def test_work_counts_the_places_of_a_weight():
    made = two_layers([50, 90])
    stem = 3 * 64 * 9 * 32**2  # at every pixel
    second = 64 * 128 * 9 * 16**2  # at every other one of both directions

    assert inside.work(made, 0) == stem + second
    assert inside.work(made, 1) == stem / 2 + second / 10


def test_parts_are_stem_shortcuts_and_stages():
    densities = inside.part_densities([two_layers([50, 90]), two_layers([30, 90], seed=1)])

    assert densities.to_dict("list") == {"stage 2": [1, 0.1], "stem": [1, 0.4]}
    assert [inside.part_of(layer) for layer in ("layer3.0.shortcut.0.weight", "layer4.1.conv2.weight")] == [
        "shortcuts",
        "stage 4",
    ]


@pytest.mark.parametrize(("null", "share"), [([50, 90], 100), ([14, 126], 0)])
def test_a_null_with_the_ticket_s_profile_explains_it_and_an_even_one_nothing(null, share):
    made = two_layers([50, 90])
    measures = {made.config.key: {"round": 1, "null": {"init": [[], null], "rewind": [[], null]}}}

    assert list(inside.explained([made], measures)["init"]) == [pytest.approx(share)]


def related():
    """Per seed a ticket on 500 images, one without augmentation, two on 1,000 images; what is measured."""
    records = []
    measures = {}
    for seed in (1, 0):
        ticket = two_layers([50, 90], seed, images=500, augment="rand+cutout")
        base = two_layers([50, 90], seed, images=500)
        larger = two_layers([50, 90], seed, images=1000, augment="auto+cutout")
        other = two_layers([50, 90], seed, images=1000)
        records += [ticket, base, larger, other]
        shared = {made.config.key: [50, 90] for made in (base, larger, other)}
        measures[ticket.config.key] = {
            "round": 1,
            "null": {"init": [[], [50, 90]], "rewind": [[], [50, 90]]},
            "shared": {"init": [25, 9], "rewind": [25, 9], **shared},
            "rewinds": {key: {"kept": [50, 90], "shared": [25, 9]} for key in shared},
        }
        measures[larger.config.key] = {}
    return records, measures


def test_tickets_are_laid_beside_nulls_and_beside_tickets_of_their_seed():
    shares = inside.overlaps(*related())

    assert list(dict.fromkeys(shares["masks"])) == [
        "masks by init weights",
        "masks by rewind weights",
        "tickets, with and without augmentation",
        "rewind weights, with and without augmentation",
        "tickets, 500 and 1,000 images",
        "rewind weights, 500 and 1,000 images",
    ]
    for masks, group in shares.groupby("masks"):
        expected = 140 / 34 if masks.startswith("tickets") else 1
        assert list(group["ratio"]) == pytest.approx([expected] * 2)
        assert list(group["seed"]) == [0, 1]


def test_the_smallest_are_the_measured_runs_on_the_fewest_images_by_seed():
    records, measures = related()

    chosen = inside.smallest(records, measures)
    assert [(made.config.seed, made.config.train.augment) for made in chosen] == [
        (0, "rand+cutout"),
        (1, "rand+cutout"),
    ]
