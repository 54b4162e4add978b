"""The state of a run on disk, so that a killed run goes on and ends with the same bits."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from lthnb.masks import Masks
from lthnb.store import Damaged, clean
from lthnb.tickets import State, TicketError, pack, read_packed, unpack, write_packed


@dataclass
class Saved:
    """A checkpoint that was read; ``states`` are model, momentum and rewind."""

    progress: dict[str, Any]
    masks: Masks
    states: dict[str, State]


class Checkpoints:
    """The newest two checkpoints of a run; one at the first epoch end ``every`` seconds after the last."""

    def __init__(self, folder: Path, key: str, fingerprint: dict[str, Any], every: float = 20.0) -> None:
        self.folder, self.key, self.fingerprint, self.every = folder, key, fingerprint, every
        self.exact, self.seconds = True, 0.0
        self.last = self.began = time.monotonic()
        self.before = 0.0  # seconds spent by earlier processes
        self.notes: dict[str, Any] = {}  # what the owner of the run adds to every checkpoint

    def paths(self) -> list[Path]:
        """The checkpoints in the folder, newest first."""
        return sorted(self.folder.glob("checkpoint-*.safetensors"), reverse=True)

    def spent(self) -> float:
        """Seconds of this process and of those that were killed."""
        return self.before + time.monotonic() - self.began

    def due(self) -> bool:
        return time.monotonic() - self.last >= self.every

    def save(self, progress: dict[str, Any], masks: Masks, states: dict[str, State]) -> None:
        """Write the next checkpoint, then drop all but the newest two."""
        began, found = time.monotonic(), self.paths()
        number = int(found[0].stem.partition("-")[2]) + 1 if found else 0
        about = {"key": self.key, "fingerprint": self.fingerprint, "exact": self.exact}
        about["progress"] = {**progress, **self.notes, "spent": self.spent()}
        path = self.folder / f"checkpoint-{number:06}.safetensors"
        write_packed(path, pack(masks, states), about)
        for old in found[1:]:
            old.unlink()
        self.last = time.monotonic()
        self.seconds += self.last - began

    def load(self, model: nn.Module) -> Saved | None:
        """Read the newest whole checkpoint of this run, if there is one; say when a newer one is damaged."""
        clean(self.folder)
        for path in self.paths():
            try:
                packed, about = read_packed(path)
                if about["key"] != self.key:
                    raise TicketError(f"it belongs to run {about['key']}")
                saved = Saved(about["progress"], *unpack(packed, model))
            except (Damaged, TicketError, KeyError) as error:
                print(f"NOTE {path.name} is set aside, going on from the one before: {error}")
                path.rename(path.with_suffix(".damaged"))
                continue
            self._compare(about)
            return saved
        return None

    def _compare(self, about: dict[str, Any]) -> None:
        self.exact, self.before = about["exact"], about["progress"]["spent"]
        before = about["fingerprint"]
        if before["images"] != self.fingerprint["images"]:
            raise Damaged(
                f"{self.key} was begun on other images of the same name; clear it or bring those back"
            )
        for name in sorted(before.keys() | self.fingerprint.keys()):
            was, now = before.get(name), self.fingerprint.get(name)
            if was != now:
                self.exact = False
                print(f"NOTE {name} was {was} and is {now}: the run goes on, its last bits will differ")

    def clear(self) -> None:
        """Remove the checkpoints of a run that is finished, and what a killed writer left."""
        clean(self.folder)
        for path in [*self.paths(), *self.folder.glob("*.damaged")]:
            path.unlink()
