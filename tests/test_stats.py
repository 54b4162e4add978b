import dataclasses
import json
import math
import re

import numpy as np
import pytest
from made_up import record

from lthnb import stats, tables
from lthnb.config import ROOT


def test_an_interval_is_the_one_of_the_textbook():
    found = stats.interval([1.0, 2.0, 3.0])

    assert found.mean == 2.0
    assert found.high - found.mean == pytest.approx(4.302653 / math.sqrt(3), abs=1e-5)
    assert str(found) == "2.0 ± 2.5"


def test_one_value_has_no_interval():
    found = stats.interval([3.0])

    assert math.isnan(found.low)
    assert str(found) == "3.0"


@pytest.mark.parametrize("n", [3, 5, 10])
def test_intervals_cover_as_often_as_they_say(n):
    values = np.random.default_rng(0).normal(size=(20_000, n))
    spread = [stats.interval(row) for row in values]

    assert np.mean([each.low <= 0 <= each.high for each in spread]) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("n", [3, 6])
def test_a_prediction_holds_one_more_value_as_often_as_it_says(n):
    values = np.random.default_rng(0).normal(size=(20_000, n + 1))
    spread = [stats.prediction(row[:n]) for row in values]

    held = [each.low <= row[n] <= each.high for each, row in zip(spread, values, strict=True)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.01)


def test_a_prediction_is_the_one_of_the_textbook():
    found = stats.prediction([1.0, 2.0, 3.0])

    assert found.high - found.mean == pytest.approx(4.302653 * math.sqrt(4 / 3), abs=1e-5)


@pytest.mark.parametrize(
    ("values", "p"),
    [([1, 2, 3, 4, 5, 6], 2 / 64), ([1, 1], 2 / 4), ([1, -1], 1), ([-1] * 12, 2 / 4096), ([3, 2, -1], 4 / 8)],
)
def test_the_sign_flip_test_counts_patterns(values, p):
    assert stats.sign_flip(values) == p


def test_one_difference_has_no_sign_flip_test():
    assert math.isnan(stats.sign_flip([3.0]))


@pytest.mark.parametrize(
    ("second", "tau"), [([1, 5, 9], 1), ([3, 2, 1], -1), ([1, 3, 2], 1 / 3), ([1, 1, 2], 2 / math.sqrt(6))]
)
def test_tau_counts_pairs_in_one_order(second, tau):
    assert stats.kendall([1, 2, 3], second) == pytest.approx(tau)


@pytest.mark.parametrize(("first", "second"), [([1, 2, 3], [4, 4, 4]), ([1], [2])])
def test_nothing_that_varies_has_no_tau(first, second):
    assert math.isnan(stats.kendall(first, second))


def test_val_chooses_among_pruned_rounds_and_of_equals_the_denser():
    assert stats.chosen_on_val(record([0.5, 0.4, 0.4, 0.3]).rounds) == 1
    assert stats.chosen_on_val(record([0.5]).rounds) is None


def test_test_accuracy_does_not_enter_the_choice_on_val():
    rows = record([0.1, 0.2, 0.9], val=[0.1, 0.5, 0.4]).rounds

    assert stats.chosen_on_val(rows) == 1
    assert stats.best_on_test(rows) == 2


@pytest.mark.parametrize(
    ("images", "density"), [(500, 0.8**15), (1000, 0.8**15), (5000, 0.8**4), (50_000, 0.8**2)]
)
def test_the_paper_round_is_the_one_of_nearest_density(images, density):
    index = stats.paper_round(images, [0.5**i for i in range(7)])

    assert index == min(range(1, 7), key=lambda i: abs(math.log(0.5**i / density)))


def test_gains_are_paired_by_seed():
    runs = [record([0.3, 0.4], seed=0), record([0.5, 0.52], seed=1)]

    assert stats.gains(runs, [1, 1]) == pytest.approx([10, 2])


def test_pairs_are_matched_by_seed():
    first = [record([0.3, 0.4], seed=0), record([0.5, 0.52], seed=1)]
    second = [record([0.45], seed=1), record([0.1], seed=0)]

    assert stats.paired(first, second, [1, 1], [0, 0]) == pytest.approx([30, 7])


def test_each_side_of_a_pair_is_read_at_its_own_round():
    runs = [record([0.3, 0.4, 0.45]), record([0.5, 0.52, 0.6], seed=1)]

    assert stats.paired(runs, runs, [2, 1], [0, 0]) == stats.gains(runs, [2, 1])


@pytest.mark.parametrize("seeds", [[0, 2], [0], [0, 1, 1]])
def test_other_seeds_make_no_pairs(seeds):
    runs = [[record([0.3], seed=seed) for seed in side] for side in ([0, 1], seeds)]

    for first, second in (runs, runs[::-1]):
        with pytest.raises(ValueError, match="make no pairs"):
            stats.paired(first, second, [0] * len(first), [0] * len(second))


def test_a_round_is_found_by_its_name_where_not_all_are_held():
    whole = record([0.1, 0.2, 0.3, 0.4])
    some = dataclasses.replace(whole, rounds=[whole.rounds[0], whole.rounds[3]])

    assert stats.accuracy_at(some, 3) == 0.4


def test_a_round_that_is_not_held_is_refused_with_those_that_are():
    whole = record([0.1, 0.2, 0.3, 0.4])
    some = dataclasses.replace(whole, rounds=[whole.rounds[0], whole.rounds[3]])

    with pytest.raises(ValueError, match="seed 0 holds rounds 0, 3, not 2"):
        stats.accuracy_at(some, 2)


# t intervals: 9 to 11 is 10 +- 2.5, so 7.5 to 12.5, predictions 5.0 to 15.0; -20 to 20 is 0 +- 49.7
@pytest.mark.parametrize(
    ("gains", "published", "said"),
    [
        ([9, 10, 11], 14, "reproduced"),
        ([-9, -10, -11], -14, "reproduced"),
        ([9, 10, 11], 16, "partly"),
        ([9, 10, 11], 4, "partly"),
        ([9, 10, 11], -4, "not"),
        ([-1, 0, 1], 4, "not"),
        ([-20, 0, 20], 4, "open"),
        ([10], 10, "open"),
    ],
)
def test_a_verdict_at_paper_scale_follows_the_rule(gains, published, said):
    assert stats.verdict(gains, published, "paper") == said


@pytest.mark.parametrize(
    ("gains", "said"), [([9, 10, 11], "direction agrees"), ([-1, 0, 1], "open"), ([-9, -10, -11], "opposite")]
)
@pytest.mark.parametrize("profile", ["smoke", "demo"])
def test_a_verdict_below_paper_scale_is_the_direction(gains, said, profile):
    assert stats.verdict(gains, 16, profile) == said


def test_a_demo_says_only_whether_the_direction_agrees():
    assert stats.direction(stats.Interval(3, 1, 5, 3), published=15) == "direction agrees"
    assert stats.direction(stats.Interval(-3, -5, -1, 3), published=15) == "opposite"
    assert stats.direction(stats.Interval(3, -1, 7, 3), published=15) == "open"
    assert stats.direction(stats.interval([3.0]), published=15) == "open"


def test_records_of_two_data_sets_share_no_curve():
    with pytest.raises(ValueError, match="2 different data sets"):
        tables.table([record([0.3]), record([0.3], seed=1, sha256="bb")])


def test_the_table_has_a_line_a_round():
    text = tables.table([record([0.3, 0.4]), record([0.3, 0.42], seed=1)])

    assert text.splitlines()[0].split() == ["round", "density", "%", "train", "%", "val", "%", "test", "%"]
    assert text.splitlines()[2].split()[:2] == ["1", "50.00"]
    assert "41.0 ± 12.7" in text


def test_the_headline_holds_plain_numbers():
    values = tables.headline([record([0.3, 0.4]), record([0.3, 0.42], seed=1)], 15.86)

    assert values["gain"] == pytest.approx(11)
    assert {type(value) for value in values.values()} <= {int, float, str}


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
    found = [entry["id"] for entry in PUBLISHED.values()]

    assert len(set(found)) == len(found)
    assert {f"p1-{number:03}" for number in range(1, 49)} <= set(found)
