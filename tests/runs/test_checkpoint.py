"""A run that was stopped, spoiled or starved goes on and ends with the same bits; who made it is told."""

import dataclasses
import json
import pickle
import re

import pytest
import torch
from conftest import opened
from helpers import faults, small
from helpers.small import SMALL, TINY, make

from lthnb import __main__
from lthnb.config import ParameterError
from lthnb.runs import files, machine, packed, record
from lthnb.runs.checkpoint import Checkpoints, checkpoint_seconds
from lthnb.runs.execute import execute
from lthnb.runs.files import Damaged, NotWritable
from lthnb.runs.machine import DeviceLost, OutOfMemory, device_errors
from lthnb.training import imp, objectives
from lthnb.training.step import Diverged


class Stop(Exception):
    """The process ends here."""


def stop_at(monkeypatch, where=lambda current: True):
    """Stop right after a checkpoint of the first pass for which ``where`` holds."""
    save = Checkpoints.save

    def spy(self, current, notes):
        save(self, current, notes)
        if where(current):
            raise Stop

    monkeypatch.setattr(Checkpoints, "save", spy)


def stop(config, source, runs, monkeypatch, where=lambda current: True):
    """Begin a run, stop it after the checkpoint of a pass; what it requires is made before."""
    with monkeypatch.context() as patch:
        stop_at(patch, where)
        with pytest.raises(Stop):
            make(config, source, runs, every=0)


@pytest.fixture
def stopped(glyphs, tmp_path, monkeypatch):
    """The folder of a run that was stopped in its second round."""
    stop(SMALL, glyphs, tmp_path, monkeypatch, lambda current: (current.index, current.epoch) == (1, 3))
    return tmp_path / SMALL.key


@pytest.fixture(scope="module")
def expected(glyphs, tmp_path_factory):
    """What an undisturbed run ends with."""
    folder = tmp_path_factory.mktemp("whole")
    make(SMALL, glyphs, folder)
    return faults.digest(SMALL, folder)


def test_a_stopped_run_goes_on_where_it_was(glyphs, stopped, expected, capsys):
    make(SMALL, glyphs, stopped.parent)

    assert "seed 0: going on in round 1 after epoch 3" in capsys.readouterr().out
    assert faults.digest(SMALL, stopped.parent) == expected
    assert record.load(SMALL, str(stopped.parent)).made["exact"] is True


@pytest.mark.parametrize("where", [(0, 1), (0, 2), (0, 3), (0, 4), (1, 4), (3, 3), (3, 4)])
def test_it_does_not_matter_where_a_run_was_stopped(glyphs, tmp_path, monkeypatch, expected, where):
    stop(SMALL, glyphs, tmp_path, monkeypatch, lambda current: (current.index, current.epoch) == where)
    make(SMALL, glyphs, tmp_path)

    assert faults.digest(SMALL, tmp_path) == expected


def test_epochs_are_counted_over_all_trainings_also_when_a_run_goes_on(glyphs, stopped, tmp_path):
    left = list(execute(SMALL, glyphs, small.on_cpu(stopped.parent)))
    whole = list(execute(SMALL, glyphs, small.on_cpu(tmp_path / "other")))

    assert whole == list(range(1, 11))
    assert left == [5, 6, 7, 8, 9, 10][-len(left) :]
    assert len(left) == 5  # of 10


def test_a_finished_run_keeps_its_tickets_and_no_checkpoints(glyphs, tmp_path):
    make(SMALL, glyphs, tmp_path, every=0)
    names = {path.name for path in (tmp_path / SMALL.key).iterdir()}

    assert names - {"round-01.safetensors", "round-02.safetensors"} == {
        "lock", "round-00.safetensors", "round-03.safetensors"
    }  # fmt: skip


def test_a_finished_run_is_not_made_again(glyphs, tmp_path):
    make(TINY, glyphs, tmp_path)
    before = (tmp_path / f"{TINY.key}.json").read_bytes()

    assert list(execute(TINY, glyphs, small.on_cpu(tmp_path))) == []
    assert (tmp_path / f"{TINY.key}.json").read_bytes() == before


def test_the_tickets_of_a_finished_run_are_made_again_and_its_record_stays(glyphs, tmp_path):
    make(TINY, glyphs, tmp_path)
    before = faults.digest(TINY, tmp_path)
    content = (tmp_path / f"{TINY.key}.json").read_bytes()
    for path in (tmp_path / TINY.key).glob("round-*"):
        path.unlink()
    make(TINY, glyphs, tmp_path, again=True)

    assert faults.digest(TINY, tmp_path) == before
    assert (tmp_path / f"{TINY.key}.json").read_bytes() == content


def test_two_checkpoints_stay_and_a_damaged_one_is_set_aside(glyphs, stopped, expected, capsys):
    newest, older = sorted(stopped.glob("checkpoint-*"), reverse=True)
    newest.write_bytes(newest.read_bytes()[:-1])
    make(SMALL, glyphs, stopped.parent)
    said = capsys.readouterr().out

    assert f"NOTE {newest.name} is set aside as {newest.name}.damaged: {newest.name} is damaged" in said
    assert "going on in round 0 after epoch 4" in said
    assert faults.digest(SMALL, stopped.parent) == expected
    assert not older.exists()
    assert not list(stopped.glob("*.damaged*"))


def test_files_and_folders_with_the_names_of_checkpoints_hinder_nobody(glyphs, stopped, expected, capsys):
    mine = [f"checkpoint-{name}.safetensors" for name in ("abc", "", "-1")] + ["round-abc.safetensors"]
    for name in mine:
        (stopped / name).write_bytes(b"mine")
    (stopped / "checkpoint-000099.safetensors" / "inner").mkdir(parents=True)
    (stopped / "checkpoint-5000000.safetensors").symlink_to("nowhere")
    make(SMALL, glyphs, stopped.parent, every=0)

    said = capsys.readouterr().out
    for name in ("checkpoint-000099.safetensors", "checkpoint-5000000.safetensors"):
        assert f"NOTE {name} is set aside as {name}.damaged: " in said
    assert "going on in round 1 after epoch 3" in said
    assert all((stopped / name).read_bytes() == b"mine" for name in mine)
    (stopped / "round-abc.safetensors").unlink()
    assert faults.digest(SMALL, stopped.parent) == expected
    assert (stopped / "checkpoint-000099.safetensors.damaged" / "inner").is_dir()


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about["progress"].pop("losses"),
        lambda about: about["progress"].update(correct=[1]),
        lambda about: about["progress"].update(correct={"?": {}}),
        lambda about: about.update(progress=None),
        lambda about: about.update(key=None),
    ],
)
def test_a_sealed_checkpoint_that_makes_no_sense_is_set_aside(glyphs, stopped, expected, capsys, change):
    newest = max(stopped.glob("checkpoint-*"))
    tensors, about = packed.read_packed(newest)
    change(about)
    packed.write_packed(newest, tensors, about)
    make(SMALL, glyphs, stopped.parent)

    assert f"NOTE {newest.name} is set aside as {newest.name}.damaged: " in capsys.readouterr().out
    assert faults.digest(SMALL, stopped.parent) == expected


def test_a_run_that_was_stopped_after_its_last_pass_still_knows_that_its_step_was_captured(
    glyphs, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr("lthnb.training.step.Step.captured", True)
        stop(TINY, glyphs, tmp_path, patch, lambda current: current.index == 1 and current.complete)

    assert make(TINY, glyphs, tmp_path).made["step"] == "captured"


def test_a_checkpoint_of_another_run_is_set_aside(glyphs, stopped, tmp_path, capsys):
    other = SMALL.replace(seed=1)
    stopped.rename(tmp_path / other.key)
    make(other, glyphs, tmp_path)
    make(other, glyphs, tmp_path / "straight")

    assert re.search(rf"is set aside as .*: it belongs to run {SMALL.key}", capsys.readouterr().out)
    assert faults.digest(other, tmp_path) == faults.digest(other, tmp_path / "straight")


def test_another_machine_goes_on_and_the_record_says_so(glyphs, stopped, monkeypatch, capsys):
    fingerprint = machine.fingerprint
    monkeypatch.setattr(machine, "fingerprint", lambda *given: {**fingerprint(*given), "threads": 64})
    make(SMALL, glyphs, stopped.parent)

    assert "NOTE threads was 1 and is 64: the run goes on" in capsys.readouterr().out
    assert record.load(SMALL, str(stopped.parent)).made["exact"] is False


def test_a_refit_and_the_run_that_chooses_its_round_go_on(image_folder, tmp_path, monkeypatch):
    source = opened(image_folder({"cat": 30, "dog": 30}))
    refit = TINY.replace(name=source.info.name, split="refit", images=60)
    make(refit, source, tmp_path / "whole")
    for config in (refit.requires, refit):
        folder = tmp_path / config.data.split
        if config == refit:
            make(refit.requires, source, folder)
        stop(config, source, folder, monkeypatch)
        make(refit, source, folder)

        for one in (refit.requires, refit):
            assert faults.digest(one, folder) == faults.digest(one, tmp_path / "whole")


def test_a_folder_that_cannot_be_made_is_an_error_before_anything_is_trained(glyphs, tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(NotWritable, match=r"cannot write .*pass another folder as runs"):
        make(TINY, glyphs, tmp_path / "file")


SEVENTEENTH = 17  # step of a run that is spoiled: in its second round


def nan_loss(monkeypatch, value):
    plain = objectives.F.cross_entropy
    seen = []

    def spoiled(*args):
        seen.append(1)
        return plain(*args) * (value if len(seen) == SEVENTEENTH else 1)

    monkeypatch.setattr(objectives.F, "cross_entropy", spoiled)


def models_built(monkeypatch):
    """A list to which every network that is built from now on is added."""
    models = []
    build = imp.build

    def spy(*args):
        models.append(build(*args))
        return models[-1]

    monkeypatch.setattr(imp, "build", spy)
    return models


def nan_gradient(monkeypatch, value):
    plain = torch.Tensor.backward
    models = models_built(monkeypatch)
    seen = []

    def spoiled(self):
        plain(self)
        seen.append(1)
        if len(seen) == SEVENTEENTH:
            next(models[0].parameters()).grad[0, 0, 0, 0] = value

    monkeypatch.setattr(torch.Tensor, "backward", spoiled)


def nan_state(name):
    def plant(monkeypatch, value):
        plain = torch.optim.SGD.step
        models = models_built(monkeypatch)
        seen = []

        def spoiled(self, *args):
            plain(self, *args)
            seen.append(1)
            if len(seen) == SEVENTEENTH:
                with torch.no_grad():
                    state = models[0].state_dict()[name]
                    state[(0,) * state.dim()] = value

        monkeypatch.setattr(torch.optim.SGD, "step", spoiled)

    return plant


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "plant",
    [
        nan_loss,
        nan_gradient,
        nan_state("layer1.0.conv1.weight"),
        nan_state("head.bias"),
        nan_state("stem.1.running_var"),
    ],
    ids=["loss", "gradient", "convolution", "head", "BatchNorm"],
)
def test_what_is_not_finite_stops_the_run_and_the_last_checkpoint_is_sound(
    glyphs, tmp_path, monkeypatch, plant, value
):
    with monkeypatch.context() as patch:
        plant(patch, value)
        with pytest.raises(Diverged, match=r"seed 0, round \d, .*epoch \d.*may be too high"):
            make(SMALL, glyphs, tmp_path, every=0)
    folder = tmp_path / SMALL.key

    assert "not finite" in json.loads((folder / "diverged.json").read_text())["message"]
    assert __main__.state(folder)[0] == "diverged"
    make(SMALL, glyphs, tmp_path)  # unpack refuses what is not finite
    assert __main__.state(folder)[0] == "done"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA"), RuntimeError("can't allocate memory")])
def test_out_of_memory_says_what_to_do_and_goes_on(glyphs, tmp_path, monkeypatch, error, expected):
    plain = torch.optim.SGD.step
    seen = []

    def spoiled(self, *args):
        seen.append(1)
        if len(seen) == SEVENTEENTH:
            raise error
        plain(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", spoiled)
        with pytest.raises(OutOfMemory, match="no memory left on cpu at batch size 20; the last"):
            make(SMALL, glyphs, tmp_path, every=0)
    make(SMALL, glyphs, tmp_path)

    assert faults.digest(SMALL, tmp_path) == expected


def test_other_errors_keep_their_name(glyphs, tmp_path, monkeypatch):
    def failing(*args, **options):
        raise RuntimeError("mat1 and mat2")
        yield

    monkeypatch.setattr(imp, "passes", failing)

    with pytest.raises(RuntimeError, match="mat1"):
        make(TINY, glyphs, tmp_path)


def test_a_lost_gpu_and_a_full_one_are_told_apart():
    words = r"illegal memory access.*run the same command again"
    with pytest.raises(DeviceLost, match=words), device_errors(TINY, "cuda"):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(DeviceLost, match="EXECUTION_FAILED"), device_errors(TINY, "cuda"):
        raise RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")
    words = "no memory left on cuda at batch size 20"
    with pytest.raises(OutOfMemory, match=words), device_errors(TINY, "cuda"):
        raise RuntimeError("CUDA error: out of memory")


def test_errors_of_runs_can_be_sent_by_a_worker():
    pytest.importorskip("distributed.core")  # Dask changes how exceptions are sent
    for kind in (
        OutOfMemory,
        DeviceLost,
        Diverged,
        files.RunBusy,
        files.DiskFull,
        Damaged,
        record.MissingRun,
    ):
        sent = pickle.loads(pickle.dumps(kind("what to do")))
        assert type(sent) is kind and str(sent) == "what to do"


def test_runs_lists_states_and_clears_what_is_left_over(glyphs, stopped, capsys):
    top = stopped.parent
    make(TINY, glyphs, top)
    capsys.readouterr()

    assert __main__.main(["runs", "--runs", str(top)]) == 0
    listed = capsys.readouterr().out
    assert f"{SMALL.key}  interrupted" in listed
    assert "round 1 of 3, epoch 3" in listed
    assert f"{TINY.key}  done" in listed

    with files.lock(stopped):
        assert __main__.main(["runs", "--runs", str(top)]) == 0
        assert f"{SMALL.key}  running" in capsys.readouterr().out
        __main__.main(["runs", "--runs", str(top), "--clear", SMALL.key])
        assert f"{SMALL.key} is running and stays" in capsys.readouterr().out
        assert list(stopped.glob("checkpoint-*"))
    __main__.main(["runs", "--runs", str(top), "--clear", "interrupted", TINY.key])
    assert not stopped.exists()
    assert (top / f"{TINY.key}.json").exists()
    assert not (top / TINY.key).exists()
    assert __main__.main(["runs", "--runs", str(top), "--clear", "nobody"]) == 1


def test_bytes_written_by_a_run_of_the_papers_size_stay_under_ten_gigabytes():
    """Counted: an hour of training at 100 % data, a checkpoint every 20 seconds, three states each."""
    weights = 11_159_232
    other = 14_730 + 9_600
    rounds = 20
    hour = 3600 / 20
    per_round = [(3 * 4 * (weights * 0.8**k + other) + weights / 8) * hour / rounds for k in range(rounds)]
    kept = [2 * 4 * (weights * 0.8**k + other) + weights / 8 for k in range(rounds)]

    assert sum(per_round) + sum(kept) < 10e9


def test_a_run_without_momentum_goes_on_too(glyphs, tmp_path, monkeypatch):
    config = TINY.replace(momentum=0.0)
    stop(config, glyphs, tmp_path, monkeypatch)
    make(config, glyphs, tmp_path)
    make(config, glyphs, tmp_path / "straight")

    assert __main__.state(tmp_path / config.key)[0] == "done"
    assert faults.digest(config, tmp_path) == faults.digest(config, tmp_path / "straight")


def test_a_run_does_not_go_on_with_other_images(glyphs, stopped):
    other = dataclasses.replace(glyphs, info=dataclasses.replace(glyphs.info, sha256="0" * 64))

    with pytest.raises(Damaged, match="begun on other images of the same name"):
        make(SMALL, other, stopped.parent)
    assert len(list(stopped.glob("checkpoint-*"))) == 2


def test_a_run_resumed_in_another_precision_says_so_for_ever(glyphs, stopped, capsys):
    make(SMALL, glyphs, stopped.parent, precision="bf16")

    assert "NOTE precision was fp32 and is bf16" in capsys.readouterr().out
    assert record.load(SMALL, str(stopped.parent)).made["exact"] is False


def test_what_a_kill_leaves_is_cleared_by_the_next_start(glyphs, tmp_path):
    make(TINY, glyphs, tmp_path)
    folder = tmp_path / TINY.key
    tickets = {path.name for path in folder.glob("round-*")}
    for name in ("checkpoint-000007.safetensors", f"../.{TINY.key}.json.0123abcd"):
        (folder / name).write_bytes(b"half")
    make(TINY, glyphs, tmp_path)

    assert not list(tmp_path.glob(".*")) and not list(folder.glob("checkpoint-*"))
    assert {path.name for path in folder.glob("round-*")} == tickets


def test_clearing_touches_nothing_but_runs(tmp_path):
    precious = tmp_path / "holiday-pictures" / "beach.jpg"
    precious.parent.mkdir()
    precious.write_text("x")

    assert __main__.main(["runs", "--runs", str(tmp_path), "--clear", "interrupted"]) == 1
    assert precious.exists()


def test_one_bad_run_does_not_hide_the_others(glyphs, tmp_path, capsys):
    make(TINY, glyphs, tmp_path)
    (tmp_path / ("0" * 16)).mkdir()
    (tmp_path / ("0" * 16) / "diverged.json").write_text("{")

    assert __main__.main(["runs", "--runs", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"{'0' * 16}  damaged" in said and f"{TINY.key}  done" in said


def test_a_disk_without_a_byte_left_is_told_before_training(glyphs, tmp_path):
    assert faults.disks([0], glyphs) == (1, 1, 1)


@pytest.mark.parametrize(("said", "seconds"), [(None, 45), ("0", 0), ("2.5", 2.5)])
def test_seconds_between_checkpoints_may_be_set(monkeypatch, said, seconds):
    monkeypatch.delenv("LTHNB_CHECKPOINT_SECONDS", raising=False)
    if said:
        monkeypatch.setenv("LTHNB_CHECKPOINT_SECONDS", said)

    assert checkpoint_seconds("cuda") == seconds


@pytest.mark.parametrize("said", ["soon", "nan", "-1", "inf", ""])
def test_impossible_seconds_between_checkpoints_are_named(monkeypatch, said):
    monkeypatch.setenv("LTHNB_CHECKPOINT_SECONDS", said)

    with pytest.raises(
        ParameterError, match=f"LTHNB_CHECKPOINT_SECONDS must be a number from 0 on, got '{said}'"
    ):
        checkpoint_seconds("cpu")
