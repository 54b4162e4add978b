"""Files are written whole or not at all, and one process at a time runs a run."""

import os
import time

import pytest
from helpers import faults

from lthnb.runs import files
from lthnb.runs.files import RunBusy, write


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "deep" / "run.json"
    write(path, b"old")
    write(path, b"new")

    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_on_the_way_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call):
    path = tmp_path / "run.json"
    write(path, b"old")

    def fail(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="no space"):
        write(path, b"new")

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_second_holder_is_told_who_runs(tmp_path):
    folder = tmp_path / "run"
    with files.lock(folder):
        assert files.is_locked(folder)
        assert (folder / "holder").read_text() == str(os.getpid())
        with (
            pytest.raises(RunBusy, match=f"run is run by process {os.getpid()}; wait for it or stop it"),
            files.lock(folder, wait=0.2),
        ):
            pass
        assert (folder / "holder").read_text() == str(os.getpid())
    assert not files.is_locked(folder)
    assert not (folder / "holder").exists()


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    folder = tmp_path / "run"

    def hold():
        with files.lock(folder):
            time.sleep(60)

    holder = faults.forked(hold)
    until = time.monotonic() + 10
    while not (folder / "holder").exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert files.is_locked(folder)
    os.kill(holder, faults.signal.SIGKILL)
    os.waitpid(holder, 0)

    assert not files.is_locked(folder)
    with files.lock(folder, wait=0):
        assert (folder / "holder").read_text() == str(os.getpid())


def test_a_waiting_writer_gets_the_lock_when_it_is_let_go_and_never_a_cleared_one(tmp_path):
    folder = tmp_path / "run"

    def hold_then_clear():
        with files.lock(folder):
            time.sleep(1)
            files.remove(folder)

    holder = faults.forked(hold_then_clear)
    time.sleep(0.3)
    with files.lock(folder, wait=5):
        assert files.is_locked(folder)
        with pytest.raises(RunBusy), files.lock(folder, wait=0):
            pass
    assert faults.ended(holder) == 0
