import io
import os
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from helpers import small
from papermill.exceptions import PapermillExecutionError

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
    assert host.parsed(words.split())[0] == found


def test_every_option_of_papermill_is_known_with_its_arity():
    from papermill.cli import papermill

    ours = {name: option.nargs for option in host.command().params for name in option.opts}
    for option in papermill.params:
        if option.param_type_name == "option" and not option.is_flag and not option.count:
            for name in option.opts:
                assert ours.get(name) == option.nargs, name


def test_one_of_our_notebooks_alone_gets_an_output_path():
    words = ["-p", "dataset", OURS, OURS]
    output = str(ROOT / "runs" / f"imp-20260102-120000-{os.getpid()}.ipynb")

    assert host.complete(words, NOON) == ["--log-output", "--no-progress-bar", *words, output]


def test_the_executed_notebook_lies_beside_the_records(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words, folder in (
        (["-p", "runs", "mine"], "mine"),
        (["-r", "runs", str(tmp_path / "raw")], "raw"),
        (["-pruns", "near", "--cwd", "there"], "there/near"),
    ):
        output = Path(host.complete([OURS, *words], NOON)[-1])
        assert output.parent == tmp_path / folder and output.parent.is_dir()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(SystemExit, match=r"cannot write .*file/runs: .*; pass -p runs DIR or an output path"):
        host.complete([OURS, "-p", "runs", str(tmp_path / "file" / "runs")], NOON)


@pytest.mark.parametrize(
    ("python", "program", "ours"),
    [
        ("", "bin/papermill", True),
        ("python -m papermill", "-m", True),
        ("python -O -m papermill", "-m", True),
        ("python -u -B -m papermill", "-m", True),
        ("python -X dev -m papermill", "-m", True),
        ("python -Om papermill", "-m", True),
        ("python -mpapermill", "-m", True),
        ("python -m pytest", "-m", False),
        ("python -m papermill.tests", "-m", False),
        ("python a.py", "a.py", False),
    ],
)
def test_papermill_is_known_whatever_options_python_got(monkeypatch, python, program, ours):
    words = ["a.ipynb", "-p", "seeds", "1"]
    monkeypatch.setattr(sys, "argv", [program, *words])
    monkeypatch.setattr(sys, "orig_argv", [*python.split(), *words])

    assert host.is_papermill() is ours


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
    assert b"0 of 2 runs are on record" in screen.getvalue()

    os.mkfifo(tmp_path / "fifo")
    keep = os.open(tmp_path / "fifo", os.O_RDWR)
    piped = subprocess.run(command, cwd=ROOT, stdin=keep, capture_output=True, text=True, check=True)
    os.close(keep)

    assert "2 of 2 runs are on record" in piped.stderr + piped.stdout
    assert Path(OURS).read_bytes() == source


def test_a_checkout_that_cannot_be_written_works_with_a_folder_of_runs(command, tmp_path):
    checkout = tmp_path / "checkout"
    left = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "tickets")
    for folder in ("lthnb", "notebooks", "book"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=left)
    before = sorted(checkout.rglob("*"))
    runs = Path(command[command.index("runs") + 1])
    relative = [os.path.relpath(runs, checkout) if word == str(runs) else word for word in command]
    environment = small.environment(PYTHONPATH=str(checkout), PYTHONDONTWRITEBYTECODE="1")  # as if read-only
    ended = subprocess.run(
        relative, cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stderr[-2000:]
    assert sorted(checkout.rglob("*")) == before
    assert list(runs.glob("*.json")) and list(runs.glob("imp-*.ipynb"))


def computed():
    """Seconds that processes started here have computed; other work on the machine does not count."""
    spent = os.times()
    return spent.children_user + spent.children_system


@pytest.mark.parametrize("python", [[], [sys.executable, "-X", "dev", "-m"]])
def test_a_wrong_parameter_is_one_sentence_within_ten_seconds(command, python, tmp_path):
    start = [*python, "papermill"] if python else command[:1]
    wrong = [*start, *command[1:], "-p", "fracton", "0.01", "-p", "runs", str(tmp_path)]
    before = computed()
    ended = subprocess.run(wrong, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert computed() - before < (20 if python else 10)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr and "import torch" not in ended.stderr
    told = "ParameterError: fracton is not a parameter of this page, got 0.01; did you mean 'fraction'?"
    assert ended.stderr.splitlines()[-1] == told
    assert [path.suffix for path in tmp_path.iterdir()] == [".ipynb"]


def test_an_error_that_is_not_ours_keeps_its_trace(capsys):
    ours = PapermillExecutionError(3, 3, "", "DataMissing", "no images", ["DataMissing: no images"])
    foreign = PapermillExecutionError(3, 3, "", "KeyError", "'a'", ["KeyError  Traceback", "KeyError: 'a'"])
    for error in (ours, foreign, ValueError("b")):
        host.show_error(type(error), error, None)
    told = capsys.readouterr().err

    assert told.startswith("DataMissing: no images\n")
    assert "Exception encountered" in told and told.endswith("ValueError: b\n")
