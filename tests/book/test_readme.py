"""The README's numbers are those of the records, and its Python runs."""

import re
from contextlib import suppress

import pytest

from lthnb.config import ROOT
from lthnb.measures import measure
from lthnb.pages import fair, robust, scoreboard, stats, study, tables
from lthnb.pages.frame import at, frame, pick
from lthnb.runs import record
from lthnb.runs.record import MissingRun

README = (ROOT / "README.md").read_text(encoding="utf-8")


ONE = {"images": 500, "augment": "rand+cutout"}
TWO = {"images": 1000, "augment": "auto+cutout"}


def table_rows(records):
    """The rows of the first table after their names, from published records alone."""
    data = pick(frame(records), name="cifar10_exact", label_noise=0, rewind="corrected", cutout="corrected")
    data = data[data["seed"] < 100]
    one, two = pick(data, width=16, **ONE), pick(data, width=16, **TWO)
    base = pick(data, width=16, images=500, augment="base")
    wide = pick(data, width=64, **ONE)
    published = scoreboard.published()
    first, second = published["cifar10-1%-random-init"], published["cifar10-2%-random-init"]
    yield "fair_test", "58.2 % (tuned dense, Brigato et al.)", one, fair.numbers(one, "demo")["meaning"]
    yield "imp", "prints none for crop + flip", base, None
    yield "low_data", gain_of(first), one, verdict(one, first)
    yield "wide", gain_of(first), wide, verdict(wide, first)
    yield "low_data 2 %", gain_of(second), two, verdict(two, second)


def gain_of(entry):
    return f"{entry['dense']:.1f} → {entry['ticket']:.1f} %, {entry['ticket'] - entry['dense']:+.1f} points"


def on_schedule(data):
    """The runs of one schedule, dense and ticket."""
    return pick(data, rates="published", times=1, cycles=1, control="none", widths="", rounds=5)


def verdict(data, entry):
    return stats.judged(on_schedule(data), entry["ticket"] - entry["dense"], "demo")


def cells(paper, data, said):
    """A row as the table prints it."""
    runs = on_schedule(data)
    test, train = stats.outcome(runs), stats.outcome(runs, "train")
    strong = fair.points(data, "strong dense")
    over = fair.contrast(data, fair.PRIMARY)
    here = f"{test['dense']:.1f} → {test['ticket']:.1f} %, {test['gain_spread']} points ({test['n']} seeds)"
    fits = f"{train['dense']:.0f} → {train['ticket']:.0f} %"
    beside = f"{strong.mean():.1f} %; ticket minus it {stats.interval(over)} ({len(over)} seeds)"
    if len(both := fair.contrast(data, fair.SECONDARY[0])) > 2:
        beside += f", strong ticket minus it {stats.interval(both)}"
    said = said or stats.gated(
        stats.direction(stats.interval(stats.gains(runs)), 1), fair.of_arm(data, "dense", "train")
    )
    return f"| {paper} | {here} | {fits} | {beside if len(strong) else 'not yet run'} | {said} |"


@pytest.fixture(scope="module")
def records():
    return record.load_all("book/runs")


def test_the_first_table_shows_the_numbers_of_the_records(records):
    for name, *row in table_rows(records):
        assert cells(*row) in README, f"{name}: {cells(*row)}"


def test_the_first_sentence_is_the_fair_one(records):
    _, _, one, _ = next(table_rows(records))
    first = " ".join(README.partition("| finding |")[0].split())

    assert f"it does, by {stats.interval(stats.gains(on_schedule(one)))} points" in first
    lead = fair.contrast(one, ("strong dense", "ticket"))
    assert f"leads the published sparse one by {stats.interval(lead)}" in first
    later = [stats.interval(fair.contrast(one, (f"ticket {x}", f"dense {x}"))) for x in ("4x", "16x")]
    assert f"after 20 epochs, {later[0]} after 80, {later[1]} after 320" in first
    both = fair.contrast(one, ("strong dense", "strong ticket"))
    assert f"found and trained in the same way by {stats.interval(both)}: provisionally" in first


def test_the_first_table_shows_the_contrasts_of_the_controls(records):
    data = on_schedule_of_controls(records)
    dense = at(pick(data, arm="dense"), "dense", "train")
    contrasts = stats.contrasts(data)
    for name in ("shuffled in layers", "small dense - dense"):
        gain = stats.interval(contrasts[name])
        said = stats.gated(stats.direction(gain, 1), dense)
        assert f"| yes, no number | {gain} points ({gain.n} seeds) | | | {said} |" in README


def test_the_first_table_shows_what_is_left_of_robustness_at_equal_accuracy(records):
    measures = {}
    for made in records:
        with suppress(MissingRun):
            measures[made.config.key] = measure.load(made.config, "robustness", "book/runs")
    shown = robust.shifted(records, measures)
    numbers = robust.numbers(shown, "demo")
    # what the page says in prose
    assert numbers["meaning"] == "only more accurate"
    assert (numbers["kinds_over_dense"], numbers["kinds_over_strong_dense"]) == (19, 0)
    assert set(robust.costly(shown)["kind"]) == {*"contrast frost fog saturate brightness snow".split()}
    assert numbers["less_data_low"] < 0 < numbers["less_data_high"]
    here = f"residual {numbers['residual_spread']} points ({numbers['n']} seeds)"
    beside = f"ticket minus it {numbers['over_strong_spread']}, under corruption"

    assert f"| figures without numbers | {here} | | {beside} | {numbers['meaning']} |" in README


def on_schedule_of_controls(records):
    """Tickets of the paper's row at 1 %, and what takes their place, on the published schedule."""
    data = pick(frame(records), name="cifar10_exact", width=16, rates="published", times=1, cycles=1, **ONE)
    data = pick(data, label_noise=0, rewind="corrected", cutout="corrected")
    return data[(data["seed"] < 100) & ~data["control"].isin(["rewound", "retrained"])]


def test_the_expected_output_has_the_form_of_the_table(page):
    data = frame(study.obtain(study.find("imp", page)))
    table = tables.by_round(data).to_string(index=False).splitlines()
    (shown,) = (block for block in README.split("```") if block.strip().startswith("round density"))

    assert shown.strip("\n").splitlines()[0].split() == table[0].split()
    assert [line.split()[0] for line in shown.strip("\n").splitlines()] == ["round", *"012345"]


def test_the_python_examples_run(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    ticket, run, table = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(ticket, {})
    assert len([line for line in ticket.splitlines() if line]) == 3
    assert re.match(r"Ticket\(resnet18 .*\) \[\('ship', ", capsys.readouterr().out)

    exec(run.replace("images=100))", f"images=100), settings=Settings(runs={str(tmp_path)!r}))"), names())
    assert len([line for line in run.splitlines() if line]) == 3
    assert capsys.readouterr().out.startswith("[1.0, ")

    exec(table, {})
    assert re.search(r"published +1\.0 +0\.284", capsys.readouterr().out)


def names():
    """What the example may not name: a folder of its own."""
    from lthnb.runs.machine import Settings

    return {"Settings": Settings}


def test_shipped_tickets_are_small():
    assert sum(path.stat().st_size for path in (ROOT / "book" / "tickets").iterdir()) < 10e6


def test_the_two_commands_are_the_promised_ones():
    setup = "python3 -m venv .venv && .venv/bin/pip install -q -r requirements.txt && .venv/bin/"

    assert f"{setup}papermill notebooks/imp.ipynb -p fraction 0.01\n" in README
    assert f"{setup}python -m pytest -q\n" in README
    assert f"{setup}python -m pytest -q " in (ROOT / ".ci" / "run").read_text()
