"""The sweep of a terminal: which runs it is about, in which order, and what it says."""

import json

import pytest
from helpers import small
from helpers.small import TINY

from lthnb import __main__
from lthnb.config import ParameterError, UserError
from lthnb.pages import plan
from lthnb.pages.plan import Wish, jobs
from lthnb.runs import sweep
from lthnb.runs.queue import Job


def wish(*finding, **options):
    return Wish(
        finding=list(finding), **{"data_root": "nowhere", "device": "cpu", "precision": "fp32"} | options
    )


def test_the_plan_begins_with_the_paper_s_central_rows():
    lines = [line for line, _, _ in jobs(wish(profile="paper"))]

    assert [(line.change["fraction"], line.change["augment"], line.paper) for line in lines[:2]] == [
        (500, "rand+cutout", 6), (1000, "auto+cutout", 6),
    ]  # fmt: skip
    assert lines[2].change == {"fraction": 1, "rounds": 0}
    assert len([line for line in lines if "small" in line.change]) == 12
    assert {line.change.get("control") for line in lines} == {None, "random", "shuffled", "reinit"}


def test_small_dense_networks_and_controls_stand_beside_their_tickets():
    planned = jobs(wish("capacity_connectivity", profile="paper"))
    configs = {json.dumps(line.change): made[0].config for line, made, _ in planned}
    ticket = configs['{"fraction": 500, "augment": "rand+cutout"}']
    small_dense = configs['{"fraction": 500, "augment": "rand+cutout", "small": 5}']
    control = configs['{"fraction": 500, "augment": "rand+cutout", "control": "shuffled"}']

    assert control.requires == ticket and control.prune.every == 3
    assert small_dense.network.widths == "12-24-48-96" and small_dense.prune.rounds == 0
    assert small_dense.train == ticket.train and small_dense.data == ticket.data


def test_an_unknown_finding_is_an_error_with_the_nearest_name():
    with pytest.raises(ParameterError, match="'low_dat' is no finding of the plan; did you mean 'low_data'"):
        list(jobs(wish("low_dat", profile="demo")))


def test_a_line_whose_images_are_nowhere_is_left_out_with_the_reason(tmp_path):
    reasons = {}
    for line, made, why_not in jobs(wish("generalization", profile="paper", data_root=str(tmp_path))):
        assert bool(made) != bool(why_not)
        reasons[line.data] = why_not

    assert "cifar-100-python is not under" in reasons["cifar100"]
    assert "eurosat" in reasons["eurosat"]


def test_at_most_so_many_seeds_are_made_of_each_line():
    assert {len(made) for _, made, _ in jobs(wish("low_data", profile="paper", seeds=1))} == {1}


def test_a_control_whose_ticket_failed_is_told_as_such_and_not_called_too_long(tmp_path, monkeypatch, capsys):
    settings = small.on_cpu(tmp_path)
    wanted = [Job(config, "glyphs", settings, 1.0) for config in (TINY, TINY.replace(control="random"))]

    def spoilt(one):
        raise UserError("diverged")
        yield

    monkeypatch.setattr(plan, "jobs", lambda _: [(plan.PLAN[0], wanted, "")])
    monkeypatch.setattr(plan, "carry_out", lambda queue, *_: sweep.one_by_one(queue, spoilt))
    monkeypatch.setattr(plan, "measure_pages", lambda _: None)

    assert __main__.main(["sweep", "imp", "--runs", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert f"FAILED {wanted[0].config.slug}: UserError: diverged" in said
    assert f"FAILED {wanted[1].config.slug}: MissingRun: it needs {TINY.slug}, which failed" in said
    assert "0 runs made, 0 too long for the time, 2 failed" in said


def test_the_list_shows_seconds_and_makes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LTHNB_DATA", str(tmp_path / "none"))
    words = ["sweep", "low_data", "--profile", "smoke", "--list", "--runs", str(tmp_path)]

    assert __main__.main(words) == 0
    said = capsys.readouterr().out
    assert "0 of 1 on record" in said and "3 runs at smoke scale are missing" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--workers", "-1"], "--workers must be a whole number from 0"),
        (["--seeds", "-2"], "--seeds must be a whole number from 0"),
        (["--minutes", "nan"], "--minutes must be above 0, got nan"),
        (["--profile", "tiny"], "profile must be one of auto, smoke, demo, paper, got 'tiny'"),
    ],
)
def test_impossible_options_are_one_sentence(words, told, tmp_path, capsys):
    assert __main__.main(["sweep", "low_data", "--runs", str(tmp_path), *words]) == 1
    assert told in capsys.readouterr().err
