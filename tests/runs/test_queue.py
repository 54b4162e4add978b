"""The queue of runs: their order, what is begun in the time there is, and what a failure takes with it."""

import pytest
from helpers import small
from helpers.small import SMALL, TINY

from lthnb.config import ROOT, UserError
from lthnb.runs import record
from lthnb.runs.files import RunBusy
from lthnb.runs.queue import Job, Queue, missing
from lthnb.runs.record import MissingRun
from lthnb.training.imp import epochs

PARENT = TINY
CONTROL = PARENT.replace(control="random")


def job(config, runs="nowhere", seconds=1.0):
    return Job(config, "glyphs", small.on_cpu(runs), seconds)


def seeds(number, seconds=1.0):
    return [job(PARENT.replace(seed=seed), seconds=seconds) for seed in range(number)]


def left(queue):
    """The runs that were too long for the time."""
    return [one.config for one in queue.waiting]


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    now = [0.0]
    monkeypatch.setattr("lthnb.runs.queue.time.monotonic", lambda: now[0])
    return now


def test_jobs_are_begun_in_order_and_each_once():
    queue = Queue(seeds(3))

    assert [queue.begin().config.seed for _ in range(3)] == [0, 1, 2]
    assert queue.begin() is None
    assert len(queue.running) == 3 and not queue.waiting


def test_a_control_waits_until_its_ticket_is_finished():
    queue = Queue([job(CONTROL), job(PARENT.replace(seed=1)), job(PARENT)])

    assert queue.begin().config == PARENT.replace(seed=1)
    ticket = queue.begin()
    assert ticket.config == PARENT
    assert queue.begin() is None  # the ticket is running
    queue.finish(ticket, 1.0)
    assert queue.begin().config == CONTROL


def test_a_control_whose_ticket_is_on_record_does_not_wait():
    assert Queue([job(CONTROL)]).begin().config == CONTROL


def test_nothing_is_begun_that_would_end_too_late(clock):
    queue = Queue([job(PARENT, seconds=100), *seeds(3)[1:]], minutes=0.5, began=0.0)

    assert [queue.begin().config.seed, queue.begin().config.seed, queue.begin()] == [1, 2, None]
    assert left(queue) == [PARENT]
    clock[0] = 29.5
    assert Queue(seeds(1), minutes=0.5, began=0.0).begin() is None


def test_a_control_is_not_begun_when_its_ticket_is_too_long():
    queue = Queue([job(PARENT, seconds=100), job(CONTROL)], minutes=0.5)

    assert queue.begin() is None
    assert left(queue) == [PARENT, CONTROL]


def test_guesses_are_set_right_by_the_jobs_that_ended(clock):
    queue = Queue(seeds(3, seconds=10.0), minutes=2, began=0.0)
    queue.finish(queue.begin(), 50.0)  # five times slower than guessed

    assert queue.pace == 5
    assert queue.seconds_left(workers=1) == 100
    assert queue.seconds_left(workers=2) == 50
    clock[0] = 71.0  # 49 seconds are left
    assert queue.begin() is None


def test_a_long_job_waits_until_it_is_known_that_there_is_time(clock):
    jobs = [job(PARENT.replace(seed=seed), seconds=guess) for seed, guess in enumerate((1, 40, 10))]
    queue = Queue(jobs, minutes=1, began=0.0)
    queue.finish(queue.begin(), 2.0)

    shorter = queue.begin()
    assert shorter.config.seed == 2  # 40 guessed seconds are 80 by the first run
    queue.finish(shorter, 1.0)
    assert queue.begin().config.seed == 1


def test_a_failure_fails_every_run_that_requires_it_and_stops_no_other():
    queue = Queue(
        [job(PARENT), job(CONTROL), job(PARENT.replace(control="reinit")), job(PARENT.replace(seed=1))]
    )
    failing = queue.begin()
    news = list(queue.fail(failing, UserError("diverged")))

    assert [one.what for one in news] == ["failed"] * 3
    assert news[0].reason == "UserError: diverged"
    assert all(isinstance(one.error, MissingRun) for one in news[1:])
    assert news[1].reason == f"MissingRun: it needs {PARENT.slug}, which failed"
    assert list(queue.failed) == [one.job.key for one in news]
    assert queue.begin().config.seed == 1
    assert left(queue) == []


def test_a_finished_job_is_told_with_its_epochs_and_seconds():
    queue = Queue(seeds(1))
    news = queue.finish(queue.begin(), 2.5)

    assert (news.what, news.epochs, news.seconds) == ("finished", epochs(PARENT), 2.5)
    assert (queue.finished, queue.running) == (1, {})


def test_what_is_missing_is_ordered_after_what_it_requires(glyphs, tmp_path):
    refit = SMALL.replace(split="refit")
    wanted = [job(CONTROL, tmp_path), job(refit, tmp_path), job(PARENT, tmp_path)]

    assert [one.config for one in missing(wanted)] == [PARENT, CONTROL, refit.requires, refit]
    small.make(PARENT, glyphs, tmp_path)
    assert [one.config for one in missing(wanted)] == [CONTROL, refit.requires, refit]
    small.make(CONTROL, glyphs, tmp_path)
    assert [one.config for one in missing(wanted)] == [refit.requires, refit]


def test_a_run_that_is_required_costs_by_its_own_epochs(tmp_path):
    first, second = missing([job(CONTROL, tmp_path, seconds=4.0)])

    assert first.seconds == pytest.approx(4.0 * epochs(PARENT) / epochs(CONTROL))
    assert (first.dataset, first.settings, second.seconds) == ("glyphs", second.settings, 4.0)


def test_published_records_are_not_made_again_by_a_sweep():
    paths = (ROOT / "book" / "runs").glob("*.json")
    published = record.read(next(path for path in paths if "." not in path.stem)).config
    wanted = [job(published, "somewhere-else"), job(PARENT, "somewhere-else")]

    assert missing(wanted, published=True) == wanted[1:]
    assert job(published, "somewhere-else") in missing(wanted)
    assert record.is_on_record(published, "somewhere-else", published=True)
    assert not record.is_on_record(published, "somewhere-else")


def test_a_run_that_another_process_holds_is_tried_again_later_and_told_once(clock, capsys):
    queue = Queue(seeds(2))
    held = queue.begin()
    for _ in range(2):
        queue.put_back(held, RunBusy("0123 is run by process 7; wait for it or stop it"))
        if len(queue.waiting) == 2:
            assert queue.begin().config.seed == 1  # others go on
        assert queue.begin() is None
        clock[0] += 6
        assert queue.begin() is held

    assert capsys.readouterr().out.splitlines() == [
        f"NOTE {held.config.slug}: 0123 is run by process 7; wait for it or stop it; "
        "it is tried again until it is free"
    ]


def test_a_queue_waits_for_runs_that_others_hold_until_its_time_is_over(clock, monkeypatch):
    monkeypatch.setattr(
        "lthnb.runs.queue.time.sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds)
    )
    assert not Queue(seeds(1)).wait()
    queue = Queue(seeds(1, seconds=30.0), minutes=1, began=0.0)
    queue.put_back(queue.begin(), RunBusy("held"))

    while queue.wait():
        if clock[0] > 40:
            assert queue.begin() is None  # it would end too late
    assert clock[0] == pytest.approx(60, abs=1)
    assert left(queue) == [PARENT]


def test_a_held_run_that_is_on_record_by_then_is_taken_though_there_was_no_time_to_make_it(
    clock, glyphs, tmp_path
):
    queue = Queue([job(PARENT, tmp_path, seconds=30.0)], minutes=1, began=0.0)
    queue.put_back(queue.begin(), RunBusy("held"))
    clock[0] = 50.0
    assert queue.begin() is None
    small.make(PARENT, glyphs, tmp_path)
    queue.finish(queue.begin(), 0.1)

    assert (queue.finished, queue.pace) == (1, 1.0)  # a look at a record is no measure of the pace


def test_a_damaged_record_is_missing_and_its_name_is_told(glyphs, tmp_path, capsys):
    small.make(PARENT, glyphs, tmp_path)
    path = tmp_path / f"{PARENT.key}.json"
    path.write_text(path.read_text().replace('"test":', '"test": ', 1))

    assert [one.config for one in missing([job(PARENT, tmp_path)])] == [PARENT]
    assert [one.config for one in missing([job(CONTROL, tmp_path)])] == [PARENT, CONTROL]
    assert f"NOTE {path.name} is damaged: SHA-256" in capsys.readouterr().out


def test_a_damaged_published_record_is_missing_and_left_where_it_is(glyphs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record, "ROOT", tmp_path)
    small.make(PARENT, glyphs, tmp_path / "book" / "runs")
    path = tmp_path / "book" / "runs" / f"{PARENT.key}.json"
    path.write_bytes(b"half")
    wanted = [job(PARENT, "")]

    assert missing(wanted, published=True) == wanted
    assert f"NOTE {path.name} is damaged: it has no seal" in capsys.readouterr().out
    small.make(PARENT, glyphs, tmp_path / "runs")
    assert missing(wanted, published=True) == []
    assert path.read_bytes() == b"half"
