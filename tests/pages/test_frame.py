"""The frame: one row per run, round and split, with the flags that say which round is the ticket."""

import dataclasses
import math

import pytest
from helpers import made_up
from helpers.made_up import record

from lthnb.pages import frame
from lthnb.runs.record import load_all


def test_a_run_has_a_row_for_each_round_and_split():
    data = frame.frame([record([0.3, 0.4], seed=2)])

    assert list(data["split"]) == ["train", "val", "test"] * 2
    assert list(data["round"]) == [0, 0, 0, 1, 1, 1]
    last = data.iloc[-1]
    assert (last["seed"], last["density"], last["kept"], last["correct"], last["total"]) == (
        2,
        0.5,
        500,
        400,
        1000,
    )
    assert last["accuracy"] == 0.4


def test_fields_of_the_configuration_are_columns_with_values_resolved():
    (made,) = made_up.group(0.2, 0.3, seeds=1, augment="rand", lr=0.01)
    first = frame.frame([made]).iloc[0]

    assert (first["images"], first["augment"], first["lr"], first["widths"]) == (500, "rand", 0.01, "")
    assert first["side"] == 32  # the configuration says 0: as stored
    assert first["steps"] == 200  # 20 epochs of 10 batches
    assert first["key"] == made.config.key


def test_a_data_set_is_named_without_its_folder_and_hash():
    first = frame.frame([record([0.3], name="folder:pets@0123abcd")]).iloc[0]

    assert (first["data"], first["name"]) == ("folder:pets@0123abcd", "pets")


def test_an_empty_split_has_no_accuracy():
    made = record([0.3])
    made.rounds[0]["total"]["val"] = made.rounds[0]["correct"]["val"] = 0

    assert math.isnan(frame.pick(frame.frame([made]), split="val")["accuracy"].item())


def test_each_rule_marks_its_own_round():
    # at 500 images the paper's density is 0.8**15 = 0.035; halving comes nearest in round 5
    data = frame.frame([record([0.1, 0.2, 0.9, 0.3, 0.3, 0.3, 0.3], val=[0.9, 0.2, 0.3, 0.8, 0.1, 0.1, 0.1])])

    assert [frame.at(data, which)["round"].item() for which in ("dense", "ticket", "chosen", "best")] == [
        0,
        5,
        3,
        2,
    ]


def test_a_run_that_did_not_prune_has_no_ticket():
    data = frame.frame([record([0.3])])

    assert not data[["ticket", "chosen"]].to_numpy().any()
    assert frame.at(data, "ticket").empty


def test_the_ticket_s_round_of_a_control_goes_by_its_name_not_its_place():
    whole = record([0.1] * 7, control="random")
    later = dataclasses.replace(whole, rounds=whole.rounds[1:])

    assert frame.at(frame.frame([later]), "ticket")["round"].item() == 5


def test_arms_say_what_a_round_is_called():
    data = frame.frame(made_up.controls())

    assert set(data["arm"]) == {
        *("dense", "ticket", "small dense"),
        *("random masks", "shuffled in layers", "reinitialised"),
    }
    assert set(frame.pick(data, control="random")["arm"]) == {"random masks"}
    assert list(frame.pick(data, arm="small dense", split="test")["kept"]) == [500] * 3


def test_the_peak_is_the_best_evaluated_epoch():
    made = record([0.3])
    made.rounds[0]["curve"]["correct"] = [{"epochs": 19, "test": 410}, {"epochs": 20, "test": 300}]
    data = frame.frame([made])

    assert frame.pick(data, split="test")["peak"].item() == 0.41
    assert math.isnan(frame.pick(data, split="val")["peak"].item())


def test_rows_are_picked_by_values_and_read_in_the_order_of_seeds():
    data = frame.frame(made_up.group(0.2, 0.3)[::-1] + made_up.group(0.2, 0.3, augment="rand"))

    assert list(frame.at(frame.pick(data, augment="base"), "ticket")["seed"]) == [0, 1, 2]


def test_records_of_two_data_sets_or_two_sides_share_no_curve():
    for other in ({"sha256": "bb"}, {"side": 16}):
        with pytest.raises(ValueError, match="2 different data sets"):
            frame.same_data(frame.frame([record([0.3]), record([0.3], seed=1, **other)]))


def test_the_published_records_make_one_frame():
    records = load_all("book/runs")
    data = frame.frame(records)

    assert data["key"].nunique() == len(records)
    assert len(data) == sum(len(row["total"]) for made in records for row in made.rounds)
    assert not data["accuracy"].isna().any()


def test_strong_dense_runs_stand_apart_whatever_the_width():
    own = record([0.2, 0.3], epochs=20, width=48)
    strong = record([0.4], epochs=80, width=48, lr=0.003)
    alone, beside = frame.apart(frame.frame([own, strong]))

    assert set(alone["key"]) == {own.config.key}
    assert set(beside["key"]) == {strong.config.key}
    assert frame.behind(beside, [own, strong]) == [strong]
