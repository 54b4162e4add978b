"""Many runs: their order, what is begun in the time there is, what a dead worker or a stopped sweep costs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import faults

from lthnb import __main__
from lthnb.config import ROOT, ParameterError, UserError
from lthnb.runs import record, sweep
from lthnb.runs import ticket as tickets
from lthnb.runs.sweep import Sweep, Task

PARENT = faults.TINY
CONTROL = PARENT.replace(control="random")


def task(config, runs="", seconds=1.0):
    return Task(config, "glyphs", "", str(runs), "cpu", "fp32", seconds)


def options(**given):
    base = {"data_root": "nowhere", "runs": "", "device": "cpu", "precision": "fp32", "seeds": 0}
    base |= {"scheduler": ""}
    return SimpleNamespace(**base | given)


def on_threads():
    return ThreadPoolExecutor(1)


def swept(tasks, **settings):
    job = Sweep(tasks, settings.pop("pool", on_threads), settings.pop("workers", lambda: 1), **settings)
    job.run()
    return job


def rounds(config, runs):
    found = record.load(config, str(runs)).rounds
    return [(row["round"], row["kept"], row["correct"], row["curve"]) for row in found]


def test_the_plan_begins_with_the_paper_s_central_rows():
    cells = [cell for cell, tasks in sweep.queue([], "paper", options())]

    assert [(cell.change["fraction"], cell.change["augment"], cell.paper) for cell in cells[:2]] == [
        (500, "rand+cutout", 6), (1000, "auto+cutout", 6),
    ]  # fmt: skip
    assert cells[2].change == {"fraction": 1, "rounds": 0}
    assert len([cell for cell in cells if "small" in cell.change]) == 12
    assert {cell.change.get("control") for cell in cells} == {None, "random", "shuffled", "reinit"}


def test_small_dense_networks_and_controls_stand_beside_their_tickets():
    found = {
        json.dumps(cell.change): tasks[0].config
        for cell, tasks in sweep.queue(["capacity_connectivity"], "paper", options())
    }
    ticket = found['{"fraction": 500, "augment": "rand+cutout"}']
    small = found['{"fraction": 500, "augment": "rand+cutout", "small": 5}']
    control = found['{"fraction": 500, "augment": "rand+cutout", "control": "shuffled"}']

    assert control.parent == ticket and control.prune.every == 3
    assert small.network.widths == "12-24-48-96" and small.prune.rounds == 0
    assert small.train == ticket.train and small.data == ticket.data


def test_an_unknown_finding_is_an_error_with_the_nearest_name():
    with pytest.raises(ParameterError, match="'low_dat' is no finding of the plan; did you mean 'low_data'"):
        list(sweep.queue(["low_dat"], "demo", options()))


def test_a_cell_whose_images_are_nowhere_is_left_out_with_the_reason(tmp_path):
    root = options(data_root=str(tmp_path))
    found = {cell.data: tasks for cell, tasks in sweep.queue(["generalization"], "paper", root)}

    assert "cifar-100-python is not under" in found["cifar100"]
    assert "eurosat" in found["eurosat"]


def test_runs_are_made_in_order_and_a_control_waits_for_its_ticket():
    order = []
    tasks = [task(CONTROL), task(PARENT.replace(seed=1)), task(PARENT)]
    job = swept(tasks, work=lambda one: order.append(one.config) or 1.0)

    assert order == [PARENT.replace(seed=1), PARENT, CONTROL]
    assert len(job.finished) == 3


def test_nothing_is_begun_that_would_end_too_late():
    tasks = [task(PARENT, seconds=100), task(PARENT.replace(seed=1)), task(PARENT.replace(seed=2))]
    job = swept(tasks, minutes=0.5, work=lambda one: 1.0)

    assert [one.config.seed for one in job.waiting] == [0]
    assert [one.config.seed for one in job.finished] == [1, 2]


def test_a_control_is_not_begun_when_its_ticket_is_too_long_or_failed():
    late = swept([task(PARENT, seconds=100), task(CONTROL)], minutes=0.5, work=lambda one: 1.0)
    assert len(late.waiting) == 2 and not late.finished

    def work(one):
        raise UserError("diverged")

    failed = swept([task(PARENT), task(CONTROL)], work=work)
    assert list(failed.failed) == [PARENT.key] and [one.config for one in failed.waiting] == [CONTROL]


def test_a_long_run_waits_until_it_is_known_that_there_is_time():
    tasks = [task(PARENT.replace(seed=seed), seconds=seconds) for seed, seconds in enumerate((1, 40, 10))]
    job = swept(tasks, minutes=1, work=lambda one: 2.0 if one.config.seed == 0 else 1.0)

    assert [one.config.seed for one in job.finished] == [0, 2, 1]  # 80 s by the first run, then less


def test_a_run_that_kills_its_worker_takes_no_other_with_it(tmp_path):
    tasks = [task(PARENT.replace(seed=seed), tmp_path) for seed in range(3)]
    job = swept(tasks, pool=sweep.local(2), workers=lambda: 2, work=poisonous)

    assert {one.config.seed for one in job.finished} == {1, 2}
    assert list(job.failed) == [PARENT.key]


def poisonous(one):
    if one.config.seed == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return sweep.work(one)


def test_guesses_are_set_right_by_the_runs_that_ended():
    tasks = [task(PARENT.replace(seed=seed), seconds=10) for seed in range(3)]
    job = swept(tasks, minutes=1, work=lambda one: 50.0)  # five times slower than guessed

    assert job.pace == 5
    assert len(job.finished) == 3  # fifty seconds were left each time, by the clock


def test_a_control_whose_ticket_failed_is_not_called_too_long(tmp_path, monkeypatch, capsys):
    def spoilt(*_, **__):
        raise UserError("diverged")

    monkeypatch.setattr(sweep, "queue", lambda *_: [(sweep.PLAN[0], [task(PARENT), task(CONTROL)])])
    monkeypatch.setattr(sweep, "local", lambda *_: on_threads)
    monkeypatch.setattr(
        Sweep.__init__, "__defaults__", (float("inf"), spoilt, *Sweep.__init__.__defaults__[2:])
    )

    assert __main__.main(["sweep", "imp", "--runs", str(tmp_path)]) == 1
    said = "0 runs made, 0 too long for the time, 1 failed, 1 wait for the ticket of a run that failed"
    assert said in capsys.readouterr().out


def test_a_run_that_fails_is_told_and_stops_no_other(capsys):
    def work(one):
        if one.config.seed == 0:
            raise UserError("diverged")
        return 1.0

    job = swept([task(PARENT), task(PARENT.replace(seed=1))], work=work)

    assert len(job.finished) == 1
    assert list(job.failed.values()) == ["UserError: diverged"]
    assert "FAILED glyphs" in capsys.readouterr().out


def fragile(one):
    """Dies once, in the middle of the second run."""
    marker = Path(one.runs) / "died"
    if one.config.seed == 1 and not marker.exists():
        marker.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return sweep.work(one)


def hopeless(one):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_costs_no_run(tmp_path):
    tasks = [task(PARENT.replace(seed=seed), tmp_path) for seed in range(3)]
    job = swept(tasks, pool=sweep.local(1), work=fragile)

    assert {one.config.seed for one in job.finished} == {0, 1, 2}
    assert len(list(tmp_path.glob("*.json"))) == 3


def test_a_run_that_kills_every_worker_is_given_up(tmp_path, capsys):
    job = swept([task(PARENT, tmp_path)], pool=sweep.local(1), work=hopeless)

    assert list(job.failed.values()) == ["its worker died 3 times"]


class Refusing(ThreadPoolExecutor):
    """A pool whose worker died a moment ago: it takes no task, and says so at once."""

    def submit(self, *args, **kwargs):
        raise BrokenProcessPool("a child process terminated abruptly")


def test_a_pool_that_refuses_a_task_is_made_anew_and_the_task_is_begun_again():
    pools = iter([Refusing(1), Refusing(1), on_threads()])
    job = swept([task(PARENT)], pool=lambda: next(pools), work=lambda one: 1.0)

    assert [one.config for one in job.finished] == [PARENT] and not job.failed


def test_workers_get_one_gpu_each(monkeypatch):
    class Names:
        get = staticmethod(lambda: "3")

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    sweep._begin(None)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    sweep._begin(Names)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"


def test_more_workers_than_gpus_take_them_in_turn(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with sweep.local(3, 2)() as pool:
        names = pool._initargs[0]

        assert [names.get(timeout=10) for _ in range(3)] == ["0", "1", "0"]


COMMAND = [sys.executable, "-m", "lthnb", "sweep", "low_data", "--profile", "smoke", "--workers", "1"]


def test_a_sweep_is_killed_moved_and_goes_on_with_the_same_bits(tmp_path):
    environment = os.environ | {"LTHNB_CHECKPOINT_SECONDS": "0", "LTHNB_DATA": str(tmp_path / "none")}
    straight, first, second = (tmp_path / name for name in ("straight", "first", "second"))
    settings = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True}
    ended = subprocess.run([*COMMAND, "--runs", str(straight)], **settings, timeout=120, check=True)
    assert "3 runs made, 0 too long for the time, 0 failed" in ended.stdout

    with subprocess.Popen([*COMMAND, "--runs", str(first)], cwd=ROOT, env=environment, start_new_session=True,
                          stdout=subprocess.DEVNULL) as process:  # fmt: skip
        until = time.monotonic() + 60
        while not (list(first.glob("*.json")) and list(first.glob("*/checkpoint-*"))):
            assert time.monotonic() < until, "no run was seen in its middle"
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    assert 1 <= len(list(first.glob("*.json"))) < 3
    shutil.copytree(first, second)
    ended = subprocess.run([*COMMAND, "--runs", str(second)], **settings, timeout=120, check=True)

    assert "runs made, 0 too long" in ended.stdout
    made = {path.stem: record.read(path) for path in straight.glob("*.json")}
    again = {path.stem: record.read(path) for path in second.glob("*.json")}
    assert made.keys() == again.keys() and len(made) == 3
    for key, one in made.items():
        assert [row["curve"] for row in again[key].rounds] == [row["curve"] for row in one.rounds]
    listed = subprocess.run([*COMMAND, "--runs", str(second)], **settings, timeout=60, check=True).stdout
    assert listed.startswith("0 runs at smoke scale are missing")


def test_dask_makes_all_runs_though_a_worker_is_killed(tmp_path):
    from distributed import LocalCluster

    tasks = [task(PARENT.replace(seed=seed), tmp_path / "dask") for seed in range(24)]
    alone = [task(one.config, tmp_path / "alone") for one in tasks]
    swept(alone)  # in this process
    settings = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    with (
        LocalCluster(**settings) as cluster,
        sweep.on_dask(cluster.scheduler_address) as (pool, workers),
        ThreadPoolExecutor(1) as beside,
    ):
        assert workers() >= 1
        job = beside.submit(swept, tasks, pool=pool, workers=workers)
        until = time.monotonic() + 60
        while len(list((tmp_path / "dask").glob("*.json"))) < 5 and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
        job = job.result(timeout=120)

    assert len(job.finished) == 24 and not job.failed
    for one in tasks:
        assert rounds(one.config, tmp_path / "dask") == rounds(one.config, tmp_path / "alone")
        for path in (tmp_path / "alone" / one.config.key).glob("round-*"):
            mine, other = (
                tickets.read_packed(tmp_path / name / one.config.key / path.name)[0]
                for name in ("dask", "alone")
            )
            assert mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)


def test_no_scheduler_is_one_sentence():
    with pytest.raises(UserError, match="no Dask scheduler answers at"), sweep.on_dask("tcp://127.0.0.1:9"):
        pass


def test_published_records_are_not_made_again(capsys):
    key = next(path.stem for path in (ROOT / "book" / "runs").glob("*.json"))
    config = record.read(ROOT / "book" / "runs" / f"{key}.json").config

    assert task(config, "somewhere-else").on_record()
    assert not task(PARENT, "somewhere-else").on_record()


def test_the_list_shows_seconds_and_makes_nothing(tmp_path, capsys):
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
