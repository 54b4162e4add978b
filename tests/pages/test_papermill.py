import io
import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from lthnb.config import ROOT
from lthnb.pages import papermill as host

NOON = datetime(2026, 1, 2, 12, 0, 0)
OURS = str(ROOT / "notebooks" / "imp.ipynb")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("a.ipynb -p fraction 0.01", ["a.ipynb"]),
        ("-p fraction 0.01 a.ipynb out.ipynb", ["a.ipynb", "out.ipynb"]),
        ("-y {} --log-output a.ipynb", ["a.ipynb"]),
        ("--log-level=INFO a.ipynb -pseeds 2", ["a.ipynb"]),
        ("a.ipynb - -k python3", ["a.ipynb", "-"]),
        ("-p a b -- a.ipynb", ["a.ipynb"]),
    ],
)
def test_options_and_their_values_are_no_positionals(words, found):
    assert host.positionals(words.split()) == found


def test_every_option_of_papermill_is_known_with_its_arity():
    from papermill.cli import papermill

    for option in papermill.params:
        if option.param_type_name == "option" and not option.is_flag and not option.count:
            for name in option.opts:
                assert host.TAKES.get(name) == option.nargs, name


def test_one_of_our_notebooks_alone_gets_an_output_path():
    words = host.complete(["-p", "fraction", "0.01", OURS], NOON)

    assert words[:5] == [
        "-p",
        "fraction",
        "0.01",
        OURS,
        str(ROOT / "runs" / f"imp-20260102-120000-{os.getpid()}.ipynb"),
    ]
    assert "--log-output" in words


@pytest.mark.parametrize("words", [[OURS, "out.ipynb"], ["other.ipynb"], [OURS, "--help-notebook"], []])
def test_any_other_command_line_is_left_alone(words):
    assert host.complete(words, NOON) == words


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    papermill = Path(sys.executable).with_name("papermill")
    options = {"profile": "smoke", "seeds": "1", "dataset": "glyphs", "runs": str(runs), "fraction": "0.01"}
    return [
        str(papermill),
        "notebooks/imp.ipynb",
        *[word for item in options.items() for word in ("-p", *item)],
    ]


def test_the_line_works_in_a_terminal_through_a_pipe_and_with_a_fifo_on_standard_input(command, tmp_path):
    import pty

    source = Path(OURS).read_bytes()
    leader, follower = pty.openpty()
    process = subprocess.Popen(command, cwd=ROOT, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    screen = io.BytesIO()
    while True:
        try:
            screen.write(os.read(leader, 4096))
        except OSError:  # the terminal is closed
            break
    assert process.wait() == 0, screen.getvalue().decode()[-2000:]
    assert b"density (%)" in screen.getvalue()
    assert b"0 of 1 runs are on record" in screen.getvalue()

    os.mkfifo(tmp_path / "fifo")
    keep = os.open(tmp_path / "fifo", os.O_RDWR)
    piped = subprocess.run(command, cwd=ROOT, stdin=keep, capture_output=True, text=True, check=True)
    os.close(keep)

    assert "1 of 1 runs are on record" in piped.stderr + piped.stdout
    assert Path(OURS).read_bytes() == source


def test_a_wrong_parameter_stops_papermill_within_ten_seconds(command):
    wrong = [*command, "-p", "fracton", "0.01"]
    began, before = time.monotonic(), set((ROOT / "runs").glob("*.json"))
    ended = subprocess.run(wrong, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert time.monotonic() - began < 10
    assert set((ROOT / "runs").glob("*.json")) == before
    assert ended.returncode == 1
    assert "did you mean 'fraction'" in ended.stderr
    assert "import torch" not in ended.stderr
