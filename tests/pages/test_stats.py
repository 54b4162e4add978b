import json
import math
import re

import numpy as np
import pandas as pd
import pytest
from helpers import made_up
from helpers.made_up import record

from lthnb.config import ROOT
from lthnb.pages import stats
from lthnb.pages.frame import frame
from lthnb.runs import choice


def test_an_interval_is_the_one_of_the_textbook():
    around = stats.interval([1.0, 2.0, 3.0])

    assert around.mean == 2.0
    assert around.high - around.mean == pytest.approx(4.302653 / math.sqrt(3), abs=1e-5)
    assert str(around) == "2.0 ± 2.5"


def test_one_value_has_no_interval():
    around = stats.interval([3.0])

    assert math.isnan(around.low)
    assert str(around) == "3.0"


@pytest.mark.parametrize("n", [3, 5, 10])
def test_intervals_cover_as_often_as_they_say(n):
    values = np.random.default_rng(0).normal(size=(5_000, n))
    spread = [stats.interval(row) for row in values]

    assert np.mean([one.low <= 0 <= one.high for one in spread]) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("n", [3, 6])
def test_a_prediction_holds_one_more_value_as_often_as_it_says(n):
    values = np.random.default_rng(0).normal(size=(5_000, n + 1))
    spread = [stats.prediction(row[:n]) for row in values]

    held = [one.low <= row[n] <= one.high for one, row in zip(spread, values, strict=True)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.01)


def test_a_prediction_is_the_one_of_the_textbook():
    around = stats.prediction([1.0, 2.0, 3.0])

    assert around.high - around.mean == pytest.approx(4.302653 * math.sqrt(4 / 3), abs=1e-5)


@pytest.mark.parametrize(
    ("values", "p"),
    [([1, 2, 3, 4, 5, 6], 2 / 64), ([1, 1], 2 / 4), ([1, -1], 1), ([-1] * 12, 2 / 4096), ([3, 2, -1], 4 / 8)],
)
def test_the_sign_flip_test_counts_patterns(values, p):
    assert stats.sign_flip(values) == p


def test_one_difference_has_no_sign_flip_test():
    assert math.isnan(stats.sign_flip([3.0]))


def taus(images, density):
    """Tau of these sizes and the densities chosen on val, all of one seed."""
    about = {"chosen": True, "split": "test", "data": "glyphs", "seed": 0, "augment": "base"}
    return stats.density_taus(pd.DataFrame({"images": images, "density": density, **about}))


@pytest.mark.parametrize(
    ("density", "tau"), [([1, 5, 9], 1), ([3, 2, 1], -1), ([1, 3, 2], 1 / 3), ([1, 1, 2], 2 / math.sqrt(6))]
)
def test_tau_counts_pairs_in_one_order(density, tau):
    assert list(taus([1, 2, 3], density)) == [pytest.approx(tau)]


@pytest.mark.parametrize(("images", "density"), [([1, 2, 3], [4, 4, 4]), ([1], [2])])
def test_nothing_that_varies_has_no_tau(images, density):
    assert taus(images, density).isna().all()


def test_no_value_has_no_mean_and_prints_as_a_dash():
    assert str(stats.interval([])) == "-"


def test_val_chooses_among_pruned_rounds_and_of_equals_the_denser():
    assert choice.chosen_on_val(record([0.5, 0.4, 0.4, 0.3]).rounds) == 1
    assert choice.chosen_on_val(record([0.5]).rounds) is None


def test_test_accuracy_does_not_enter_the_choice_on_val():
    rows = record([0.1, 0.2, 0.9], val=[0.1, 0.5, 0.4]).rounds

    assert choice.chosen_on_val(rows) == 1
    assert choice.best_on_test(rows) == 2


@pytest.mark.parametrize(
    ("images", "density"), [(500, 0.8**15), (1000, 0.8**15), (5000, 0.8**4), (50_000, 0.8**2)]
)
def test_the_paper_round_is_the_one_of_nearest_density(images, density):
    index = choice.paper_round(images, [0.5**i for i in range(7)])

    assert index == min(range(1, 7), key=lambda i: abs(math.log(0.5**i / density)))


def test_a_run_is_its_own_pair():
    data = frame([record([0.3, 0.4], seed=0), record([0.5, 0.52], seed=1)])

    assert list(stats.gains(data)) == pytest.approx([10, 2])


def test_gains_of_several_augmentations_are_each_paired_with_their_own_dense():
    data = frame(made_up.group(0.2, 0.3) + made_up.group(0.1, 0.4, augment="rand"))

    assert sorted(stats.gains(data)) == pytest.approx([10] * 3 + [30] * 3)


def test_pairs_are_matched_by_seed():
    first = pd.Series([40, 52], index=[0, 1])
    second = pd.Series([45, 10], index=[1, 0])

    assert stats.difference(first, second).to_dict() == {0: 30, 1: 7}


@pytest.mark.parametrize("seeds", [[0, 2], [0], [0, 1, 1]])
def test_unequal_or_doubled_seeds_make_no_pairs_and_are_named(seeds):
    sides = [pd.Series(0.3, index=side) for side in ([0, 1], seeds)]

    for first, second in (sides, sides[::-1]):
        with pytest.raises(ValueError, match=r"seeds \[.*0.*\] and \[.*\] make no pairs"):
            stats.difference(first, second)


def test_seeds_doubled_on_both_sides_make_no_pairs_either():
    doubled = pd.Series([1.0, 2.0], index=[0, 0])

    with pytest.raises(ValueError, match=r"seeds \[0, 0\] and \[0, 0\] make no pairs"):
        stats.difference(doubled, doubled)


TEN = [9, 9, 10, 10, 11, 11]  # the interval is 9.1 to 10.9, the prediction 7.5 to 12.5
WIDE = [2, 6, 10, 10, 14, 18]  # 4.1 to 15.9, -5.7 to 25.7
NONE = [-1, -1, 0, 0, 1, 1]


def negative(values):
    return [-value for value in values]


@pytest.mark.parametrize(
    ("gains", "published", "said"),
    [
        (TEN, 12, "reproduced"),
        (negative(TEN), -12, "reproduced"),
        (TEN, 16, "partly"),
        (TEN, 4, "partly"),
        (WIDE, 14, "partly"),  # its low end lies below half of it
        (TEN, -4, "not"),
        (NONE, 4, "not"),
        ([-20, -20, 0, 0, 20, 20], 4, "open"),
        (TEN[:5], 10, "open"),
        ([10], 10, "open"),
    ],
)
def test_a_verdict_at_paper_scale_follows_the_rule(gains, published, said):
    assert stats.verdict(gains, published, "paper") == said


def test_half_of_the_published_gain_is_rarely_called_reproduced():
    draws = np.random.default_rng(0).normal(8, 4, (1000, 6))

    said = [stats.verdict(gains, 15.9, "paper") for gains in draws]
    assert said.count("reproduced") < 50


@pytest.mark.parametrize(
    ("gains", "said"),
    [(TEN, "direction agrees"), (NONE, "open"), (negative(TEN), "opposite"), (TEN[:5], "open")],
)
@pytest.mark.parametrize("profile", ["smoke", "demo", "wide"])
def test_a_verdict_below_paper_scale_is_the_direction(gains, said, profile):
    assert stats.verdict(gains, 16, profile) == said


def test_a_verdict_says_where_the_dense_network_was_not_trained_out():
    dense = pd.DataFrame({"accuracy": [0.95, 0.84]})

    assert stats.gated("partly", dense) == "partly; the dense network was not trained out"
    assert stats.gated("partly", dense[:1]) == "partly"


def test_two_values_are_printed_both():
    around = stats.interval([12.1, 18.8])

    assert str(around) == "12.1, 18.8"
    assert math.isnan(around.low) and around.mean == pytest.approx(15.45)


def test_contrasts_are_paired_with_the_ticket_at_its_round():
    contrasts = stats.contrasts(frame(made_up.controls()))

    assert {name: round(points[0], 6) for name, points in contrasts.items()} == {
        "dense": 10,
        "small dense": 9,
        "random masks": 8,
        "shuffled in layers": 6,
        "reinitialised": 4,
        "small dense - dense": 1,
    }


def test_a_control_with_a_missing_seed_is_refused():
    records = [
        made for made in made_up.controls() if (made.config.prune.control, made.config.seed) != ("random", 1)
    ]

    with pytest.raises(ValueError, match=r"seeds \[0, 1, 2\] and \[0, 2\] make no pairs"):
        stats.contrasts(frame(records))


def test_of_small_networks_the_one_of_the_ticket_s_size_is_taken():
    large = [record([0.9], seed=seed, images=500, widths="4-8-16-32", weights=800) for seed in range(3)]
    data = frame(large + made_up.controls())

    assert set(stats.nearest_size(data, 500)["widths"]) == {"2-4-8-16"}


def test_the_equal_size_is_read_off_a_log_scale():
    dense = pd.Series([0.2, 0.3, 0.4], index=[100, 1000, 10_000])

    assert stats.equal_size(dense, 0.35) == pytest.approx(1000 * 10**0.5)
    assert stats.equal_size(dense, 0.5) == math.inf
    assert stats.equal_size(dense, 0.1) == pytest.approx(100)


def test_tau_is_taken_within_a_seed():
    records = []
    for seed in range(2):
        for images, best in ((500, 2), (1000, 1)):
            val = [0.1, 0.2, 0.2]
            val[best] = 0.5
            records.append(record([0.2, 0.3, 0.3], val, seed=seed, images=images))

    assert list(stats.density_taus(frame(records))) == [1, 1]  # denser with more images


PUBLISHED = json.loads((ROOT / "book" / "published.json").read_text())
FIELDS = (
    "id method network dataset images augmentation dense ticket units certainty page missing source".split()
)
PAGES = "low_data complementary generalization representations robustness capacity_connectivity".split()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_number_says_what_it_is_and_where_it_stands(name):
    entry = PUBLISHED[name]

    assert set(FIELDS) <= entry.keys()
    assert re.fullmatch(r"p1-(\d{3}|claim-\d\d|rerun-\d)", entry["id"])
    assert entry["augmentation"] in {None, "base", "auto", "rand+cutout", "auto+cutout"}
    assert entry["page"] in PAGES
    assert entry["missing"] in {"not yet run", "needs paper scale", "data cannot be had"}


@pytest.mark.parametrize("name", [name for name, entry in PUBLISHED.items() if "value" not in entry])
def test_a_published_accuracy_has_one_size_of_data_and_lies_among_percents(name):
    entry = PUBLISHED[name]
    numbers = [entry[side] for side in ("dense", "ticket") if entry[side] is not None]

    assert len({"fraction", "images_per_class", "imbalance"} & entry.keys()) == 1
    assert numbers
    assert all(0 < number < 100 for number in numbers)


def test_every_row_of_the_published_tables_is_there_once():
    ids = [entry["id"] for entry in PUBLISHED.values()]

    assert len(set(ids)) == len(ids)
    assert {f"p1-{number:03}" for number in range(1, 49)} <= set(ids)
