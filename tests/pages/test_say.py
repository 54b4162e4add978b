"""Sentences and tables in their two renderings."""

import dataclasses
import math

import pandas as pd
import pytest
from helpers.made_up import record
from IPython.core.interactiveshell import InteractiveShell

from lthnb.pages import say


@pytest.fixture
def shown(monkeypatch):
    """What is handed to IPython."""
    versions = []
    monkeypatch.setattr(InteractiveShell, "initialized", classmethod(lambda cls: True))
    monkeypatch.setattr(say, "display", lambda bundle, raw: versions.append(bundle))
    return versions


def test_a_sentence_is_markdown_and_plain_text(shown):
    say.say("The gain is **{gain:+.1f}** points\non [two](low_data.ipynb) sets, `p` *small*.", {"gain": 1.26})

    assert shown == [
        {
            "text/markdown": "The gain is **+1.3** points on [two](low_data.ipynb) sets, `p` *small*.",
            "text/plain": "The gain is +1.3 points on two sets, p small.",
        }
    ]


def test_paragraphs_stay_apart_and_plain_lines_are_short(shown):
    say.say("word " * 40 + "\n\nsecond", {})

    assert shown[0]["text/markdown"].endswith("word\n\nsecond")
    assert max(map(len, shown[0]["text/plain"].splitlines())) <= 100


def test_a_box_is_a_quotation_that_begins_with_its_name(shown):
    say.say("One.\n\nTwo {n}.", {"n": 3}, box=True)

    assert shown[0]["text/markdown"] == "> **In one sentence.** One.\n> \n> Two 3."
    assert shown[0]["text/plain"] == "In one sentence. One.\n\nTwo 3."


def test_a_name_that_is_no_number_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"'gian', no number of this page; did you mean 'gain'"):
        say.say("{gian:.1f}", {"gain": 1.0})


def test_a_number_that_is_not_defined_is_a_dash(shown):
    say.say("{low:+.1f} to {high:.1f}", {"low": math.nan, "high": 2.0})

    assert shown[0]["text/plain"] == "- to 2.0"


def test_products_and_underscores_are_left_alone(shown):
    say.say("16 x 16 * 3 of {name}", {"name": "cifar10_exact"})

    assert shown[0]["text/plain"] == "16 x 16 * 3 of cifar10_exact"


def test_a_table_is_html_and_aligned_text_without_its_index(shown):
    say.table(pd.DataFrame({"round": [0, 10], "test (%)": ["30.0 ± 1.0", "-"]}))

    assert shown[0]["text/plain"].splitlines() == [
        " round   test (%)",
        "     0 30.0 ± 1.0",
        "    10          -",
    ]
    assert shown[0]["text/html"].count("<tr") == 3
    assert "<th></th>" not in shown[0]["text/html"]


def test_outside_of_ipython_the_plain_text_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(InteractiveShell, "initialized", classmethod(lambda cls: False))
    say.say("**{n}** runs", {"n": 3})

    assert capsys.readouterr().out == "3 runs\n"


RUNS = [record([0.3, 0.4], seed=seed) for seed in range(2)]


def test_provenance_is_one_line():
    late = dataclasses.replace(RUNS[1], made={**RUNS[1].made, "date": "2026-01-03", "seconds": 7200.0})

    assert say.provenance([RUNS[0], late]) == (
        "2 runs, 2 Jan 2026 - 3 Jan 2026, 2 h of computing, 1 machine (cpu fp32 torch 2), data glyphs"
    )


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ("2026-01-02", "1 run, 2 Jan 2026"),
        ("2026-02-01", "2 runs, 2 Jan 2026 - 1 Feb 2026"),
        ("2027-01-02", "2 runs, 2 Jan 2026 - 2 Jan 2027"),
    ],
)
def test_provenance_names_both_days(last, said):
    late = dataclasses.replace(RUNS[1], made={**RUNS[1].made, "date": last})
    runs = [RUNS[0], late] if "runs" in said else [late]

    assert say.provenance(runs).startswith(said + ", 0 min of computing, 1 machine")
