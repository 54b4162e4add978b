"""The state of a run on disk, so that a killed run goes on and ends with the same bits."""

import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from lthnb.config import ParameterError
from lthnb.runs.files import Damaged, set_aside
from lthnb.runs.packed import TicketError, pack, read_packed, unpack, write_packed
from lthnb.training.imp import Pass, Saved
from lthnb.training.loop import History

EVERY = {"cpu": 20.0, "cuda": 45.0}  # seconds between checkpoints, at least


def checkpoint_seconds(device: str) -> float:
    """Seconds between checkpoints: what ``LTHNB_CHECKPOINT_SECONDS`` says, else what the device has."""
    said = os.environ.get("LTHNB_CHECKPOINT_SECONDS")
    if said is None:
        return EVERY[device]
    with suppress(ValueError):
        if 0 <= float(said) < math.inf:
            return float(said)
    raise ParameterError(f"LTHNB_CHECKPOINT_SECONDS must be a number from 0 on, got {said!r}")


@dataclass
class Checkpoints:
    """The newest two checkpoints of a run; one at the first epoch end ``every`` seconds after the last."""

    folder: Path
    key: str
    fingerprint: dict[str, Any]
    every: float = 20.0
    exact: bool = True  # False once the run went on under another fingerprint
    before: float = 0.0  # seconds spent by earlier processes

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self.last = self.began

    def paths(self) -> list[Path]:
        """The checkpoints in the folder, newest first; files with other names are nobody's."""
        named = self.folder.glob("checkpoint-*.safetensors")
        return sorted((path for path in named if number(path) >= 0), key=number, reverse=True)

    def spent(self) -> float:
        """Seconds of this process and of those that were killed."""
        return self.before + time.monotonic() - self.began

    def due(self) -> bool:
        """Whether the last one is old enough."""
        return time.monotonic() - self.last >= self.every

    def save(self, current: Pass, notes: dict[str, Any]) -> None:
        """Write the next checkpoint, then drop all but the newest two.

        Args:
            notes: what else the run has to know when it goes on; JSON.
        """
        history = current.history
        progress = {
            "round": current.index,
            "epoch": current.epoch,
            "losses": history.losses,
            "correct": history.correct,
            "seconds": history.seconds,
            "spent": self.spent(),
            **notes,
        }
        states = {
            "model": current.model.state_dict(),
            "momentum": current.step.momentum(),
            "rewind": current.rewind,
        }
        older = self.paths()
        newest = number(older[0]) if older else -1
        about = {"key": self.key, "fingerprint": self.fingerprint, "exact": self.exact, "progress": progress}
        path = self.folder / f"checkpoint-{newest + 1:06}.safetensors"
        write_packed(path, pack(current.masks, states), about)
        for old in older[1:]:
            old.unlink()
        self.last = time.monotonic()

    def load(self, model: nn.Module) -> tuple[Saved, dict[str, Any]] | None:
        """Read the newest whole checkpoint of this run, if there is one; say when a newer one is damaged.

        Returns:
            Where the run goes on, and the notes that it was saved with.
        """
        for path in self.paths():
            try:
                packed, about = read_packed(path)
                if about["key"] != self.key:
                    raise TicketError(f"it belongs to run {about['key']}")
                masks, states = unpack(packed, model)
                progress = about["progress"]
                correct = {int(done): right for done, right in progress["correct"].items()}
                history = History(progress["losses"], correct, progress["seconds"])
                saved = Saved(progress["round"], progress["epoch"], history, masks, states)
            except (ValueError, KeyError, TypeError, AttributeError) as error:  # sealed is not yet sound
                set_aside(path, error)
                continue
            self._compare(about)
            return saved, progress
        return None

    def _compare(self, about: dict[str, Any]) -> None:
        """Go on under another fingerprint, but say so; never on other images."""
        self.exact = about["exact"]
        self.before = about["progress"]["spent"]
        before = about["fingerprint"]
        if before["images"] != self.fingerprint["images"]:
            raise Damaged(
                f"{self.key} was begun on other images of the same name; clear it or bring those back"
            )
        for name, now in self.fingerprint.items():
            was = before.get(name)
            if was != now:
                self.exact = False
                print(f"NOTE {name} was {was} and is {now}: the run goes on, its last bits will differ")

    def clear(self) -> None:
        """Remove the checkpoints of a run that is finished."""
        for path in [*self.paths(), *self.folder.glob("checkpoint-*.damaged*")]:
            if not path.is_dir():  # a folder is none of ours
                path.unlink()


def number(path: Path) -> int:
    """The number in the name of a checkpoint; -1 if it has none."""
    digits = path.stem.partition("-")[2]
    return int(digits) if digits.isdecimal() else -1
