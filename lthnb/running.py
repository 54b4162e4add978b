"""One run, from its configuration to its record: resumed, measured, its tickets kept."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from lthnb import record, stats, tickets
from lthnb.checkpoints import Checkpoints, Saved
from lthnb.config import RunConfig, UserError, stream
from lthnb.costs import epochs, settle
from lthnb.data import Data, load
from lthnb.folders import Source
from lthnb.imp import Round, rounds, trainings
from lthnb.masks import Masks, drawn, kept, prunable
from lthnb.parameters import Progress
from lthnb.record import Record
from lthnb.step import Diverged
from lthnb.store import Damaged, lock, write

EVERY = float(os.environ.get("LTHNB_CHECKPOINT_SECONDS", "20"))
NO_ROOM = re.compile("out of memory|allocate memory|not enough memory", re.IGNORECASE)


class OutOfMemory(UserError, MemoryError):
    """The device has no room for a batch."""


class DeviceLost(UserError, RuntimeError):
    """A GPU stopped working in the middle of a run."""


def _behind(config: RunConfig, progress: dict[str, Any]) -> int:
    """Epochs that a checkpoint saves doing again."""
    spans = trainings(config)
    done = progress["epoch"] - spans[progress["round"]][0]
    done += sum(stop - start for index, (start, stop) in spans.items() if index < progress["round"])
    return done + (epochs(config) // 2 if config.data.split == "refit" and progress["phase"] == "all" else 0)


def run(
    config: RunConfig,
    source: Source,
    *,
    device: str = "cpu",
    precision: str = "fp32",
    runs: str = "",
    progress: Progress | None = None,
    every: float = EVERY,
    again: bool = False,
) -> Record:
    """Run iterative magnitude pruning, or go on where it was killed; leave a record and tickets.

    ``runs/KEY/`` holds the lock, the checkpoints while it runs, and a ticket of every round: that of round 0,
    of the paper's round and of the one chosen on val with their weights, the others as masks alone.
    ``runs/KEY.json`` is written last and makes the run finished. ``again`` makes the tickets of a run that is
    on record once more and leaves its record alone. A control runs the ticket it is compared with first, if
    what it needs of it is missing.

    Raises:
        RunBusy, DiskFull, OutOfMemory, DeviceLost, Diverged: the last checkpoint is whole, the same command
        goes on.
    """
    settle()
    folder = record.folders(runs)[0] / config.key
    with lock(folder):
        for left in folder.parent.glob(f".{config.key}.json.*"):
            left.unlink(missing_ok=True)
        this = _Run(config, source, device, precision, folder, progress, every)
        on_record = folder.with_suffix(".json").exists()  # by another process, or it was killed right after
        if on_record and not again:
            return this.tidy(record.load(config, runs))
        (folder / "diverged.json").unlink(missing_ok=True)
        try:
            with device_errors(config, device):
                return this.finish()
        except Diverged as error:
            write(folder / "diverged.json", json.dumps({"message": str(error)}).encode())
            raise


@contextmanager
def device_errors(config: RunConfig, device: str) -> Iterator[None]:
    """Say what to do when the device has no room (``OutOfMemory``) or is gone (``DeviceLost``)."""
    whole, size = "the last checkpoint is whole", config.train.batch_size
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or NO_ROOM.search(str(error)):
            advice = "close other programs and run again, or choose a smaller width, side or batch_size"
            raise OutOfMemory(
                f"no memory left on {device} at batch size {size}; {whole}: {advice}"
            ) from error
        if "CUDA error" in str(error):
            raise DeviceLost(f"{device} failed ({error}); {whole}: run the same command again") from error
        raise


def ticket_path(folder: Path, index: int) -> Path:
    """Where the folder of a run holds the ticket of a round."""
    return folder / f"round-{index:02}.safetensors"


class _Run:
    """What the phases of one run share. A ``refit`` set has two: one chooses the round, one trains on all."""

    def __init__(self, config, source, device, precision, folder, progress, every) -> None:  # types: see run
        self.config, self.source, self.device, self.precision = config, source, device, precision
        self.folder, self.progress, self.rows = folder, progress, {"choosing": [], "all": []}
        self.captured, self.control = False, config.prune.control
        mark = record.fingerprint(device, precision) | {"images": source.facts.sha256}
        self.checkpoints = Checkpoints(folder, config.key, mark, every)
        self.checkpoints.notes |= {"rows": self.rows, "config": dataclasses.asdict(config)}
        facts, side = source.facts, config.data.side or source.facts.side
        self.shape = tickets.Shape(config.network, facts.channels, side, facts.classes)

    def finish(self) -> Record:
        """Train what is left, choose, and write the record."""
        saved = self.checkpoints.load(self.shape.empty())
        if saved:
            self.rows = self.checkpoints.notes["rows"] = saved.progress["rows"]
            done, index = saved.progress["epoch"], saved.progress["round"]
            print(f"seed {self.config.seed}: going on in round {index} after epoch {done}")
            if self.progress:
                self.progress.total -= _behind(self.config, saved.progress)
        phases = ["choosing", "all"] if self.config.data.split == "refit" else ["all"]
        for phase in phases[phases.index(saved.progress["phase"]) :] if saved else phases:
            data = load(self.source, self.config.data, self.config.seed, self.device, phase == "choosing")
            self.checkpoints.notes["phase"] = phase
            self._phase(phase, data, saved if saved and saved.progress["phase"] == phase else None)
        rows, sizes = self.rows["all"], {n: w.numel() for n, w in prunable(self.shape.empty()).items()}
        who = record.made(self.device, self.precision, self.checkpoints.spent(), self.checkpoints.exact)
        who["step"] = "captured" if self.captured else "eager"
        made = Record(self.config, self._facts(data), sizes, rows, _choices(rows), who)
        if not self.folder.with_suffix(".json").exists():
            record.save(made, str(self.folder.parent))
        return self.tidy(made)

    def tidy(self, made: Record) -> Record:
        """Remove what a finished run needs no more: checkpoints, and tickets that looked best for a while."""
        self.checkpoints.clear()
        for path in self.folder.glob("round-*.safetensors"):
            try:
                ticket = tickets.load(path)
            except (Damaged, tickets.TicketError):
                path.unlink()
                continue
            if ticket.states and ticket.about["round"] not in self._wanted(made.rounds):
                tickets.save(path, dataclasses.replace(ticket, states={}))
        return made

    def _phase(self, phase: str, data: Data, saved: Saved | None) -> None:
        settings = {"precision": self.precision, "progress": self.progress, "checkpoints": self.checkpoints}
        settings["masks_of"] = None if self.control == "none" else self._control()
        for each in rounds(self.config, data, saved=saved, **settings):
            row, self.captured = _row(each, data), each.trained.captured
            if phase == "all" and self.rows["choosing"]:
                _add_choice(row, self.rows["choosing"][each.index])
            self.rows[phase].append(row)
            if phase == "all":
                self._keep_ticket(each, data)

    def _control(self) -> Callable[[int], Masks]:
        """The masks of a control by round, from what its parent kept in each layer or from its tickets."""
        parent, runs, model = self.config.parent, str(self.folder.parent), self.shape.empty()
        settings = {"device": self.device, "precision": self.precision, "runs": runs}
        tree = self.folder.with_name(parent.key)
        try:
            made = record.load(parent, runs)
        except record.MissingRun:
            known = [path for folder in record.folders() if (path := folder / f"{parent.key}.json").exists()]
            made = record.read(known[0]) if known else run(parent, self.source, **settings)
        if self.control == "reinit":
            if not all(ticket_path(tree, index).exists() for index in trainings(self.config)):
                run(parent, self.source, **settings, again=True)
            return lambda index: tickets.load(ticket_path(tree, index)).masks
        counts = {row["round"]: dict(zip(made.prunable, row["kept"], strict=True)) for row in made.rounds}

        def draw(index: int) -> Masks:
            kept, generator = counts[index], stream(self.config.seed, f"{self.control} masks")
            return drawn(model, kept if self.control == "shuffled" else sum(kept.values()), generator)

        return draw

    def _wanted(self, rows: list[dict[str, Any]]) -> set[int | None]:
        density = [(1 - self.config.prune.rate) ** index for index in range(self.config.prune.rounds + 1)]
        return {0, stats.paper_round(self.config.data.images, density), stats.chosen_on_val(rows)}

    def _keep_ticket(self, each: Round, data: Data) -> None:
        """Keep the masks; of round 0, the paper's round and the best round on val so far the weights too."""
        about = {"key": self.config.key, "round": each.index, "data": self.source.facts.name}
        about |= {"mean": data.mean.flatten().tolist(), "std": data.std.flatten().tolist()}
        states = {"rewind": each.rewind, "trained": each.model.state_dict()}
        if each.index not in self._wanted(self.rows["choosing"] or self.rows["all"]):
            if self.control != "none":
                return  # its masks can be drawn again
            states = {}
        ticket = tickets.Ticket(self.shape, each.masks, {n: s for n, s in states.items() if s}, about)
        tickets.save(ticket_path(self.folder, each.index), ticket)

    def _facts(self, data: Data) -> dict[str, Any]:
        number, splits = len(data.classes), data.splits.items()
        facts = {
            **dataclasses.asdict(self.source.facts),
            "classes": list(data.classes),
            "note": self.source.note,
        }
        facts["counts"] = {name: split.labels.bincount(minlength=number).tolist() for name, split in splits}
        for name, value in (("mean", data.mean), ("std", data.std)):
            facts[name] = [round(each, 5) for each in value.flatten().tolist()]
        return facts


def _row(each: Round, data: Data) -> dict[str, Any]:
    trained = each.trained
    evaluated = [{"epochs": done, **right} for done, right in trained.correct.items()]
    curve = {"loss": [float(f"{loss:.3g}") for loss in trained.losses], "correct": evaluated}
    return {
        "round": each.index,
        "kept": list(kept(each.masks).values()),
        "correct": dict(trained.correct[max(trained.correct)]),
        "total": {name: len(split) for name, split in data.splits.items()},
        "loss": curve["loss"][-1],
        "seconds": {name: round(value, 2) for name, value in trained.seconds.items()},
        "curve": curve,
    }


def _add_choice(row: dict[str, Any], first: dict[str, Any]) -> None:
    """Give a row of the run on all images the val counts of the run that chose the round."""
    row["correct"]["val"], row["total"]["val"] = first["correct"]["val"], first["total"]["val"]
    row["seconds"] = {
        name: round(value + first["seconds"][name], 2) for name, value in row["seconds"].items()
    }


def _choices(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Which round each rule takes; for val its size and the standard error of an accuracy measured on it."""
    index, choices = stats.chosen_on_val(rows), {"val": None, "test": stats.best_on_test(rows)}
    if index is not None:
        row = next(row for row in rows if row["round"] == index)
        total = row["total"]["val"]
        accuracy = row["correct"]["val"] / total
        error = math.sqrt(accuracy * (1 - accuracy) / total)
        choices["val"] = {"round": index, "images": total, "standard_error": round(error, 4)}
    return choices
