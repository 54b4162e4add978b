"""Many runs: one by one or on Dask, and what a worker that dies costs: no other run, and no bit."""

import dataclasses
import os
import re
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from distributed import LocalCluster
from helpers import faults, small
from helpers.small import TINY

from lthnb.config import ParameterError, UserError
from lthnb.images.dataset import DataError
from lthnb.runs import files, record, sweep
from lthnb.runs.machine import DeviceLost, NotCaptured
from lthnb.runs.queue import Job, Queue, missing
from lthnb.runs.sweep import one_by_one
from lthnb.runs.ticket import ticket_path
from lthnb.training.imp import epochs

PARENT = TINY
CONTROL = PARENT.replace(control="random")


def job(config, runs="nowhere", seconds=1.0):
    return Job(config, "glyphs", small.on_cpu(runs), seconds)


def seeds(number, runs="nowhere"):
    return [job(PARENT.replace(seed=seed), runs) for seed in range(number)]


def ended(news):
    """How each job ended: what happened -> seeds."""
    ends = {}
    for one in news:
        if one.what != "epoch":
            ends.setdefault(one.what, []).append(one.job.config.seed)
    return ends


def done_at_once(job):
    yield epochs(job.config)


def test_jobs_are_made_in_order_and_a_control_after_its_ticket():
    begun = []

    def work(one):
        begun.append(one.config)
        yield 1

    queue = Queue([job(CONTROL), job(PARENT.replace(seed=1)), job(PARENT)])
    news = list(one_by_one(queue, work))

    assert begun == [PARENT.replace(seed=1), PARENT, CONTROL]
    assert [one.what for one in news] == ["epoch", "finished"] * 3
    assert queue.finished == 3


def test_a_run_that_fails_is_told_and_stops_no_other():
    def work(one):
        yield 1
        if one.config.seed == 0:
            raise UserError("diverged")

    queue = Queue([job(PARENT), job(CONTROL), job(PARENT.replace(seed=1))])
    news = [one for one in one_by_one(queue, work) if one.what != "epoch"]

    assert [(one.what, one.job.config) for one in news] == [
        ("failed", PARENT), ("failed", CONTROL), ("finished", PARENT.replace(seed=1)),
    ]  # fmt: skip
    assert news[0].reason == "UserError: diverged"


def test_a_gpu_that_is_lost_stops_the_sweep_after_it_was_told():
    def work(one):
        yield 1
        raise DeviceLost("cuda failed")

    news = []
    with pytest.raises(DeviceLost, match="cuda failed"):
        news.extend(one_by_one(queue := Queue(seeds(2)), work))
    assert [one.config.seed for one in queue.waiting] == [1]
    assert list(queue.failed) == [PARENT.key]


def test_a_cluster_that_stays_without_workers_is_an_error_and_not_a_wait_for_ever():
    def none_comes(number, timeout):
        assert (number, timeout) == (1, sweep.PATIENCE)
        raise TimeoutError

    client = SimpleNamespace(nthreads=dict, wait_for_workers=none_comes)

    with pytest.raises(UserError, match="has had no worker for 60 s; start some and run again"):
        sweep.threads(client, Queue(seeds(1)))
    assert sweep.threads(client, Queue([])) == 0


def test_an_interruption_stops_everything():
    def work(one):
        yield 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(one_by_one(Queue(seeds(2)), work))


def test_what_is_too_long_is_left_waiting_at_the_end():
    queue = Queue([job(PARENT, seconds=100), job(CONTROL)], minutes=0.5)

    assert list(one_by_one(queue, done_at_once)) == []
    assert [one.config for one in queue.waiting] == [PARENT, CONTROL]


def test_a_run_from_python_is_three_lines_and_makes_what_it_requires(tmp_path):
    made = sweep.run(CONTROL, settings=small.on_cpu(tmp_path))

    assert made == record.load(CONTROL, str(tmp_path))
    assert {path.stem for path in tmp_path.glob("*.json")} == {CONTROL.key, PARENT.key}
    assert sweep.run(CONTROL, "glyphs", small.on_cpu(tmp_path)) == made


def test_a_run_from_python_that_fails_raises_why(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(UserError, match="pass another folder as runs"):
        sweep.run(PARENT, settings=small.on_cpu(tmp_path / "file"))


def deadly(one):
    """Kills its worker: seed 0 whenever it is begun, seed 1 once, in its middle."""
    marker = Path(one.settings.runs) / "died"
    for done in sweep.work(one):
        if one.config.seed == 0 or (one.config.seed == 1 and not marker.exists()):
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield done


def test_a_run_that_kills_its_worker_takes_no_other_with_it_and_is_given_up(tmp_path):
    queue = Queue(seeds(5, tmp_path))
    with sweep.local_cluster(2) as client:
        news = list(sweep.on_dask(queue, client, deadly))

    ends = ended(news)
    assert ends["failed"] == [0]
    assert sorted(ends["finished"]) == [1, 2, 3, 4]
    (reason,) = (one.reason for one in news if one.what == "failed")
    assert "KilledWorker" in reason and str(sweep.DEATHS + 1) in reason
    assert len(list(tmp_path.glob("*.json"))) == 4


def test_a_cluster_elsewhere_makes_all_runs_though_a_worker_is_killed(tmp_path):
    jobs = seeds(10, tmp_path / "dask")
    alone = seeds(10, tmp_path / "alone")
    assert len(ended(one_by_one(Queue(alone)))["finished"]) == 10
    settings = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    killed = False
    ends = []
    told = set()
    with LocalCluster(**settings) as cluster:
        for one in sweep.carry_out(Queue(jobs), scheduler=cluster.scheduler_address):
            told.add(one.what)
            ends += [one.job.config.seed] if one.what == "finished" else []
            if len(ends) >= 2 and not killed:
                os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
                killed = True

    assert sorted(ends) == list(range(10))
    assert told <= {"epoch", "finished"} and "epoch" in told
    for one in jobs:
        assert faults.digest(one.config, tmp_path / "dask") == faults.digest(one.config, tmp_path / "alone")


def test_a_run_that_another_process_holds_is_made_after_the_others(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lthnb.runs.queue.AGAIN", 0.2)
    folder = tmp_path / PARENT.key

    def hold():
        with files.lock(folder):
            time.sleep(6)

    holder = faults.forked(hold)
    while not (folder / "holder").exists():
        time.sleep(0.01)
    news = ended(one_by_one(Queue(seeds(2, tmp_path))))

    assert faults.ended(holder) == 0
    assert news == {"finished": [1, 0]}
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("NOTE")]
    assert f"{PARENT.key} is run by process {holder}; wait for it or stop it; it is tried again" in line


def test_a_run_that_is_held_for_all_the_time_there_is_is_late(tmp_path, monkeypatch):
    monkeypatch.setattr("lthnb.runs.queue.AGAIN", 0.2)
    queue = Queue(seeds(1, tmp_path), minutes=0.05)
    with files.lock(tmp_path / PARENT.key):
        assert ended(one_by_one(queue)) == {}
    assert [one.config.seed for one in queue.waiting] == [0]


def busy_once(one):
    """Is held by another process when it is begun first."""
    marker = Path(one.settings.runs) / "held"
    if one.config.seed == 0 and not marker.exists():
        marker.touch()
        raise files.RunBusy("it is run by process 7")
    yield from done_at_once(one)


def lost_once(one):
    """Finds a device that is dead, for this process, when it is begun first."""
    marker = Path(one.settings.runs) / "lost"
    if one.config.seed == 0 and not marker.exists():
        marker.write_text(str(os.getpid()))
        raise DeviceLost("cuda failed")
    if one.config.seed == 0:
        (marker.parent / "begun").write_text(str(os.getpid()))
    yield from done_at_once(one)


def not_captured(one):
    """Fails as a run does whose step is not captured."""
    yield 1
    raise NotCaptured("the step is not captured")


def test_on_dask_held_runs_are_tried_again_and_a_lost_device_ends_its_worker_alone(tmp_path, capfd):
    with sweep.local_cluster(1) as client:
        held = ended(sweep.on_dask(Queue(seeds(2, tmp_path)), client, busy_once))
        lost = ended(sweep.on_dask(Queue(seeds(3, tmp_path)), client, lost_once))
        with pytest.raises(NotCaptured, match="the step is not captured"):
            list(sweep.on_dask(queue := Queue(seeds(3, tmp_path)), client, not_captured))

    assert held == {"finished": [1, 0]}
    assert sorted(lost["finished"]) == [0, 1, 2] and "failed" not in lost
    assert (tmp_path / "lost").read_text() != (tmp_path / "begun").read_text()
    assert list(queue.failed) == [PARENT.key] and queue.finished == 0
    told = capfd.readouterr()
    assert "it is run by process 7; it is tried again until it is free" in told.out
    assert "NOTE cuda failed; this worker ends" in told.err


def test_a_step_that_is_not_captured_stops_the_whole_queue(tmp_path):
    queue = Queue(seeds(3, tmp_path))

    with pytest.raises(NotCaptured, match="the step is not captured"):
        list(one_by_one(queue, not_captured))
    assert list(queue.failed) == [PARENT.key] and len(queue.waiting) == 2


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"half")], ids=["gone", "half"])
def test_a_ticket_that_is_lost_before_its_control_needs_it_is_made_again(
    glyphs, tmp_path, monkeypatch, capsys, spoil
):
    control = PARENT.replace(control="reinit")
    alone = small.make(control, glyphs, tmp_path / "alone")
    small.make(PARENT, glyphs, tmp_path)
    before = (tmp_path / f"{PARENT.key}.json").read_bytes()
    jobs = missing([job(control, tmp_path)])
    spoil(ticket_path(tmp_path / PARENT.key, 1))

    assert ended(one_by_one(Queue(jobs))) == {"finished": [0]}
    said = capsys.readouterr().out
    assert f"NOTE a ticket of {PARENT.key} is missing or damaged: " in said
    assert f"the tickets of {PARENT.slug} are made again" in said
    assert (tmp_path / f"{PARENT.key}.json").read_bytes() == before
    made = record.load(control, str(tmp_path))
    assert [row["correct"] for row in made.rounds] == [row["correct"] for row in alone.rounds]


@pytest.fixture
def lost_tickets(glyphs, tmp_path):
    """A run in fp32 whose tickets are gone, and the job of a control that needs them, in bf16."""
    small.make(PARENT, glyphs, tmp_path)
    for path in (tmp_path / PARENT.key).glob("round-*"):
        path.unlink()
    return Job(PARENT.replace(control="reinit"), "glyphs", small.on_cpu(tmp_path, "bf16"))


def test_tickets_that_come_out_otherwise_than_on_record_are_refused(lost_tickets, tmp_path):
    before = (tmp_path / f"{PARENT.key}.json").read_bytes()
    failed = [one for one in one_by_one(Queue(missing([lost_tickets]))) if one.what == "failed"]

    assert re.match(
        rf"TicketError: made again in bf16 on .*, {PARENT.key}.json has other tickets than those on record, "
        r"fp32 on .*; make them there, or remove",
        failed[0].reason,
    )
    assert len(failed) == 2
    assert (tmp_path / f"{PARENT.key}.json").read_bytes() == before
    assert not list((tmp_path / PARENT.key).glob("round-*"))


def test_tickets_of_a_published_run_that_come_out_otherwise_get_a_record_of_their_own(
    lost_tickets, tmp_path, monkeypatch, capsys
):
    published = tmp_path / "published"
    published.mkdir()
    (tmp_path / f"{PARENT.key}.json").rename(published / f"{PARENT.key}.json")
    monkeypatch.setattr(record, "folders", lambda runs="": [Path(runs)] if runs else [published])

    assert set(ended(one_by_one(Queue(missing([lost_tickets]))))) == {"finished"}
    assert "what was made here has a record of its own" in capsys.readouterr().out
    own = record.load(PARENT, str(tmp_path))
    control = record.load(lost_tickets.config, str(tmp_path))
    assert own.made["precision"] == "bf16"
    assert control.rounds[0]["kept"] == own.rounds[1]["kept"]


def test_a_run_on_record_is_not_taken_for_one_on_other_images(glyphs, tmp_path, monkeypatch):
    settings = small.on_cpu(tmp_path)
    assert sweep.run(TINY, "glyphs", settings) == record.load(TINY, str(tmp_path))
    other = dataclasses.replace(glyphs, info=dataclasses.replace(glyphs.info, sha256="0" * 64))
    monkeypatch.setattr(sweep, "remembered_source", lambda *_: other)

    with pytest.raises(DataError, match="another version of glyphs"):
        sweep.run(TINY, "glyphs", settings)


@pytest.mark.parametrize(
    "address",
    [
        "nonsense",
        "tcp://",
        "host:1:2",
        "://x:1",
        "tcp://user@:8786",
        "127.0.0.1",
        "[::1",
        "x y:1",
        "x:123456",
    ],
)
def test_what_is_no_address_is_refused_at_once(address):
    words = r"--scheduler must be an address such as tcp://HOST:8786, got "
    with pytest.raises(ParameterError, match=words + re.escape(repr(address))), sweep.cluster_at(address):
        pass


@pytest.mark.parametrize("address", ["nope://127.0.0.1:9", "tcp://127.0.0.1:99999"])
def test_an_address_that_leads_nowhere_is_one_sentence(address):
    with (
        pytest.raises(UserError, match=f"no Dask scheduler answers at {address}: "),
        sweep.cluster_at(address),
    ):
        pass


def test_no_scheduler_is_one_sentence():
    with (
        pytest.raises(UserError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"),
        sweep.cluster_at("tcp://127.0.0.1:9"),
    ):
        pass


def used(monkeypatch):
    """Which engine is taken, in place of making runs."""
    taken = []

    @contextmanager
    def cluster(workers):
        taken.append(workers)
        yield None

    monkeypatch.setattr(sweep, "local_cluster", cluster)
    monkeypatch.setattr(sweep, "on_dask", lambda queue, client: iter(()))
    monkeypatch.setattr(sweep, "one_by_one", lambda queue: taken.append("one by one") or iter(()))
    return taken


def test_dask_is_taken_for_several_runs_on_several_workers_where_it_is_installed(monkeypatch):
    taken = used(monkeypatch)
    list(sweep.carry_out(Queue(seeds(3)), workers=8))
    list(sweep.carry_out(Queue(seeds(3)), workers=2))
    list(sweep.carry_out(Queue(seeds(3)), workers=1))
    list(sweep.carry_out(Queue(seeds(1)), workers=2))
    monkeypatch.setattr(sweep, "find_spec", lambda name: None)
    list(sweep.carry_out(Queue(seeds(3)), workers=2))

    assert taken == [3, 2, "one by one", "one by one", "one by one"]


@pytest.mark.parametrize(
    ("gpus", "name", "visible"),
    [
        ("", 1, "before"),
        ("3", 1, "before"),
        ("0,1", 0, "0"),
        ("0,1", 1, "1"),
        ("0,1", 2, "0"),
        ("4,7", 3, "7"),
    ],
)
def test_workers_take_the_gpus_of_this_machine_in_turn(monkeypatch, gpus, name, visible):
    events = []
    worker = SimpleNamespace(name=name, log_event=lambda topic, event: events.append((topic, event)))
    monkeypatch.setattr("distributed.get_worker", lambda: worker)
    monkeypatch.setenv("LTHNB_GPUS", gpus)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "before")
    one = job(PARENT)
    seconds = sweep.work_there(done_at_once, one)

    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible
    assert events == [(sweep.EPOCHS, (one.key, epochs(PARENT)))]
    assert 0 <= seconds < 60


@pytest.mark.parametrize(
    ("given", "present", "gpus"), [(None, 0, ""), (None, 2, "0,1"), ("3,5", 8, "3,5"), ("", 0, "")]
)
def test_a_local_cluster_tells_its_workers_which_gpus_there_are(monkeypatch, given, present, gpus):
    made = {}

    @contextmanager
    def cluster(**options):
        made.update(options)
        yield None

    @contextmanager
    def client(_):
        yield "client"

    monkeypatch.setattr("distributed.LocalCluster", cluster)
    monkeypatch.setattr("distributed.Client", client)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: present)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    with sweep.local_cluster(3) as one:
        assert one == "client"

    assert made["env"] == {"OMP_NUM_THREADS": "1", "LTHNB_GPUS": gpus}
    assert (made["n_workers"], made["threads_per_worker"], made["processes"]) == (3, 1, True)


def test_a_job_that_is_missing_is_made_once_by_whoever_is_first(glyphs, tmp_path):
    """Two sweeps that begin together: the second finds the record, and no run is made twice."""
    first = missing(seeds(2, tmp_path))
    second = missing(seeds(2, tmp_path))
    began = time.time()
    assert ended(one_by_one(Queue(first))) == {"finished": [0, 1]}
    before = {path: path.stat().st_mtime for path in tmp_path.glob("*.json")}
    assert ended(one_by_one(Queue(second))) == {"finished": [0, 1]}

    assert {path: path.stat().st_mtime for path in tmp_path.glob("*.json")} == before
    assert all(made >= began - 1 for made in before.values())
