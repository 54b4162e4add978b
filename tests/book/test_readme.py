"""The README's numbers are those of the records, and its Python runs."""

import re

import pytest

from lthnb.config import ROOT
from lthnb.pages import scoreboard, stats, study, summary, tables
from lthnb.pages.frame import frame, pick
from lthnb.runs import record

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def original():
    """The published runs on CIFAR-10's original pixels, in one frame."""
    return pick(frame(record.load_all("book/runs")), name="cifar10_exact")


def test_the_first_table_shows_the_numbers_of_the_records(original):
    values = summary.imp(pick(original, images=500, augment="base", width=16), "demo")
    half = values["gain_high"] - values["gain"]
    pair = f"{values['dense']:.1f} → {values['ticket']:.1f} %"

    assert f"{pair}, {values['gain']:+.1f} ± {half:.1f} points" in README
    assert f"{values['seeds']} seeds, demo scale) | {values['verdict']} |" in README


def test_the_first_table_shows_the_filled_rows_of_the_scoreboard():
    for row in scoreboard.rows(record.load_all("book/runs")):
        if ours := row.values():
            entry = row.published
            theirs = f"{entry['dense']:.1f} → {entry['ticket']:.1f} %, {row.gain:+.1f} points"
            pair = f"{ours['dense']:.1f} → {ours['ticket']:.1f} %"
            gain = f"{ours['gain']:+.1f} ± {ours['gain_high'] - ours['gain']:.1f} points"
            here = f"{pair}, {gain} ({ours['n']} seeds, {ours['scale']} scale)"
            assert f"| {theirs} | {here} | {ours['verdict']} |" in README


def test_the_first_table_shows_the_runs_at_the_paper_s_width():
    wide = [made for made in record.load_all("book/runs") if made.config.network.width == 64]
    wide = [made for made in wide if made.config.prune.rounds]
    entry = scoreboard.published()["cifar10-1%-random-init"]
    ours = scoreboard.Row("wide", entry, wide, "demo").values()
    gains = stats.gains(frame(wide))
    pair = f"{ours['dense']:.1f} → {ours['ticket']:.1f} %, {ours['gain']:+.1f} points"
    seeds = f"({ours['n']} seeds: {', '.join(f'{gain:+.1f}' for gain in gains)})"

    assert f"| {pair} {seeds} | {ours['verdict']} |" in README


def test_the_first_table_shows_the_contrasts_of_the_controls(original):
    contrasts = stats.contrasts(pick(original, images=500, augment="rand+cutout", width=16))
    for name in ("random masks", "small dense - dense"):
        gain = stats.interval(contrasts[name])
        assert f"{gain} points ({gain.n} seeds, demo scale) | {stats.direction(gain, 1)} |" in README


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
    assert "rand+cutout" in capsys.readouterr().out


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
