"""The sweep of a terminal: which runs it is about, in which order, and what it says."""

import dataclasses
import json
import time

import pytest
from helpers import small
from helpers.small import TINY

from lthnb import __main__
from lthnb.config import DataMissing, ParameterError, UserError
from lthnb.pages import plan, served, study
from lthnb.pages.plan import Wish, jobs
from lthnb.pages.served import Served
from lthnb.runs import sweep
from lthnb.runs.queue import Job, Queue


def wish(*finding, **options):
    return Wish(
        finding=list(finding), **{"dataset": "glyphs", "device": "cpu", "precision": "fp32"} | options
    )


def listed(folder, *words):
    """Run a sweep that only lists, where no images lie but those that need no files."""
    return __main__.main(["sweep", *words, "--list", "--runs", str(folder), "--data-root", str(folder)])


def test_a_gpu_begins_with_the_paper_s_central_rows_and_their_controls():
    on_gpu = Wish(profile="paper", device="cuda", dataset="glyphs", list=True)
    planned = [(line, made[0].seconds) for line, made, _ in plan.in_order(on_gpu)]
    lines = [line for line, _ in planned]
    central = [
        (line.change["fraction"], line.change["augment"], line.change.get("control"), line.paper)
        for line in lines[:8]
    ]

    arms = (None, "random", "shuffled", "reinit")
    assert central[:4] == [(500, "rand+cutout", control, 6) for control in arms]
    assert central[4:] == [(1000, "auto+cutout", control, 6) for control in arms]
    fair = 4 * ["tuning"] + 3 * ["fair_test"] + 2 * ["strong"]
    assert [line.pages.split()[0] for line in lines[8:17]] == fair
    assert all("small" in line.change for line in lines[17:29])
    long = [seconds > 600 for _, seconds in planned]
    assert any(long) and long == sorted(long)


def test_the_other_scales_follow_the_same_order():
    def order(profile):
        return [line for line, _, _ in jobs(wish("capacity_connectivity", profile=profile))]

    paper = order("paper")
    for profile in ("smoke", "demo"):
        assert order(profile) == [line for line in paper if line in order(profile)]


def test_paper_scale_on_a_gpu_demands_the_captured_step():
    on_gpu = {"device": "cuda", "scheduler": "tcp://elsewhere:1"}

    assert wish(profile="paper", **on_gpu).settings.captured
    assert not wish(profile="demo", **on_gpu).settings.captured
    assert not wish(profile="paper").settings.captured


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
    with pytest.raises(
        ParameterError, match=r"finding must be one of .*, got 'low_dat'; did you mean 'low_data'"
    ):
        list(jobs(wish("low_dat", profile="demo")))


def test_a_line_whose_images_are_nowhere_is_left_out_with_the_reason(tmp_path):
    reasons = {}
    anywhere = wish("generalization", profile="paper", dataset="auto", data_root=str(tmp_path))
    for line, made, why_not in jobs(anywhere):
        assert bool(made) != bool(why_not)
        reasons[line.data] = str(why_not)

    assert "cifar-100-python is not under" in reasons["cifar100"]
    assert "eurosat" in reasons["eurosat"]


def test_a_sweep_without_images_is_refused_and_never_made_on_others(tmp_path, capsys):
    assert listed(tmp_path, "low_data", "--profile", "smoke") == 1
    told = capsys.readouterr().err

    assert told.startswith(
        f"DataMissing: cifar10: cifar-10-batches-py is not under {tmp_path}; get it with: "
    )
    assert "--dataset NAME" in told
    assert not list(tmp_path.iterdir())


def test_a_sweep_takes_a_set_by_its_name_or_folder_like_a_page(tmp_path, image_folder, capsys):
    assert listed(tmp_path, "low_data", "--profile", "smoke", "--dataset", "glyphs") == 0
    assert "3 runs at smoke scale are missing" in capsys.readouterr().out
    pets = image_folder({"cat": 30, "dog": 30})
    with pytest.warns(UserWarning, match="500 images asked for, 60 are left"):
        assert listed(tmp_path, "full_width", "--profile", "wide", "--dataset", f"folder:{pets}") == 0
    assert "12 runs at wide scale" in capsys.readouterr().out
    assert listed(tmp_path, "--dataset", "glyps") == 1
    assert "--dataset must be one of auto, glyphs, " in capsys.readouterr().err
    assert listed(tmp_path, "--dataset", "folder:nowhere") == 1
    assert "nowhere was found neither under the data root" in capsys.readouterr().err


def test_images_are_looked_for_once_however_many_lines_need_them(tmp_path, monkeypatch):
    looked = []

    def missing(dataset, root):
        looked.append(dataset)
        raise DataMissing(f"no {dataset}")

    monkeypatch.setattr(served, "remembered_source", missing)
    made = list(jobs(wish(profile="paper", dataset="auto", data_root=str(tmp_path))))

    assert len(made) > 30
    assert sorted(looked) == ["auto", "auto", "cifar100", "eurosat"]


def test_lines_that_are_left_out_are_counted_and_no_success(tmp_path, monkeypatch, capsys):
    job = Job(TINY, "glyphs", small.on_cpu(tmp_path), 1.0)
    lines = [(plan.PLAN[0], [job], None), (plan.PLAN[1], [], DataMissing("no images; get them"))]
    monkeypatch.setattr(plan, "jobs", lambda _: lines)
    monkeypatch.setattr(plan, "carry_out", lambda queue, *_: iter(()))
    monkeypatch.setattr(plan, "measure_pages", lambda *_: None)

    assert __main__.main(["sweep", "--runs", str(tmp_path)]) == 1
    assert "1 lines of the plan left out" in capsys.readouterr().out


def test_runs_on_record_in_another_precision_are_told(tmp_path, glyphs, capsys, monkeypatch):
    small.make(TINY, glyphs, tmp_path)
    job = Job(TINY, "glyphs", small.on_cpu(tmp_path), 1.0)
    monkeypatch.setattr(plan, "jobs", lambda _: [(plan.PLAN[0], [job], None)])

    assert listed(tmp_path, "imp", "--precision", "bf16") == 0
    assert f"in another precision, and not made again: {TINY.key} (fp32)" in capsys.readouterr().out
    assert listed(tmp_path, "imp", "--precision", "fp32") == 0
    assert "NOTE" not in capsys.readouterr().out


def test_measures_that_a_cluster_leaves_to_their_page_are_told(capsys):
    plan.measure_pages(wish("layers", profile="smoke", scheduler="tcp://elsewhere:1"), Queue([]))

    assert capsys.readouterr().out == "layers is not measured here; its page does it with -p train True\n"


def test_no_measure_is_begun_after_the_time(tmp_path, glyphs, capsys, monkeypatch):
    sized = TINY.replace(images=500, augment="rand+cutout")
    small.make(sized, glyphs, tmp_path)
    images = {"glyphs": Served(glyphs, "glyphs")}
    found = study.Study((sized,), "smoke", {"any": glyphs.info}, wish(), images)
    monkeypatch.setattr(study, "to_train", lambda *_: dataclasses.replace(found, page=_[2]))
    late = wish("layers", profile="smoke", runs=str(tmp_path), minutes=1.0)
    before = len(list(tmp_path.glob("*.layers.json")))

    plan.measure_pages(late, Queue([], 1.0, began=time.monotonic() - 61))
    assert len(list(tmp_path.glob("*.layers.json"))) == before
    assert f"layers of {sized.slug} left out: the time is over" in capsys.readouterr().out
    plan.measure_pages(late, Queue([], 1.0))
    assert len(list(tmp_path.glob("*.layers.json"))) == before + 1
    assert f"layers of {sized.slug} is measured" in capsys.readouterr().out
    plan.measure_pages(late, Queue([], 1.0, began=time.monotonic() - 61))
    assert capsys.readouterr().out == ""
    path = tmp_path / f"{sized.key}.layers.json"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"layers", b"sreyal"))
    plan.measure_pages(late, Queue([], 1.0))
    assert f"NOTE {path.name} is damaged: " in capsys.readouterr().out
    assert path.read_bytes() == whole


def test_a_finding_that_has_no_runs_at_a_scale_is_refused(tmp_path, capsys):
    assert listed(tmp_path, "full_width", "--profile", "smoke", "--dataset", "glyphs") == 1
    assert "the plan has no runs of full_width at smoke scale" in capsys.readouterr().err


def test_at_most_so_many_seeds_are_made_of_each_line():
    assert {len(made) for _, made, _ in jobs(wish("low_data", profile="paper", seeds=1))} == {1}


def test_a_control_whose_ticket_failed_is_told_as_such_and_not_called_too_long(tmp_path, monkeypatch, capsys):
    settings = small.on_cpu(tmp_path)
    wanted = [Job(config, "glyphs", settings, 1.0) for config in (TINY, TINY.replace(control="random"))]

    def spoilt(one):
        raise UserError("diverged")
        yield

    monkeypatch.setattr(plan, "jobs", lambda _: [(plan.PLAN[0], wanted, None)])
    monkeypatch.setattr(plan, "carry_out", lambda queue, *_: sweep.one_by_one(queue, spoilt))
    monkeypatch.setattr(plan, "measure_pages", lambda *_: None)

    assert __main__.main(["sweep", "imp", "--runs", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert f"FAILED {wanted[0].config.slug}: UserError: diverged" in said
    assert f"FAILED {wanted[1].config.slug}: MissingRun: it needs {TINY.slug}, which failed" in said
    assert "0 runs made, 0 too long for the time, 2 failed" in said


def test_the_list_shows_seconds_and_makes_nothing(tmp_path, capsys):
    assert listed(tmp_path, "low_data", "--profile", "smoke", "--dataset", "glyphs") == 0
    said = capsys.readouterr().out
    assert "0 of 1 on record" in said and "3 runs at smoke scale are missing" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--workers", "-1"], "--workers must be a whole number from 0"),
        (["--seeds", "-2"], "--seeds must be a whole number from 1"),
        (["--minutes", "-3"], "--minutes must be a number above 0 and below 1e+07, got -3"),
        (["--data-root", "no/such"], "--data-root must be a folder that is there, or empty, got 'no/such'"),
        (["--precision", "fp16"], "--precision must be one of auto, bf16, fp32, got 'fp16'"),
        (["--minutes", "nan"], "--minutes must be a number above 0 and below 1e+07, got nan"),
        (["--profile", "tiny"], "--profile must be one of auto, smoke, demo, wide, paper, got 'tiny'"),
    ],
)
def test_impossible_options_are_one_sentence(words, told, tmp_path, capsys):
    assert __main__.main(["sweep", "low_data", "--runs", str(tmp_path), *words]) == 1
    assert told in capsys.readouterr().err


def test_a_sweep_measures_robustness_of_runs_whose_weights_are_gone(tmp_path, glyphs, capsys, monkeypatch):
    tiny = TINY.replace(images=40, rounds=0)
    small.make(tiny, glyphs, tmp_path)
    for path in (tmp_path / tiny.key).glob("round-*"):
        path.unlink()
    images = {"glyphs": Served(glyphs, "glyphs")}
    found = study.Study((tiny,), "smoke", {"any": glyphs.info}, wish(train=True), images)
    monkeypatch.setattr(study, "to_train", lambda *_: dataclasses.replace(found, page=_[2]))

    plan.measure_pages(wish("robustness", profile="smoke", runs=str(tmp_path), device="cpu"), Queue([]))
    assert f"robustness of {tiny.slug} is measured" in capsys.readouterr().out
    assert (tmp_path / f"{tiny.key}.robustness.json").exists()
