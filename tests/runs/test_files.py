"""Files are written whole or not at all, and one process at a time runs a run."""

import os
import time
from pathlib import Path

import pytest
from helpers import faults

from lthnb.runs import files
from lthnb.runs.files import Damaged, FileMissing, NotReadable, NotWritable, RunBusy, write


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


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    with pytest.raises(FileMissing, match=rf"there is no file {path}"):
        files.read(path)
    path.mkdir()
    with pytest.raises(Damaged, match=r"run\.json is damaged: it is no file, but a folder"):
        files.read(path)
    path.rmdir()
    path.write_text("")

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(NotReadable, match=rf"cannot read {path}: Permission denied; mend or remove it"):
        files.read(path)


def test_what_is_set_aside_takes_the_place_of_nothing(tmp_path, capsys):
    for content in ("first", "second"):
        (tmp_path / "run.json").write_text(content)
        files.set_aside(tmp_path / "run.json", Damaged("run.json is damaged"))

    assert (tmp_path / "run.json.damaged").read_text() == "first"
    assert (tmp_path / "run.json.damaged1").read_text() == "second"
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "NOTE run.json is set aside as run.json.damaged1: run.json is damaged"


def test_a_folder_in_the_place_of_a_lock_is_one_sentence(tmp_path):
    (tmp_path / "run" / "lock").mkdir(parents=True)
    (tmp_path / "run" / "holder").mkdir()

    with pytest.raises(NotWritable, match=r"cannot write .*lock: .*; mend or remove it"):
        files.is_locked(tmp_path / "run")
    with pytest.raises(NotWritable, match=r"cannot write .*lock: "), files.lock(tmp_path / "run", wait=0):
        pass


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "run.json")

    with pytest.raises(Damaged, match="it is no file, but a folder, pipe"):
        files.read(tmp_path / "run.json")


def test_a_holder_that_names_no_process_is_another_process(tmp_path):
    with files.lock(tmp_path / "run"):
        (tmp_path / "run" / "holder").write_bytes(b"\xff\xfe <script>" * 1000)
        with pytest.raises(RunBusy, match="run is run by another process; wait"):
            files.lock(tmp_path / "run", wait=0).__enter__()


def test_a_folder_in_the_place_of_a_holder_hinders_nobody(tmp_path):
    (tmp_path / "run" / "holder").mkdir(parents=True)

    with (
        files.lock(tmp_path / "run"),
        pytest.raises(RunBusy, match="by another process"),
        files.lock(tmp_path / "run", wait=0),
    ):
        pass


def test_a_folder_is_emptied_where_the_system_renames_none_with_an_open_lock(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Access is denied")

    monkeypatch.setattr(Path, "rename", refuse)
    folder = tmp_path / "run"
    with files.lock(folder):
        (folder / "round-00.safetensors").write_text("")
        files.remove(folder)

    assert not (folder / "round-00.safetensors").exists()


def test_a_removal_that_was_killed_is_ended_by_the_next(tmp_path):
    folder = tmp_path / "run"
    for left in (".run.0123abcd", ".other.0123abcd"):
        (tmp_path / left).mkdir()
        (tmp_path / left / "round-00.safetensors").write_text("")
    for name in (".run.json.0123abcd", ".run.layers.json.0123abcd"):
        (tmp_path / name).write_text("half")
    with files.lock(folder):
        files.remove(folder)

    assert [path.name for path in tmp_path.iterdir()] == [".other.0123abcd"]
