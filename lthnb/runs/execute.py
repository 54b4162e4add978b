"""One run, from its configuration to its record: resumed, measured, its tickets kept."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lthnb.config import RunConfig, stream
from lthnb.images.dataset import DataError, Source
from lthnb.images.splits import Data, load
from lthnb.runs import machine, record
from lthnb.runs.checkpoint import Checkpoints, checkpoint_seconds
from lthnb.runs.choice import choices
from lthnb.runs.files import Damaged, clean, lock, set_aside, told, write
from lthnb.runs.kept import lost, put_on_record, tidy, wanted
from lthnb.runs.machine import NotCaptured, Settings, device_errors
from lthnb.runs.queue import same_images
from lthnb.runs.record import Record
from lthnb.runs.ticket import Ticket, own_ticket, ticket_path
from lthnb.training import imp
from lthnb.training.imp import Pass, is_round
from lthnb.training.masks import CONTROLS, Example, Masks, survivors
from lthnb.training.networks import Architecture, prunable
from lthnb.training.step import Diverged

BUSY = 0.5  # seconds to wait for a run that another process holds; a sweep tries it again later


def execute(
    config: RunConfig,
    source: Source,
    settings: Settings,
    *,
    every: float | None = None,
    again: bool = False,
) -> Iterator[int]:
    """Run iterative magnitude pruning, or go on where it was killed; yield the epochs done, of all trainings.

    ``runs/KEY/`` holds the lock, the checkpoints while it runs, and a ticket of every round: that of round 0,
    of the paper's round and of the one chosen on val with their weights, the others as masks alone.
    ``runs/KEY.json`` is written last and makes the run finished.

    Args:
        every: seconds between checkpoints, at least; None: ``LTHNB_CHECKPOINT_SECONDS``, or as the device
            has it.
        again: make the tickets of a run that is on record once more, and leave its record alone.

    Raises:
        MissingRun: the run that this one requires is not on record (``queue.missing`` puts it first).
        DataError: the images are not those that the configuration names.
        TicketError: a ticket of the required run is missing or damaged (``sweep.work`` makes it again).
        RunBusy, DiskFull, OutOfMemory, DeviceLost, NotCaptured, Diverged: the last checkpoint is whole, the
            same command goes on.
    """
    machine.set_determinism()
    folder = record.folders(settings.runs)[0] / config.key
    with lock(folder, wait=BUSY), told(folder):
        clean(folder)
        (folder / "diverged.json").unlink(missing_ok=True)
        try:
            with device_errors(config, settings.chosen_device):
                finished = whole(folder.with_suffix(".json"))  # by another process, or killed right after
                if finished and not again:
                    tidy(folder, config, finished.rounds)
                    return
                execution = Execution.prepare(config, source, settings, folder, every)
                execution.again = again
                yield from execution.epochs()
                execution.finish()
        except Diverged as error:
            write(folder / "diverged.json", json.dumps({"message": str(error)}).encode())
            raise


@dataclass
class Execution:
    """What the steps of one run share."""

    config: RunConfig
    source: Source
    data: Data
    folder: Path
    device: str
    precision: str
    architecture: Architecture
    checkpoints: Checkpoints
    required: Record | None  # of the run that this one requires
    rows: list[dict[str, Any]] = field(default_factory=list)  # of the rounds that are complete
    captured: bool = False  # whether its steps were replays of a CUDA graph
    again: bool = False  # whether only its tickets are wanted
    demanding: bool = False  # whether it stops where a step is not captured

    @classmethod
    def prepare(
        cls, config: RunConfig, source: Source, settings: Settings, folder: Path, every: float | None
    ) -> Execution:
        """Draw the images and find what is required; ``DataError`` if they are others than the run names."""
        if source.info.name != config.data.name:
            raise DataError(
                f"{config.slug} is a run on {config.data.name}, the images are {source.info.name}"
            )
        device = settings.chosen_device
        data = load(source, config.data, config.seed, device)
        required = config.requires and record.load(config.requires, settings.runs, published=True)
        if required:
            same_images([required], {source.info.name: source.info.sha256})
        architecture = imp.architecture_of(config, data)
        precision = settings.precision_at(architecture.side)
        mark = machine.fingerprint(device, precision) | {"images": source.info.sha256}
        if every is None:
            every = checkpoint_seconds(device)
        return cls(
            config=config,
            source=source,
            data=data,
            folder=folder,
            device=device,
            precision=precision,
            architecture=architecture,
            checkpoints=Checkpoints(folder, config.key, mark, every),
            required=required,
            demanding=settings.captured and device == "cuda",
        )

    def epochs(self) -> Iterator[int]:
        """Train what is left; keep a row and a ticket of every round, and a checkpoint now and then."""
        model = self.architecture.empty()
        saved = None
        if loaded := self.checkpoints.load(model):
            saved, notes = loaded
            self.rows = notes["rows"]
            self.captured = notes.get("captured", False)
            print(f"seed {self.config.seed}: going on in round {saved.index} after epoch {saved.epoch}")
        settings = {"precision": self.precision, "masks_of": self.masks_of()}
        for current in imp.passes(self.config, self.data, saved=saved, **settings):
            self.captured = current.step.captured or (self.captured and not current.step.failure)
            if self.demanding and current.step.failure:
                raise NotCaptured(
                    f"the step is not captured ({current.step.failure}), and runs at paper scale would take "
                    "several times as long: mend the installation of torch, or run with --profile demo"
                )
            if self.checkpoints.due():  # before the row of a complete pass: resumed, it is complete once more
                about = {"config": dataclasses.asdict(self.config), "captured": self.captured}
                self.checkpoints.save(current, {"rows": self.rows, **about})
            if current.complete and is_round(self.config, current.index):
                self.rows.append(self.row(current))
                self.keep_ticket(current)
            yield imp.epochs_done(self.config, current.index, current.epoch)

    def finish(self) -> None:
        """Choose a round and write the record, unless there is one."""
        sizes = {name: weight.numel() for name, weight in prunable(self.architecture.empty()).items()}
        made = machine.made_by(
            self.device, self.precision, self.checkpoints.spent(), self.checkpoints.exact
        ) | {"step": "captured" if self.captured else "eager"}
        finished = Record(self.config, self.about_data(), sizes, self.rows, choices(self.rows), made)
        put_on_record(finished, self.folder, self.again)
        tidy(self.folder, self.config, self.rows)
        if gone := lost(self.folder, self.config, self.rows):
            key = self.config.key
            advice = f"remove {key}.json and run the same command to make them again"
            print(f"NOTE the tickets of rounds {gone} of {key} were lost while it ran; {advice}")

    def masks_of(self) -> Callable[[int], Masks] | None:
        """The masks of a control by round, from what its ticket's run kept; None for other runs."""
        if self.config.prune.control == "none":
            return None
        control = CONTROLS[self.config.prune.control]
        model = self.architecture.empty()
        layers = list(self.required.prunable)
        kept = {row["round"]: dict(zip(layers, row["kept"], strict=True)) for row in self.required.rounds}
        folder = self.folder.with_name(self.required.config.key)

        def masks(index: int) -> Masks:
            example = Example(kept[index], lambda: own_ticket(ticket_path(folder, index)).masks)
            generator = stream(self.config.seed, f"{self.config.prune.control} masks")
            return control.masks(model, example, generator)

        return masks

    def row(self, current: Pass) -> dict[str, Any]:
        """What the record tells of a round; of a refit, val as its choosing run counted it."""
        history = current.history
        losses = [float(f"{loss:.3g}") for loss in history.losses]
        evaluated = [{"epochs": done, **right} for done, right in history.correct.items()]
        row = {
            "round": current.index,
            "kept": list(survivors(current.masks).values()),
            "correct": dict(history.correct[max(history.correct)]),
            "total": {name: len(split) for name, split in self.data.splits.items()},
            "loss": losses[-1],
            "seconds": {name: round(value, 2) for name, value in history.seconds.items()},
            "curve": {"loss": losses, "correct": evaluated},
        }
        if self.config.data.split == "refit":
            chosen = self.required.rounds[current.index]
            row["correct"]["val"] = chosen["correct"]["val"]
            row["total"]["val"] = chosen["total"]["val"]
        return row

    def keep_ticket(self, current: Pass) -> None:
        """Keep the masks; of round 0, the paper's round and the best round on val so far the weights too."""
        states = {"rewind": current.rewind, "trained": current.model.state_dict()}
        choosing = self.required.rounds if self.config.data.split == "refit" else self.rows
        if current.index not in wanted(self.config, choosing):
            if self.config.prune.control != "none":
                return  # its masks can be drawn again
            states = {}
        about = {
            "key": self.config.key,
            "round": current.index,
            "data": self.source.info.name,
            "mean": self.data.mean.flatten().tolist(),
            "std": self.data.std.flatten().tolist(),
        }
        held = {name: state for name, state in states.items() if state}
        Ticket(self.architecture, current.masks, held, about).save(ticket_path(self.folder, current.index))

    def about_data(self) -> dict[str, Any]:
        """What the record tells of its images."""
        counts = {
            name: split.labels.bincount(minlength=len(self.data.classes)).tolist()
            for name, split in self.data.splits.items()
        }
        return {
            **dataclasses.asdict(self.source.info),
            "classes": list(self.data.classes),
            "note": self.source.note,
            "counts": counts,
            "mean": [round(value, 5) for value in self.data.mean.flatten().tolist()],
            "std": [round(value, 5) for value in self.data.std.flatten().tolist()],
        }


def whole(path: Path) -> Record | None:
    """The record at a path, if there is one; a damaged one is set aside."""
    if os.path.lexists(path):
        try:
            return record.read(path)
        except Damaged as error:
            set_aside(path, error)
    return None
