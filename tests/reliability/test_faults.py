"""The everyday part of ``faults.py``, whose main program gives the full figures."""

import pytest
from helpers import faults


@pytest.fixture(scope="module", autouse=True)
def warm(glyphs):
    faults.warm_up(glyphs)


def test_killed_runs_go_on_and_end_with_the_same_bits(glyphs):
    assert faults.kills(25, glyphs) == (25, 0, 0)


def test_a_crash_at_any_step_of_any_write_loses_nothing(glyphs):
    points, failing = faults.crash_points(glyphs)

    assert points >= 50
    assert failing == 0


@pytest.mark.parametrize("defect", faults.PLANTS)
def test_the_harness_finds_a_planted_defect(glyphs, defect):
    kills = 100 if "place" in defect else 25
    _, differing, lost = faults.kills(kills, glyphs, plant=faults.PLANTS[defect], first=True)

    assert differing + lost == 1


def test_damaged_files_are_refused_by_name_at_once(glyphs):
    for refused, silent, other, slowest in faults.damage(100, glyphs).values():
        assert (refused, silent, other) == (100, 0, 0)
        assert slowest < 1


def test_a_full_disk_costs_time_and_no_results(glyphs):
    assert faults.disks([4096 + 2400 * index for index in range(8)], glyphs) == (8, 8, 8)


def test_of_four_writers_one_wins():
    assert faults.races(10) == (10, 10)
