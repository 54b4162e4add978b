import dataclasses
import json

from helpers import faults
import pytest
import torch

from lthnb import __main__
from lthnb.runs import checkpoint as checkpoints, costs, record, execute as running, files as store
from lthnb.training import imp, step
from lthnb.runs.execute import OutOfMemory
from lthnb.training.step import Diverged
from lthnb.runs.files import Damaged, NotWritable, RunBusy


class Stop(Exception):
    pass


@pytest.fixture
def stopped(glyphs, tmp_path, monkeypatch):
    """A run that was stopped in its second round; returns its folder."""
    inner = checkpoints.Checkpoints.save

    def save(self, progress, *rest):
        inner(self, progress, *rest)
        if (progress["round"], progress["epoch"]) == (1, 3):
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.Checkpoints, "save", save)
        with pytest.raises(Stop):
            running.run(faults.SMALL, glyphs, runs=str(tmp_path), every=0)
    return tmp_path / faults.SMALL.key


@pytest.fixture
def expected(glyphs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    running.run(faults.SMALL, glyphs, runs=str(folder), every=1000)
    return faults.digest(faults.SMALL, folder)


def test_a_stopped_run_goes_on_where_it_was(glyphs, stopped, expected, capsys):
    running.run(faults.SMALL, glyphs, runs=str(stopped.parent))

    assert "seed 0: going on in round 1 after epoch 3" in capsys.readouterr().out
    assert faults.digest(faults.SMALL, stopped.parent) == expected
    assert record.load(faults.SMALL, str(stopped.parent)).made["exact"] is True


def test_progress_counts_only_what_is_left_to_do(glyphs, stopped, capsys):
    progress = running.Progress(costs.epochs(faults.SMALL), every=0)
    running.run(faults.SMALL, glyphs, runs=str(stopped.parent), progress=progress)

    assert "round 1, epoch 4 of 4: 20%" in capsys.readouterr().out  # 5 epochs are left of 10
    assert progress.done == progress.total == 5


def test_a_finished_run_keeps_its_tickets_and_no_checkpoints(glyphs, tmp_path):
    running.run(faults.SMALL, glyphs, runs=str(tmp_path), every=0)
    names = {path.name for path in (tmp_path / faults.SMALL.key).iterdir()}

    assert names - {"round-01.safetensors", "round-02.safetensors"} == {
        "lock", "round-00.safetensors", "round-03.safetensors"
    }  # fmt: skip


def test_two_checkpoints_stay_and_a_damaged_one_is_set_aside(glyphs, stopped, expected, capsys):
    newest, older = sorted(stopped.glob("checkpoint-*"), reverse=True)
    newest.write_bytes(newest.read_bytes()[:-1])
    running.run(faults.SMALL, glyphs, runs=str(stopped.parent))
    said = capsys.readouterr().out

    assert f"{newest.name} is set aside, going on from the one before" in said
    assert "going on in round 0 after epoch 4" in said
    assert faults.digest(faults.SMALL, stopped.parent) == expected
    assert not older.exists()


def test_another_machine_goes_on_and_the_record_says_so(glyphs, stopped, monkeypatch, capsys):
    inner = record.fingerprint
    monkeypatch.setattr(record, "fingerprint", lambda *args: {**inner(*args), "threads": 64})
    running.run(faults.SMALL, glyphs, runs=str(stopped.parent))

    assert "NOTE threads was 1 and is 64: the run goes on" in capsys.readouterr().out
    assert record.load(faults.SMALL, str(stopped.parent)).made["exact"] is False


def test_a_refit_run_goes_on_in_either_phase(image_folder, tmp_path, monkeypatch):
    from conftest import opened

    source = opened(image_folder({"cat": 30, "dog": 30}))
    config = faults.TINY.replace(name=source.facts.name, split="refit", images=60)
    running.run(config, source, runs=str(tmp_path / "whole"))
    inner = checkpoints.Checkpoints.save
    for phase in ("choosing", "all"):

        def save(self, *args, phase=phase):
            inner(self, *args)
            if self.notes["phase"] == phase:
                raise Stop

        with monkeypatch.context() as patch:
            patch.setattr(checkpoints.Checkpoints, "save", save)
            with pytest.raises(Stop):
                running.run(config, source, runs=str(tmp_path / phase), every=0)
        running.run(config, source, runs=str(tmp_path / phase))

        assert faults.digest(config, tmp_path / phase) == faults.digest(config, tmp_path / "whole")


def test_a_second_process_is_told_who_runs(tmp_path):
    with store.lock(tmp_path / "run"), pytest.raises(RunBusy, match="run is run by process"):
        pid = faults.os.getpid()
        assert store.is_locked(tmp_path / "run")
        assert (tmp_path / "run" / "lock").read_text() == str(pid)
        with store.lock(tmp_path / "run", wait=0.2):
            pass
    assert not store.is_locked(tmp_path / "run")


def test_a_folder_that_cannot_be_made_is_an_error_before_anything_is_trained(glyphs, tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(NotWritable, match=r"cannot write .*pass another folder as runs"):
        running.run(faults.TINY, glyphs, runs=str(tmp_path / "file"))


def nan_loss(monkeypatch, value):
    inner, seen = step.F.cross_entropy, []

    def spoiled(*args):
        seen.append(1)
        return inner(*args) * (value if len(seen) == 17 else 1)

    monkeypatch.setattr(step.F, "cross_entropy", spoiled)


def nan_gradient(monkeypatch, value):
    inner, seen = torch.Tensor.backward, []

    def spoiled(self):
        inner(self)
        seen.append(1)
        if len(seen) == 17:
            for found in list(spoiled.model.parameters())[:1]:
                found.grad[0, 0, 0, 0] = value

    build = imp.build
    monkeypatch.setattr(
        imp, "build", lambda *a, **k: setattr(spoiled, "model", build(*a, **k)) or spoiled.model
    )
    monkeypatch.setattr(torch.Tensor, "backward", spoiled)


def nan_state(name):
    def plant(monkeypatch, value):
        inner, seen = torch.optim.SGD.step, []

        def spoiled(self, *args):
            inner(self, *args)
            seen.append(1)
            if len(seen) == 17:
                with torch.no_grad():
                    found = plant.model.state_dict()[name]
                    found[(0,) * found.dim()] = value

        build = imp.build
        monkeypatch.setattr(
            imp, "build", lambda *a, **k: setattr(plant, "model", build(*a, **k)) or plant.model
        )
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
        with pytest.raises(Diverged, match=r"seed 0, round \d, epoch \d.*may be too high"):
            running.run(faults.SMALL, glyphs, runs=str(tmp_path), every=0)
    folder = tmp_path / faults.SMALL.key

    assert "not finite" in json.loads((folder / "diverged.json").read_text())["message"]
    assert __main__.state(folder)[0] == "diverged"
    running.run(faults.SMALL, glyphs, runs=str(tmp_path))  # unpack refuses what is not finite
    assert __main__.state(folder)[0] == "done"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA"), RuntimeError("can't allocate memory")])
def test_out_of_memory_says_what_to_do_and_goes_on(glyphs, tmp_path, monkeypatch, error, expected):
    inner, seen = torch.optim.SGD.step, []

    def spoiled(self, *args):
        seen.append(1)
        if len(seen) == 17:
            raise error
        inner(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", spoiled)
        with pytest.raises(OutOfMemory, match="no memory left on cpu at batch size 20; the last"):
            running.run(faults.SMALL, glyphs, runs=str(tmp_path), every=0)
    running.run(faults.SMALL, glyphs, runs=str(tmp_path))

    assert faults.digest(faults.SMALL, tmp_path) == expected


def test_other_errors_keep_their_name(glyphs, tmp_path, monkeypatch):
    monkeypatch.setattr(
        running, "rounds", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("mat1 and mat2"))
    )

    with pytest.raises(RuntimeError, match="mat1"):
        running.run(faults.TINY, glyphs, runs=str(tmp_path))


def test_runs_lists_states_and_clears_what_is_left_over(glyphs, stopped, capsys):
    running.run(faults.TINY, glyphs, runs=str(stopped.parent))
    capsys.readouterr()

    assert __main__.main(["runs", "--runs", str(stopped.parent)]) == 0
    listed = capsys.readouterr().out
    assert f"{faults.SMALL.key}  interrupted" in listed
    assert "round 1 of 3, epoch 3" in listed
    assert f"{faults.TINY.key}  done" in listed

    with store.lock(stopped):
        assert __main__.main(["runs", "--runs", str(stopped.parent)]) == 0
        assert f"{faults.SMALL.key}  running" in capsys.readouterr().out
    __main__.main(["runs", "--runs", str(stopped.parent), "--clear", "interrupted", faults.TINY.key])
    assert not stopped.exists()
    assert (stopped.parent / f"{faults.TINY.key}.json").exists()
    assert not (stopped.parent / faults.TINY.key).exists()
    assert __main__.main(["runs", "--runs", str(stopped.parent), "--clear", "nobody"]) == 1


def test_bytes_written_by_a_run_of_the_papers_size_stay_under_ten_gigabytes():
    """Counted: an hour of training at 100 % data, a checkpoint every 20 seconds, three states each."""
    weights, other = 11_159_232, 14_730 + 9_600
    rounds, hour = 20, 3600 / 20
    per_round = [(3 * 4 * (weights * 0.8**k + other) + weights / 8) * hour / rounds for k in range(rounds)]
    kept = [2 * 4 * (weights * 0.8**k + other) + weights / 8 for k in range(rounds)]

    assert sum(per_round) + sum(kept) < 10e9


def test_a_run_without_momentum_goes_on_too(glyphs, tmp_path, monkeypatch):
    config, inner = faults.SMALL.replace(momentum=0.0), checkpoints.Checkpoints.save

    def save(self, *rest):
        inner(self, *rest)
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.Checkpoints, "save", save)
        with pytest.raises(Stop):
            running.run(config, glyphs, runs=str(tmp_path), every=0)
    running.run(config, glyphs, runs=str(tmp_path))

    assert __main__.state(tmp_path / config.key)[0] == "done"


def test_a_run_does_not_go_on_with_other_images(glyphs, stopped):
    other = dataclasses.replace(glyphs, facts=dataclasses.replace(glyphs.facts, sha256="0" * 64))

    with pytest.raises(Damaged, match="begun on other images of the same name"):
        running.run(faults.SMALL, other, runs=str(stopped.parent))
    assert len(list(stopped.glob("checkpoint-*"))) == 2


def test_a_run_resumed_in_another_precision_says_so_for_ever(glyphs, stopped, capsys):
    running.run(faults.SMALL, glyphs, runs=str(stopped.parent), precision="bf16")

    assert "NOTE precision was fp32 and is bf16" in capsys.readouterr().out
    assert record.load(faults.SMALL, str(stopped.parent)).made["exact"] is False


def test_what_a_kill_leaves_is_cleared_by_the_next_start(glyphs, tmp_path):
    running.run(faults.TINY, glyphs, runs=str(tmp_path))
    folder = tmp_path / faults.TINY.key
    tickets = {path.name for path in folder.glob("round-*")}
    for name in (
        "checkpoint-000007.safetensors",
        "round-09.safetensors",
        f"../.{faults.TINY.key}.json.0123abcd",
    ):
        (folder / name).write_bytes(b"half")
    running.run(faults.TINY, glyphs, runs=str(tmp_path))

    assert not list(tmp_path.glob(".*")) and not list(folder.glob("checkpoint-*"))
    assert {path.name for path in folder.glob("round-*")} == tickets


def test_clearing_touches_nothing_but_runs(tmp_path, capsys):
    precious = tmp_path / "holiday-pictures" / "beach.jpg"
    precious.parent.mkdir()
    precious.write_text("x")

    assert __main__.main(["runs", "--runs", str(tmp_path), "--clear", "interrupted"]) == 1
    assert precious.exists()


def test_one_bad_run_does_not_hide_the_others(glyphs, tmp_path, capsys):
    running.run(faults.TINY, glyphs, runs=str(tmp_path))
    (tmp_path / ("0" * 16)).mkdir()
    (tmp_path / ("0" * 16) / "diverged.json").write_text("{")

    assert __main__.main(["runs", "--runs", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"{'0' * 16}  damaged" in said and f"{faults.TINY.key}  done" in said


def test_a_waiting_writer_gets_the_lock_when_it_is_let_go_and_never_a_cleared_one(tmp_path):
    folder = tmp_path / "run"
    holder = faults.forked(lambda: _hold_then_clear(folder))
    faults.time.sleep(0.3)
    with store.lock(folder, wait=5):
        assert store.is_locked(folder)
        with pytest.raises(RunBusy), store.lock(folder, wait=0):
            pass
    assert faults.ended(holder) == 0


def _hold_then_clear(folder):
    with store.lock(folder):
        faults.time.sleep(1)
        store.remove(folder)


def test_a_lost_gpu_and_a_full_one_are_told_apart(glyphs):
    words = r"illegal memory access.*run the same command again"
    with pytest.raises(running.DeviceLost, match=words), running.device_errors(faults.TINY, "cuda"):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    words = "no memory left on cuda at batch size 20"
    with pytest.raises(OutOfMemory, match=words), running.device_errors(faults.TINY, "cuda"):
        raise RuntimeError("CUDA error: out of memory")


def test_a_disk_without_a_byte_left_is_told_before_training(glyphs, tmp_path):
    assert faults.disks([0], glyphs) == (1, 1, 1)
