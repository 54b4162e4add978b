"""The README's numbers are those of the records, and its Python runs."""

import re

from lthnb import record, stats
from lthnb.config import ROOT

README = (ROOT / "README.md").read_text()


def test_the_first_table_shows_the_numbers_of_the_records():
    paths = (ROOT / "book" / "runs").glob("*.json")
    runs = sorted((record.read(path) for path in paths), key=lambda made: made.config.seed)
    values = stats.headline(runs, 59.66 - 43.8)
    half = values["gain_high"] - values["gain"]

    assert (
        f"{values['dense']:.1f} → {values['ticket']:.1f} %, {values['gain']:+.1f} ± {half:.1f} points"
        in README
    )
    assert f"{values['seeds']} seeds, demo scale) | {values['verdict']} |" in README


def test_the_python_example_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(code, {})

    assert len(capsys.readouterr().out.splitlines()) == 3


def test_the_two_commands_are_the_promised_ones():
    setup = "python3 -m venv .venv && .venv/bin/pip install -q -r requirements.txt && .venv/bin/"

    assert f"{setup}papermill notebooks/imp.ipynb -p fraction 0.01\n" in README
    assert f"{setup}python -m pytest -q\n" in README
    assert f"{setup}python -m pytest -q\n" in (ROOT / ".ci" / "run").read_text()
