"""The way of a run on CUDA, on a pretended device where there is none: nothing mixed, nothing waited for."""

import dataclasses
import re
import shutil
from contextlib import nullcontext

import pytest
import torch
from helpers import small
from helpers.pretended import CAPTURING, DEVICE, LOST, OnGPU, pretended
from helpers.small import TINY, WIDER, remembered

from lthnb.config import stream
from lthnb.images import splits
from lthnb.images.dataset import arrays
from lthnb.runs import record, sweep
from lthnb.runs.execute import execute
from lthnb.runs.machine import DeviceLost, NotCaptured, Settings
from lthnb.runs.queue import Job, Queue, missing
from lthnb.runs.ticket import Ticket, ticket_path
from lthnb.runs.verify import check
from lthnb.training import imp, loop, masks, step
from lthnb.training.augment import augment
from lthnb.training.masks import CONTROLS
from lthnb.training.networks import build
from lthnb.training.starts import STARTS

RUN = WIDER.replace(epochs=3, batch_size=25, rounds=2, rewind_epoch=1, augment="rand+cutout")


@pytest.fixture
def gpu():
    """A machine with a pretended GPU."""
    with pretended() as device:
        yield device


REAL = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(params=["pretended", pytest.param("real", marks=REAL)])
def any_gpu(request):
    """A pretended GPU, and the real one where there is one."""
    with pretended() if request.param == "pretended" else nullcontext():
        yield request.param


def on_gpu(runs, precision="fp32"):
    return Settings(runs=str(runs), device="cuda", precision=precision)


def make(config, source, runs, *, stop=10**6, **rest):
    """Make a run on the device after the one it requires, or stop after some of its yields."""
    required = config.requires
    if required and not (runs / f"{required.key}.json").exists():
        make(required, source, runs)
    for count, _ in enumerate(execute(config, remembered(source), on_gpu(runs), **rest), 1):
        if count == stop:
            return None
    return record.load(config, str(runs))


def rounds_of(data, capture, monkeypatch, precision, config=RUN):
    """Weights, losses and right answers of every round, and the step that all of them took."""
    made = []

    def make_step(model, data, settings, precision):
        made.append(step.Step(model, data, settings, precision, capture))
        return made[0]

    monkeypatch.setattr(loop, "make_step", make_step)
    rounds = []
    for current in small.rounds(config, data, precision=precision):
        weights = {name: value.inner for name, value in loop.copy(current.model).items()}
        rounds.append((weights, current.history.losses, current.history.correct))
    return rounds, made[0]


@pytest.mark.parametrize(
    ("precision", "name"),
    [("fp32", "base"), ("fp32", "contrast"), ("fp32", "auto+cutout"), ("bf16", "rand+cutout")],
)
def test_replayed_steps_equal_eager_ones_over_rounds_and_tails(gpu, glyphs, monkeypatch, precision, name):
    config = RUN.replace(augment=name)
    data = splits.load(glyphs, config.data, 0, "cuda")
    eager, _ = rounds_of(data, None, monkeypatch, precision, config)
    replayed, used = rounds_of(data, step.graphed, monkeypatch, precision, config)

    assert sorted(used.replays) == [10, 25]  # captured, so nothing was waited for, brought or drawn
    assert [graph.replays for graph in gpu.graphs] == [14, 7]  # two batches and a tail an epoch, 7 epochs
    for (weights, losses, correct), (others, others_losses, others_correct) in zip(
        eager, replayed, strict=True
    ):
        assert (losses, correct) == (others_losses, others_correct)
        assert all(torch.equal(value, others[name]) for name, value in weights.items())


def test_an_epoch_waits_for_nothing(gpu, glyphs):
    data = splits.load(glyphs, RUN.data, 0, "cuda")
    model = build(imp.architecture_of(RUN, data), 0).to("cuda")
    one = loop.make_step(model, data, RUN.train)
    one.begin(masks.ones(model))
    ahead = loop._ahead(data, RUN.train, 0, range(2))
    loop._epoch(one, *ahead[0], RUN.train, 0)
    gpu.forget()
    loop._epoch(one, *ahead[1], RUN.train, 1)

    assert not gpu.waits
    assert not gpu.uploads
    assert not gpu.draws
    assert len(one.losses(60)) == 2
    assert gpu.waits.total() == 2  # whether all is finite, and the losses


def test_a_pass_waits_at_every_tenth_epoch_at_the_rewind_point_and_at_its_end(gpu, glyphs):
    config = RUN.replace(epochs=23, rounds=0, rewind_epoch=4, images=20, batch_size=20, evaluate_last=2)
    data = splits.load(glyphs, config.data, 0, "cuda")

    seen = [(one.epoch, len(one.history.losses)) for one in imp.passes(config, data)]

    assert seen == [(done, done) for done in (4, 10, 20, 22, 23)]


def test_a_hole_is_cut_on_the_device(gpu, glyphs):
    data = splits.load(glyphs, RUN.data, 0, "cuda")
    here = augment(data.train.images.cpu(), "base+cutout", [stream(0, "augment", 1)])
    gpu.forget()
    there = augment(data.train.images, "base+cutout", [stream(0, "augment", 1)])

    assert torch.equal(here, there.cpu())
    assert gpu.uploads.total() == 3  # places of the windows, coins, places of the holes


@pytest.mark.parametrize("stop", range(1, 7))
def test_a_run_goes_on_where_it_was_stopped(any_gpu, glyphs, tmp_path, monkeypatch, stop):
    monkeypatch.setitem(loop.SETTLED, "cuda", 1)  # a yield an epoch, to be stopped at each
    config = TINY.replace(rounds=2, epochs=3)
    whole = make(config, glyphs, tmp_path / "whole")
    make(config, glyphs, tmp_path / "cut", stop=stop, every=0)
    resumed = make(config, glyphs, tmp_path / "cut", every=0)

    assert counted(resumed) == counted(whole)
    assert resumed.made["exact"]
    for index in range(3):
        one, other = (
            Ticket.load(ticket_path(tmp_path / name / config.key, index)) for name in ("whole", "cut")
        )
        assert all(torch.equal(mask, other.masks[name]) for name, mask in one.masks.items())


def counted(made):
    return [(row["kept"], row["correct"], row["curve"]) for row in made.rounds]


@pytest.mark.parametrize("control", CONTROLS)
def test_controls_are_made_and_go_on(any_gpu, glyphs, tmp_path, monkeypatch, control):
    monkeypatch.setitem(loop.SETTLED, "cuda", 1)
    config = TINY.replace(control=control)
    whole = make(config, glyphs, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    (tmp_path / "cut" / f"{config.key}.json").unlink()
    make(config, glyphs, tmp_path / "cut", stop=1, every=0)

    assert counted(make(config, glyphs, tmp_path / "cut", every=0)) == counted(whole)


@pytest.mark.parametrize(
    "change",
    [
        {"split": "refit", "images": 100},
        {"label_noise": 0.2},
        {"side": 8, "init": "torchvision", "cutout": "as_released", "augment": "rand+cutout"},
        {"rewind": "as_released", "epochs": 3},
    ],
)
def test_every_kind_of_run_ends(any_gpu, glyphs, tmp_path, change):
    made = make(TINY.replace(**change), glyphs, tmp_path)

    assert made.made["device"].startswith("a pretended GPU") == (any_gpu == "pretended")
    assert made.made["step"] == "captured"


def test_a_long_tail_ends(any_gpu, tmp_path):
    labels = torch.arange(100) % 5
    images = torch.randint(0, 256, (100, 3, 16, 16), generator=stream(0, "test")).byte()
    few = arrays(
        "few", dict.fromkeys(("train", "test"), images), dict.fromkeys(("train", "test"), labels), (*"abcde",)
    )

    made = make(TINY.replace(name="few", long_tail=0.5), few, tmp_path)

    assert made.data["counts"]["train"] == [20, 16, 14, 11, 10]
    assert made.made["step"] == "captured"


@pytest.mark.parametrize("start", STARTS)
def test_networks_begin_with_the_weights_that_they_have_on_a_cpu(gpu, glyphs, start):
    config = TINY.replace(init=start)
    data = splits.load(glyphs, config.data, 0, "cuda")
    first = next(imp.passes(config.replace(epochs=2, lr=1e-30, weight_decay=0.0), data))
    drawn = build(imp.architecture_of(config, data), 0).state_dict()

    for name, value in first.model.state_dict().items():
        if "running" not in name and "tracked" not in name:
            assert torch.allclose(value.cpu(), drawn[name], rtol=0, atol=1e-20), name


def test_a_sweep_ends_with_the_device_and_goes_on_with_another(gpu, glyphs, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "remembered_source", lambda *_: glyphs)
    runs = [TINY.replace(seed=seed) for seed in range(3)]
    jobs = [Job(config, "glyphs", on_gpu(tmp_path)) for config in runs]
    make(runs[0], glyphs, tmp_path)
    gpu.breaks_after = gpu.operations.total() + 2000
    queue = Queue(missing(jobs))
    news = []
    with pytest.raises(DeviceLost, match="the last checkpoint is whole"):
        news.extend(sweep.one_by_one(queue))

    assert not (tmp_path / f"{runs[1].key}.json").exists()
    assert [job.key for job in queue.waiting] == [runs[2].key]  # not failed on a dead device
    gpu.breaks_after = None
    assert [one.what for one in sweep.one_by_one(Queue(missing(jobs))) if one.what != "epoch"] == [
        "finished"
    ] * 2


def test_verify_evaluates_on_the_device(gpu, glyphs, tmp_path, monkeypatch):
    monkeypatch.setattr("lthnb.runs.verify.open_source", lambda *_: glyphs)
    made = make(TINY, glyphs, tmp_path)
    monkeypatch.setattr(record, "folders", lambda runs="": [tmp_path])
    result = check(ticket_path(tmp_path / TINY.key, 0), on_gpu(tmp_path))

    assert result.holds, result.line
    assert f"{made.rounds[0]['correct']['test']} on record (the same machine)" in result.line


def test_a_failed_capture_is_told_with_what_led_to_it(gpu, glyphs, monkeypatch, capsys):
    plain = torch.nn.functional.cross_entropy

    def waiting(logits, labels):
        try:
            logits.sum().item()
        except RuntimeError as error:
            raise RuntimeError("the loss was looked at") from error
        return plain(logits, labels)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", waiting)
    data = splits.load(glyphs, TINY.data, 0, "cuda")
    rounds, used = rounds_of(data, step.graphed, monkeypatch, "fp32", TINY)

    assert not used.captured
    assert len(rounds) == 2
    assert f"which is slower: the loss was looked at, after: {CAPTURING}" in capsys.readouterr().out


def test_a_demand_for_a_captured_step_stops_with_the_cause(gpu, glyphs, tmp_path, monkeypatch):
    plain = torch.nn.functional.cross_entropy

    def waiting(logits, labels):
        return plain(logits, labels) + logits.sum().item() * 0

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", waiting)
    settings = dataclasses.replace(on_gpu(tmp_path), captured=True)

    with pytest.raises(NotCaptured, match=rf"the step is not captured \({re.escape(CAPTURING)}"):
        list(execute(TINY, remembered(glyphs), settings))


def test_the_pretended_device_refuses_what_cuda_refuses(gpu):
    here = torch.ones(3)
    there = here.to("cuda")
    for mixed in (
        lambda: here + there,
        lambda: here[there.long()],
        lambda: torch.cat([here, there]),
        lambda: there.numpy(),
        lambda: there.index_put_((torch.tensor([0, 1]),), here[:2]),
    ):
        with pytest.raises((RuntimeError, TypeError)):
            mixed()

    assert isinstance(there * torch.tensor(2.0), OnGPU)  # one number of the CPU may stand beside
    assert there[torch.tensor([0])].device.type == "cuda"
    gpu.forget()
    assert float(there.sum()) == 3
    assert gpu.waits.total() == 1


@pytest.mark.parametrize(
    "action",
    [
        lambda there: there.sum().item(),
        lambda there: there[there > 0],
        lambda there: there.cpu(),
        lambda there: there.add_(torch.ones(3).to("cuda")),
        lambda there: there.uniform_(),
        lambda there: there.fill_(1).add_(torch.tensor(1.0)),
    ],
)
def test_a_graph_under_capture_allows_no_waiting_bringing_drawing_or_frozen_numbers(gpu, action):
    there = torch.ones(3).to("cuda")

    with pytest.raises(RuntimeError), torch.cuda.graph(torch.cuda.CUDAGraph()):
        action(there)
    assert DEVICE.capturing is None


def test_a_graph_repeats_itself_on_the_same_tensors(gpu):
    value = torch.ones(3).to("cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        product = value * 2
        value.add_(product)
    graph.replay()

    assert value.cpu().tolist() == [9, 9, 9]
    assert product.cpu().tolist() == [6, 6, 6]


def test_a_dead_device_stays_dead(gpu):
    there = torch.ones(3).to("cuda")
    gpu.breaks_after = gpu.operations.total()
    for _ in range(2):
        with pytest.raises(RuntimeError, match=LOST):
            there + 1
