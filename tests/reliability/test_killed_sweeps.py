"""A sweep on two workers whose parent is killed: no process is left behind, and the same command goes on."""

import contextlib
import io
import re
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
from helpers import small

from lthnb import __main__
from lthnb.config import ROOT
from lthnb.runs import record

WORDS = ["sweep", "low_data", "--profile", "smoke", "--device", "cpu", "--precision", "fp32"]
WORDS += ["--dataset", "glyphs"]


def command(runs, workers):
    return [sys.executable, "-m", "lthnb", *WORDS, "--workers", str(workers), "--runs", str(runs)]


def swept_here(runs, *words):
    """Let a sweep of one worker end in this process; return what it said."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
        patch.setenv("LTHNB_DATA", str(runs.parent / "none"))
        assert __main__.main([*WORDS, "--workers", "1", "--runs", str(runs), *words]) == 0
    return said.getvalue()


def environment(folder):
    """A checkpoint after every epoch, and no images but rendered ones."""
    return small.environment(LTHNB_CHECKPOINT_SECONDS="0", LTHNB_DATA=str(folder / "none"))


def swept(runs, workers, folder):
    """Let a sweep end; return what it said."""
    ended = subprocess.run(
        command(runs, workers),
        cwd=ROOT,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def hears_interrupts():
    """A shell lets its background jobs ignore them, and what these start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def started(runs, workers, folder):
    nowhere = subprocess.DEVNULL
    options = {"cwd": ROOT, "env": environment(folder), "stdout": nowhere, "stderr": nowhere}
    options["preexec_fn"] = hears_interrupts
    return subprocess.Popen(command(runs, workers), start_new_session=True, **options)


def progress(runs):
    """The newest checkpoint of every run, and the records."""
    return {
        path.relative_to(runs) for path in (*runs.glob("*/checkpoint-*.safetensors"), *runs.glob("*.json"))
    }


def wait_for(condition, what, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.01)


def bits(runs):
    return {
        path.stem: [(row["kept"], row["correct"], row["curve"]) for row in record.read(path).rounds]
        for path in runs.glob("*.json")
    }


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """What an undisturbed sweep by one worker ends with."""
    folder = tmp_path_factory.mktemp("straight")
    assert "3 runs made, 0 too long for the time, 0 failed" in swept_here(folder / "runs")
    return bits(folder / "runs")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_parent_that_is_killed_leaves_no_worker_and_the_same_command_finishes_everything(
    tmp_path, straight, number
):
    runs = tmp_path / "runs"
    parent = started(runs, 2, tmp_path)
    wait_for(lambda: progress(runs), "no run went on")
    family = psutil.Process(parent.pid).children(recursive=True)
    parent.send_signal(number)
    parent.wait(timeout=60)

    assert len(family) >= 2
    assert parent.returncode == (130 if number == signal.SIGINT else -number)
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
    left = len(straight) - len(list(runs.glob("*.json")))
    assert left
    said = swept(runs, 2, tmp_path)
    assert f"{left} runs made, 0 too long for the time, 0 failed" in said
    assert bits(runs) == straight
    assert "0 runs at smoke scale are missing" in swept_here(runs, "--list")


def test_two_sweeps_that_begin_together_in_one_folder_both_end_with_every_run(tmp_path, straight):
    """Nobody fails on what the other holds, and nothing is made twice."""
    runs = tmp_path / "runs"
    both = [
        subprocess.Popen(
            command(runs, 1),
            cwd=ROOT,
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300)[0] for process in both]

    assert [process.returncode for process in both] == [0, 0], said
    assert all("3 runs made, 0 too long for the time, 0 failed" in words for words in said)
    assert any(
        re.search(r"NOTE .* is run by process \d+; .*tried again until it is free", words) for words in said
    )
    assert bits(runs) == straight


def test_a_sweep_is_killed_moved_and_goes_on_with_the_same_bits(tmp_path, straight):
    first = tmp_path / "first"
    second = tmp_path / "second"
    parent = started(first, 1, tmp_path)
    wait_for(
        lambda: list(first.glob("*.json")) and list(first.glob("*/checkpoint-*")),
        "no run was seen in its middle",
    )
    parent.kill()
    parent.wait()
    assert 1 <= len(list(first.glob("*.json"))) < 3
    shutil.copytree(first, second)

    assert "runs made, 0 too long" in swept_here(second)
    assert bits(second) == straight
    assert "0 runs at smoke scale are missing" in swept_here(second, "--list")
