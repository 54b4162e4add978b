"""Every laptop: what a run is made by, and that it is made where the system offers less than Linux does."""

import getpass
import json
import socket
import subprocess
import sys

import pytest
import torch
from helpers import small

from lthnb.config import ROOT
from lthnb.rules import ParameterError
from lthnb.runs import machine
from lthnb.runs.machine import Settings

ELSEWHERE = """
import os, sys
sys.modules["fcntl"] = None
del os.sched_getaffinity
from helpers import small
from lthnb.config import RunConfig
from lthnb.runs import files, machine, sweep
from lthnb import __main__, frame, records, run
config = RunConfig.of("smoke", name="glyphs", images=60, test_limit=50, val_limit=50)
made = run(config, settings=small.on_cpu(sys.argv[1]))
print(len(made.rounds), machine.cores() >= 1, sys.modules["fcntl"])
"""


def test_a_smoke_run_needs_neither_fcntl_nor_sched_getaffinity(tmp_path):
    command = [sys.executable, "-W", "ignore:only soft file lock", "-c", ELSEWHERE, str(tmp_path)]
    ended = subprocess.run(
        command, env=small.environment(), capture_output=True, text=True, timeout=300, check=False
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["3", "True", "None"]
    assert len(list(tmp_path.glob("*.json"))) == 1


def test_who_made_a_record_names_no_person_host_or_path():
    text = json.dumps(machine.made_by("cpu", "fp32", 1.0))

    assert socket.gethostname() not in text
    assert getpass.getuser() not in text
    assert str(ROOT) not in text


def test_who_made_a_record_is_told_with_versions_threads_and_code():
    made = machine.made_by("cpu", "bf16", 1.26, exact=False)

    assert (made["precision"], made["threads"], made["seconds"], made["exact"]) == ("bf16", 1, 1.3, False)
    assert set(made["versions"]) == {"torch", "numpy", "pillow", "python", "code"}
    assert made["device"].startswith("cpu ")


def test_a_device_that_is_not_there_is_refused_and_one_that_is_asked_for_is_kept(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Settings().chosen_device == "cpu"
    with pytest.raises(
        ParameterError, match="device must be auto or cpu where torch finds no GPU, got 'cuda'"
    ):
        assert Settings(device="cuda").chosen_device
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert Settings().chosen_device == "cuda"
    assert Settings(device="cpu").chosen_device == "cpu"


@pytest.mark.parametrize(("capable", "precision"), [(True, "bf16"), (False, "fp32")])
def test_bf16_is_taken_where_the_processor_computes_in_it(monkeypatch, capable, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": capable})

    assert Settings(device="cpu").chosen_precision == precision
    assert Settings(device="cpu", precision="fp32").chosen_precision == "fp32"


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert machine.cores() == 2
    monkeypatch.delattr(machine.os, "sched_getaffinity")
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 7)
    assert machine.cores() == 7


def test_a_run_computes_with_one_thread():
    torch.set_num_threads(2)
    machine.set_determinism()

    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("field", "value"), [("precision", "fp16"), ("device", "gpu"), ("runs", "a\0b"), ("captured", 1)]
)
def test_settings_are_checked_by_name(field, value):
    with pytest.raises(ParameterError, match=f"{field} must be .*, got"):
        Settings(**{field: value})
