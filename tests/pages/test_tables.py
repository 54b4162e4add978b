"""What pages print: checked against records one can compute by eye."""

import pytest
from helpers import made_up
from helpers.made_up import group, record

from lthnb.pages import tables
from lthnb.pages.frame import frame


def test_the_table_of_a_run_has_a_line_a_round_with_mean_and_interval():
    runs = [record([0.3, ticket], seed=seed) for seed, ticket in enumerate((0.4, 0.41, 0.42))]
    table = tables.by_round(frame(runs))

    assert list(table.columns) == ["round", "density (%)", "train (%)", "val (%)", "test (%)"]
    assert list(table.iloc[1][["round", "density (%)", "test (%)"]]) == [1, "50.00", "41.0 ± 2.5"]


def test_an_empty_split_is_a_dash():
    made = record([0.3])
    made.rounds[0]["total"]["val"] = 0

    assert tables.by_round(frame([made]))["val (%)"].item() == "-"


@pytest.mark.parametrize("table", [tables.by_round, lambda data: tables.gains(data, frame([]))])
def test_a_table_of_two_data_sets_is_refused(table):
    with pytest.raises(ValueError, match="2 different data sets"):
        table(frame(group(0.2, 0.3) + group(0.2, 0.3, sha256="bb")))


def test_each_rule_for_the_round_has_a_line():
    table = tables.selection(frame([record([0.3, 0.4, 0.5], val=[0.3, 0.5, 0.4])]))

    assert list(table["ticket"]) == ["the paper's round", "chosen on val", "best on test"]
    assert list(table["density (%)"]) == ["25.0", "50.0", "25.0"]
    assert list(table["gain (points)"]) == ["20.0", "10.0", "20.0"]


def test_a_rule_that_a_run_cannot_follow_is_left_out():
    assert list(tables.selection(frame([record([0.3])]))["ticket"]) == ["best on test"]


def test_the_gain_table_has_a_line_for_each_size_and_augmentation():
    base = group(0.2, 0.3)
    for made in base:
        made.rounds[0]["correct"]["train"] = 400  # of 500, and all of them in round 1
    strong = frame([record([0.32 + seed / 100], seed=seed, images=500) for seed in range(3)])
    table = tables.gains(frame(base + group(0.25, 0.3, augment="rand+cutout")), strong)

    first = "500 base 3 21.0±2.5 31.0±2.5 33.0±2.5 10.0±0.0 80/100/100 50.0 50.0 10.0"
    assert [str(cell).replace(" ", "") for cell in table.iloc[0]] == first.split()
    assert list(table["augmentation"]) == ["base", "rand+cutout"]
    assert list(table["strong dense (%)"])[1] == "-"


def test_the_table_of_contrasts_puts_the_effect_of_size_alone_last():
    table = tables.contrasts(frame(made_up.controls()))

    assert list(table.iloc[2]) == ["500", "random masks", 3, "8.0 ± 0.0", "100 / 100"]
    assert list(table.iloc[-1]) == ["500", "(small dense - dense)", 3, "1.0 ± 0.0", "100 / 100"]


def test_the_table_of_interactions_leaves_out_base():
    table = tables.interactions(frame(group(0.2, 0.3) + group(0.2, 0.35, augment="rand")))

    assert table.to_numpy().tolist() == [["500", "rand", "5.0 ± 0.0"]]


def test_the_size_table_shows_weights_and_work():
    table = tables.sizes(made_up.controls())

    assert list(table.iloc[0]) == ["500", "dense", "1,000", "100.00", "100.00"]
    assert list(table.iloc[1]) == ["500", "ticket, round 1", "500", "50.00", "50.00"]
    # its stem has 2 channels of 64; made-up networks have no other layer
    assert list(table.iloc[2]) == ["500", "small dense 2-4-8-16", "500", "50.00", "3.12"]


def measured(made):
    return {
        made.config.key: {
            "round": 1,
            "channels": [1.0, 0.9],
            "dead": [0, 3],
            "norms": {"dense": [0.5, 1], "ticket": [1, 2]},
        }
    }


def test_the_table_of_work_has_a_line_a_round():
    made = record([0.3, 0.4])

    assert list(tables.work([made], measured(made)).iloc[1]) == [1, "50.00", "50.0", "90.0", "3.0"]


def test_the_table_of_norms_has_a_column_a_block():
    made = record([0.3, 0.4])
    table = tables.branch_norms([made], measured(made))

    assert list(table.columns) == ["shortcut / main branch", "block 1", "block 2"]
    assert list(table.iloc[1]) == ["ticket", "1.00", "2.00"]


def every_table():
    made = record([0.3, 0.4])
    runs = frame(group(0.2, 0.3) + group(0.2, 0.35, augment="rand"))
    yield from (tables.by_round(runs), tables.selection(runs), tables.interactions(runs))
    yield tables.gains(runs, frame([]))
    yield from (tables.contrasts(frame(made_up.controls())), tables.sizes(made_up.controls()))
    yield from (tables.work([made], measured(made)), tables.branch_norms([made], measured(made)))


@pytest.mark.parametrize("table", list(every_table()), ids=lambda table: table.columns[0])
def test_headers_are_unique_and_numbers_with_a_unit_name_it(table):
    assert table.columns.is_unique
    assert len(table)
    for header in table:
        if "±" in "".join(map(str, table[header])):
            assert header.endswith(("(%)", "(points)"))
