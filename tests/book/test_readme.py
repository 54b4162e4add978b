"""The README's numbers are those of the records, and its Python runs."""

import re

from PIL import Image

from lthnb.pages import study as experiments, scoreboard, stats, tables
from lthnb.runs import record
from lthnb.config import ROOT

README = (ROOT / "README.md").read_text()


def exact(**fields):
    runs = stats.pick(record.load_all("book/runs"), **fields)
    return [made for made in runs if made.config.data.name.startswith("folder:cifar10_exact")]


def test_the_first_table_shows_the_numbers_of_the_records():
    values = tables.headline(exact(images=500, augment="base", width=16), 59.66 - 43.8)
    half = values["gain_high"] - values["gain"]

    assert (
        f"{values['dense']:.1f} → {values['ticket']:.1f} %, {values['gain']:+.1f} ± {half:.1f} points"
        in README
    )
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
    wide = exact(images=500, width=64)
    entry = scoreboard.published()["cifar10-1%-random-init"]
    ours, gains = scoreboard.Row("wide", entry, wide, "demo").values(), stats.gains_over_dense(wide)
    pair = f"{ours['dense']:.1f} → {ours['ticket']:.1f} %, {ours['gain']:+.1f} points"
    seeds = f"({ours['n']} seeds: {', '.join(f'{gain:+.1f}' for gain in gains)})"

    assert f"| {pair} {seeds} | {ours['verdict']} |" in README


def test_the_first_table_shows_the_contrasts_of_the_controls():
    found = stats.contrasts(exact(images=500, augment="rand+cutout", width=16), 500)
    for name in ("random masks", "small dense - dense"):
        gain = stats.interval(found[name])
        shown = f"{gain} points ({gain.n} seeds, demo scale) | {stats.direction(gain, 1)} |"
        assert shown in README


def test_the_expected_output_has_the_form_of_the_table(page):
    page.profile, page.rounds = "smoke", 5
    table = tables.table(experiments.obtain(experiments.imp(page))).splitlines()
    (shown,) = (block for block in README.split("```") if block.strip().startswith("round "))

    assert [line.split()[:2] for line in shown.strip("\n").splitlines()] == [
        line.split()[:2] for line in table
    ]


def test_the_python_examples_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    ticket, run = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    Image.new("RGB", (40, 30), "green").save(tmp_path / "photo.jpg")
    exec(ticket.replace("photo.jpg", str(tmp_path / "photo.jpg")), {})
    assert len([line for line in ticket.splitlines() if line]) == 3
    assert capsys.readouterr().out.startswith("[('")

    exec(run, {})
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_shipped_tickets_are_small():
    assert sum(path.stat().st_size for path in (ROOT / "book" / "tickets").iterdir()) < 10e6


def test_the_two_commands_are_the_promised_ones():
    setup = "python3 -m venv .venv && .venv/bin/pip install -q -r requirements.txt && .venv/bin/"

    assert f"{setup}papermill notebooks/imp.ipynb -p fraction 0.01\n" in README
    assert f"{setup}python -m pytest -q\n" in README
    assert f"{setup}python -m pytest -q " in (ROOT / ".ci" / "run").read_text()
