"""The numbers of each page's sentences are plain, and those of the published records are as printed."""

import json
import math

import pytest
from helpers import made_up

from lthnb.config import ROOT
from lthnb.pages import controls, inside, summary
from lthnb.pages.frame import behind, by_role, frame, pick
from lthnb.runs.record import load_all

ORIGINAL = "folder:cifar10_exact@c6e530f5"
WHOLE = "folder:cifar10_jpeg@ad6c01fc"
STRONG = frame([made_up.record([0.35 + seed / 100], seed=seed, images=500) for seed in range(2)])
ROLES = {"original_pixels": ORIGINAL, "whole_set": WHOLE}


@pytest.fixture(scope="module")
def published():
    return load_all("book/runs")


@pytest.fixture(scope="module")
def data(published):
    """All published runs of demo scale, without those of the first look at the paper's width."""
    usual = {"rates": "published", "times": 1, "cycles": 1, "label_noise": 0}
    runs = pick(frame(published), **usual, rewind="corrected", cutout="corrected")
    return runs[(runs["width"] != 64) & (runs["control"] != "rewound") & (runs["seed"] < 100)]


def is_plain(numbers):
    return {type(value) for value in numbers.values()} <= {int, float, str}


def test_imp_tells_dense_ticket_and_gain():
    numbers = summary.imp(
        frame(made_up.group(0.2, 0.3, 6, name="cifar10", augment="rand+cutout")), STRONG, "demo"
    )

    assert is_plain(numbers)
    assert numbers["images"] == 500 and numbers["seeds"] == 6 and numbers["round"] == 1
    assert numbers["dense"] == pytest.approx(22.5) and numbers["gain"] == pytest.approx(10)
    assert numbers["verdict"] == "direction agrees"
    assert (numbers["better"], numbers["strong_n"], numbers["over_strong"]) == (6, 2, pytest.approx(-5))
    assert numbers["over_strong_spread"] == "-5.0, -5.0"


@pytest.mark.parametrize("other", [{"name": "glyphs"}, {"name": "cifar10", "images": 1000}])
def test_imp_has_no_published_number_for_other_images(other):
    numbers = summary.imp(frame(made_up.group(0.2, 0.3, **other)), frame([]), "demo")

    assert numbers["verdict"] == "no published number"
    assert numbers["over_strong_spread"] == "-"


def test_imp_without_prunings_has_no_ticket():
    numbers = summary.imp(frame([made_up.record([0.3])]), frame([]), "demo")

    assert is_plain(numbers)
    assert math.isnan(numbers["ticket"]) and math.isnan(numbers["gain"])


def test_the_numbers_of_low_data_are_those_of_the_published_records(published, data):
    wide = pick(frame(published), width=64, rounds=5)
    plain = pick(data, control="none", widths="")
    original, whole, small = by_role(plain.sort_values("model", ascending=False, kind="stable"), ROLES)
    numbers = summary.low_data(original, whole, wide, frame([]), ROLES, "demo")

    assert is_plain(numbers)
    assert len(small) == 3 * 3 * 3
    assert (numbers["pairs"], numbers["pairs_up"], numbers["fits_up"]) == (48, 48, 48)
    assert numbers["gain_one"] == pytest.approx(8.0133, abs=1e-4)
    assert (numbers["gain_low_one"], numbers["gain_high_one"]) == pytest.approx((6.3291, 9.6976), abs=1e-4)
    assert numbers["gain_two"] == pytest.approx(7.32)
    assert (numbers["series"], numbers["taus"], numbers["largest"]) == (28, 13, 5000)
    assert numbers["tau"] == pytest.approx(-0.8064, abs=1e-4)
    assert numbers["equal"] == pytest.approx(878.09, abs=0.01)
    assert (numbers["wide_n"], numbers["wide_ticket"]) == (2, pytest.approx(51.66))
    said = "direction agrees; the dense network was not trained out"
    assert numbers["verdict_one"] == numbers["verdict_two"] == said


def test_low_data_goes_without_runs_at_the_paper_s_width_and_without_a_whole_set():
    runs = frame(made_up.group(0.2, 0.3, augment="rand+cutout") + made_up.group(0.2, 0.3, images=1000))
    roles = {"original_pixels": "glyphs"}
    original, whole, small = by_role(runs, roles)
    numbers = summary.low_data(original, whole, frame([]), frame([]), roles, "smoke")

    assert whole.equals(original) and small.empty
    assert is_plain(numbers)
    assert numbers["verdict_one"] == "nothing to compare"
    assert "wide_n" not in numbers


def test_the_numbers_of_the_controls_are_those_of_the_published_records(published, data):
    runs = pick(data, data=ORIGINAL)
    augment = {500: "rand+cutout", 1000: "auto+cutout"}
    records = behind(runs[runs["augment"] == runs["images"].map(augment)], published)
    numbers = controls.numbers(records, frame([]), "demo")

    assert is_plain(numbers)
    assert numbers["random_one"] == pytest.approx(8.295)
    assert (numbers["small_one"], numbers["small_two"]) == pytest.approx((10.5267, 10.855), abs=1e-4)
    assert numbers["capacity_low_two"] == pytest.approx(-6.0675, abs=1e-4)
    assert numbers["verdict_capacity_two"] == "opposite; the dense network was not trained out"
    assert (numbers["stem_one"], round(numbers["stem_ticket_one"]), round(numbers["stem_random_one"])) == (
        432,
        284,
        14,
    )
    assert numbers["p_one"] == 0.03125


def test_the_numbers_of_the_layers_are_those_of_the_published_records(published):
    measures = {}
    for path in (ROOT / "book" / "runs").glob("*.layers.json"):
        document = json.loads(path.read_text())
        measures[document["key"]] = document["values"]
    small = inside.smallest(published, measures)
    numbers = summary.layers(small, inside.overlaps(published, measures), measures, "demo")

    assert is_plain(numbers)
    assert (numbers["explained"], numbers["rewind"]) == pytest.approx((64.6606, 84.8528), abs=1e-4)
    assert (numbers["shared"], numbers["early"]) == pytest.approx((1.4025, 1.4229), abs=1e-4)
    assert (numbers["stem"], numbers["stage4"]) == pytest.approx((65.7407, 0.4652), abs=1e-4)
    assert numbers["n"] == 6
