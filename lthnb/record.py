"""A finished run as a JSON file: what was run, what came out of every round, and who made it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lthnb.config import ROOT, RunConfig, UserError
from lthnb.store import write

SCHEMA = 1
SPLITS = ("train", "val", "test")


class MissingRun(UserError, FileNotFoundError):
    """A run that a page needs was never made."""


class RecordDamaged(UserError, ValueError):
    """A file among the records is not a record."""


@dataclass(frozen=True)
class Record:
    """One run. ``rounds`` holds a row per round.

    A row: ``round``, ``kept`` {layer: weights}, ``correct`` and ``total`` {split: images}, ``loss``,
    ``seconds`` {train, evaluate}, ``curve`` {loss: [per epoch], correct: [{epochs, split: images}]}.
    """

    config: RunConfig
    data: dict[str, Any]  # name, sha256, classes, channels, side, pool, counts per class, mean, std
    prunable: dict[str, int]  # layer -> weights that may be pruned
    rounds: list[dict[str, Any]]
    chosen: dict[str, Any]  # rule -> round
    made: dict[str, Any]

    def accuracy(self, split: str) -> list[float]:
        """Accuracy of each round at its last epoch, as fractions; nan where the split is empty."""
        return [
            row["correct"][split] / row["total"][split] if row["total"][split] else float("nan")
            for row in self.rounds
        ]

    @property
    def density(self) -> list[float]:
        """Fraction of the prunable weights that each round was trained with."""
        return [sum(row["kept"].values()) / sum(self.prunable.values()) for row in self.rounds]

    def to_json(self) -> bytes:
        document = {"schema": SCHEMA, "key": self.config.key, **dataclasses.asdict(self)}
        return (json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n").encode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Record:
        """Rebuild a record; unknown fields are refused, a newer schema too."""
        document = json.loads(text)
        schema, key = document.pop("schema"), document.pop("key")
        if schema != SCHEMA:
            raise ValueError(f"schema {schema} is not {SCHEMA}, the one this version reads")
        record = cls(**{**document, "config": RunConfig.from_dict(document["config"])})
        if record.config.key != key:
            raise ValueError(f"its configuration has key {record.config.key}, the record says {key}")
        return record


def folders(runs: str = "") -> list[Path]:
    """Where records are read: ``runs``, or runs/ and then book/runs/. The first is written to."""
    return [Path(runs)] if runs else [ROOT / "runs", ROOT / "book" / "runs"]


def shown(path: Path) -> str:
    """A path as it may be printed: relative to the repository where it lies inside."""
    return str(path.resolve().relative_to(ROOT)) if path.resolve().is_relative_to(ROOT) else str(path)


def save(record: Record, runs: str = "") -> Path:
    """Write a record whole or not at all; return its path."""
    path = folders(runs)[0] / f"{record.config.key}.json"
    write(path, record.to_json())
    return path


def read(path: Path) -> Record:
    """Read one file; raise ``RecordDamaged`` when it is no record."""
    try:
        return Record.from_json(path.read_bytes())
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecordDamaged(f"{path.name} is not a record: {error}; remove it to run it again") from error


def locate(config: RunConfig, runs: str = "") -> Path:
    """Return the path of a record; raise ``MissingRun`` when it was never made."""
    for folder in folders(runs):
        if (path := folder / f"{config.key}.json").exists():
            return path
    raise MissingRun(f"{config.slug} ({config.key}.json) is not on record; pass -p train True to run it")


def load(config: RunConfig, runs: str = "") -> Record:
    """Read the record of ``config``; raise ``MissingRun`` or ``RecordDamaged``."""
    return read(locate(config, runs))


def load_all(runs: str = "") -> list[Record]:
    """Read every record at hand, in the order of their keys."""
    paths = {path.name: path for folder in reversed(folders(runs)) for path in folder.glob("*.json")}
    return [read(paths[name]) for name in sorted(paths) if name.count(".") == 1]


def made(device: str, precision: str, seconds: float) -> dict[str, Any]:
    """Tell who made a record: device, versions, code and date; never a path, a host or a user."""
    import numpy
    import torch

    on_gpu = device.startswith("cuda")
    code = hashlib.sha256(b"".join(path.read_bytes() for path in sorted((ROOT / "lthnb").glob("*.py"))))
    return {
        "device": torch.cuda.get_device_name(device)
        if on_gpu
        else f"cpu {torch.backends.cpu.get_cpu_capability()}",
        "precision": precision,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
        },
        "code": code.hexdigest()[:16],
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seconds": round(seconds, 1),
    }
