"""The command line: what is odd or wrong is told in a sentence, and nothing is hidden behind it."""

import os
import subprocess
import sys

import pytest
from helpers import small

from lthnb import __main__
from lthnb.config import ROOT

KEYS = [digit * 16 for digit in "0123456789abcdef"]


def said(words, capsys):
    """Status and both streams of a command."""
    status = __main__.main(words)
    streams = capsys.readouterr()
    return status, streams.out + streams.err


def odd_folder(top):
    """Runs that diverged without a word to read, folders and links where records should lie."""
    for key, content in zip(KEYS, ["no JSON", "[]", '{"why": 1}', "{}", b"\xff"], strict=False):
        (top / key).mkdir(parents=True)
        (top / key / "diverged.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    (top / KEYS[5] / "diverged.json").mkdir(parents=True)
    (top / f"{KEYS[6]}.json").mkdir()
    (top / f"{KEYS[7]}.json").symlink_to("nowhere")
    (top / KEYS[8]).write_text("a file of that name")
    (top / "notes").mkdir()
    return top


def test_runs_lists_what_is_odd_as_damaged_and_names_it(tmp_path, capsys):
    status, told = said(["runs", "--runs", str(odd_folder(tmp_path / "odd"))], capsys)
    states = {line.split()[0]: line.split()[1] for line in told.splitlines()[:-1]}

    assert status == 0
    assert states == dict.fromkeys(KEYS[:8], "damaged")
    assert told.count("diverged.json does not say why") == 6
    assert told.splitlines()[-1].startswith("8 runs;")


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_runs_of_what_is_no_folder_are_refused(name, tmp_path, capsys):
    (tmp_path / "file").touch()

    status, told = said(["runs", "--runs", str(tmp_path / name)], capsys)
    assert status == 1 and told.startswith("ParameterError: --runs must be a folder, got ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--images", "-5"], "--images must be a whole number from 1 to 50,000, got -5"),
        (["--images", "50001"], "--images must be a whole number from 1 to 50,000, got 50001"),
        (["--json", "no/such/folder/x.json"], "--json must name a file in a folder that is there, got 'no/"),
        (["--json", "."], "--json must name a file in a folder that is there, got '.'"),
    ],
)
def test_bench_refuses_before_it_measures(words, told, capsys, monkeypatch):
    from helpers import speed

    monkeypatch.setattr(speed, "measure", lambda images: pytest.fail("something was measured"))
    status, streams = said(["bench", *words], capsys)

    assert status == 1 and streams.startswith(f"ParameterError: {told}")


def test_verify_of_a_folder_is_a_sentence(tmp_path, capsys):
    status, told = said(["verify", str(tmp_path)], capsys)

    assert status == 1
    assert told.startswith(f"{tmp_path.name}: ") and "Errno" not in told and len(told.splitlines()) == 1


def test_an_error_of_the_system_is_a_sentence(monkeypatch, capsys):
    def spoilt(_):
        raise OSError(5, "Input/output error", "runs")

    monkeypatch.setattr(__main__, "folders", spoilt)
    status, told = said(["runs"], capsys)

    assert (status, told) == (1, "OSError: [Errno 5] Input/output error: 'runs'\n")


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    for key in KEYS:
        (tmp_path / key).mkdir()
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "lthnb", "runs", "--runs", str(tmp_path)]
    ended = subprocess.run(
        command, cwd=ROOT, env=small.environment(), stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)

    assert ended.stderr == b""
