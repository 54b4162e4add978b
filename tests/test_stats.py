import math

import numpy as np
import pytest
from made_up import record

from lthnb import stats


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
    spread = [stats.interval(row) for row in values[:4000]]

    assert np.mean([each.low <= 0 <= each.high for each in spread]) == pytest.approx(0.95, abs=0.012)


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


def test_a_demo_says_only_whether_the_direction_agrees():
    assert stats.direction(stats.Interval(3, 1, 5, 3), published=15) == "direction agrees"
    assert stats.direction(stats.Interval(-3, -5, -1, 3), published=15) == "opposite"
    assert stats.direction(stats.Interval(3, -1, 7, 3), published=15) == "open"
    assert stats.direction(stats.interval([3.0]), published=15) == "open"


def test_records_of_two_data_sets_share_no_curve():
    with pytest.raises(ValueError, match="2 different data sets"):
        stats.table([record([0.3]), record([0.3], seed=1, sha256="bb")])


def test_the_table_has_a_line_a_round():
    text = stats.table([record([0.3, 0.4]), record([0.3, 0.42], seed=1)])

    assert text.splitlines()[0].split() == ["round", "density", "%", "train", "%", "val", "%", "test", "%"]
    assert text.splitlines()[2].split()[:2] == ["1", "50.00"]
    assert "41.0 ± 12.7" in text


def test_the_headline_holds_plain_numbers():
    values = stats.headline([record([0.3, 0.4]), record([0.3, 0.42], seed=1)], 15.86)

    assert values["gain"] == pytest.approx(11)
    assert {type(value) for value in values.values()} <= {int, float, str}
