"""The scoreboard: every published number has a row, and ours are those of the records."""

import json
import re

import numpy as np
import pytest
from helpers import made_up

from lthnb.config import PROFILES, ROOT, RunConfig
from lthnb.pages import scoreboard, stats
from lthnb.pages.frame import frame
from lthnb.runs import record
from lthnb.schedules import STRONG, scheduled


def runs(profile, test, seeds=6, **fields):
    """Records of the paper's row at 1 %, with made-up accuracies that rise by a point with every seed."""
    values = {
        "rate": RunConfig().prune.rate,
        **PROFILES[profile],
        "images": 500,
        "augment": "rand+cutout",
        "name": "cifar10",
        **fields,
    }
    records = [
        made_up.record([value + seed / 100 for value in test], seed=seed, **values) for seed in range(seeds)
    ]
    for made in records:
        for row in made.rounds:
            row["curve"]["correct"] = [{"epochs": 20, "test": row["correct"]["test"]}]
    return records


def row(records, name="cifar10-1%-random-init"):
    return next(row for row in scoreboard.rows(records) if row.name == name)


def test_every_published_number_has_a_row_and_the_re_run_none():
    names = [row.name for row in scoreboard.rows([])]

    assert len([name for name in names if scoreboard.published()[name]["id"][3:6].isdigit()]) == 48
    assert not [name for name in names if name.startswith("rerun")]


def test_a_row_without_runs_says_why():
    text = scoreboard.markdown(scoreboard.rows([]))

    assert "| CIFAR-10 1% | Random init | 43.8 → 59.7 | - | - | 15.9 | - | not yet run; " in text
    assert "data cannot be had" in text and "needs paper scale" in text


def test_demo_runs_fill_a_row_with_their_direction_only():
    filled = row(runs("demo", [0.2, 0.22, 0.24, 0.25, 0.27, 0.3]))

    assert filled.values()["dense"] == pytest.approx(22.5)
    assert filled.values()["gain"] == pytest.approx(10)
    assert (filled.values()["n"], filled.values()["verdict"]) == (6, "direction agrees")
    assert {type(value) for value in filled.values().values()} <= {int, float, str}
    board = scoreboard.markdown([filled])
    assert (
        "| 22.5 → 32.5, on train 100 → 100 | - | 15.9 → 10.0 ± 0.0 | demo, 6 | **direction agrees**" in board
    )


def test_the_highest_scale_with_six_seeds_fills_a_row():
    demo = runs("demo", [0.2] * 6)
    wide = runs("wide", [0.2] * 6)

    assert row(demo + wide + runs("paper", [0.4] + [0.5] * 19)).profile == "paper"
    assert row(demo + wide + runs("paper", [0.4] + [0.5] * 19, seeds=2)).profile == "wide"
    assert row(demo + runs("wide", [0.2] * 6, seeds=2)).profile == "demo"


def test_a_row_shows_the_strong_dense_network_of_its_scale():
    strong = runs("demo", [0.35], **scheduled("demo", STRONG), rounds=0)
    filled = row(runs("demo", [0.2, 0.22, 0.24, 0.25, 0.27, 0.3]) + strong)

    assert "| 22.5 → 32.5, on train 100 → 100 | 37.5 | 15.9" in scoreboard.markdown([filled])


@pytest.mark.parametrize(
    "other",
    [{"augment": "base"}, {"images": 1000}, {"name": "glyphs"}, {"control": "random"}, {"widths": "1-2-4-8"}],
)
def test_runs_of_another_experiment_fill_no_row(other):
    assert row(runs("demo", [0.2] * 6, **other)).records == []


def test_the_paper_s_number_is_best_over_epochs_and_rounds_up_to_its_last():
    (made,) = runs("paper", [0.4] * 20, seeds=1)
    for index, share in enumerate(0.8**i for i in range(20)):
        made.rounds[index]["kept"] = [round(1000 * share)]
    made.rounds[0]["curve"]["correct"].append({"epochs": 199, "test": 410})
    made.rounds[12]["curve"]["correct"].append({"epochs": 190, "test": 600})
    made.rounds[17]["curve"]["correct"].append({"epochs": 190, "test": 900})  # beyond the paper's last round

    assert list(stats.best_gains(frame([made]))) == [pytest.approx(19)]


def test_the_filled_rows_of_the_book_are_recomputed_from_the_records():
    records = record.load_all("book/runs")
    filled = {row.name: row.values() for row in scoreboard.rows(records) if row.records}

    assert {"cifar10-1%-random-init", "cifar10-2%-random-init"} <= filled.keys()
    for name, images, augment in (
        ("cifar10-1%-random-init", 500, "rand+cutout"), ("cifar10-2%-random-init", 1000, "auto+cutout"),
    ):  # fmt: skip
        mine = [
            made for made in records
            if "cifar10_exact" in made.config.data.name and made.config.data.images == images
            and made.config.train.augment == augment and made.config.prune.control == "none"
            and made.config.network.width == 16 and not made.config.network.widths
            and made.config.train == RunConfig.of("demo", augment=augment).train
            and made.config.prune.rounds == 5 and made.config.prune.rewind == "corrected"
            and made.config.data.label_noise == 0
        ]  # fmt: skip
        right = np.array([[made.rounds[at]["correct"]["test"] / 100 for at in (0, 5)] for made in mine])
        assert filled[name]["dense"] == pytest.approx(right[:, 0].mean())
        assert filled[name]["gain"] == pytest.approx((right[:, 1] - right[:, 0]).mean())
        assert filled[name]["n"] == len(mine) == 6


def test_intro_types_no_result():
    text = (ROOT / "book" / "intro.md").read_text()

    assert not re.findall(r"\d+\.\d", text.partition("```{code-cell}")[0])
    assert (
        json.loads((ROOT / "book" / "published.json").read_text())["cifar10-1%-random-init"]["dense"] == 43.8
    )
