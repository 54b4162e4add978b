"""A finished run as a JSON file: what was run, what came out of every round, and who made it."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from lthnb.config import ROOT, RunConfig, UserError, host
from lthnb.runs import files
from lthnb.runs.files import Damaged

SCHEMA = 1
SPLITS = ("train", "val", "test")


class MissingRun(UserError, FileNotFoundError):
    """A run that a page needs was never made."""


@dataclass(frozen=True)
class Record:
    """One run. ``rounds`` holds a row per round.

    A row: ``round``, ``kept`` [weights of each prunable layer], ``correct`` and ``total`` {split: images},
    ``loss``, ``seconds`` {train, evaluate}, ``curve`` {loss: [epochs], correct: [{epochs, split: images}]}.
    """

    config: RunConfig
    data: dict[str, Any]  # name, sha256, classes, channels, side, pool, counts per class, mean, std
    prunable: dict[str, int]  # layer -> weights that may be pruned
    rounds: list[dict[str, Any]]
    chosen: dict[str, Any]  # rule -> round
    made: dict[str, Any]

    def accuracy(self, split: str) -> list[float]:
        """Accuracy of each round at its last epoch, as fractions; nan where the split is empty."""
        fractions = []
        for row in self.rounds:
            total = row["total"][split]
            fractions.append(row["correct"][split] / total if total else float("nan"))
        return fractions

    @property
    def density(self) -> list[float]:
        """Fraction of the prunable weights that each round was trained with."""
        return [sum(row["kept"]) / sum(self.prunable.values()) for row in self.rounds]

    def to_json(self) -> bytes:
        document = {"key": self.config.key, **asdict(self)}
        return files.sealed_json(SCHEMA, document)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Rebuild a record; unknown fields are refused, a newer schema too."""
        document = json.loads(text)
        document.pop("seal")
        schema = document.pop("schema")
        key = document.pop("key")
        if schema != SCHEMA:
            raise ValueError(f"schema {schema} is not {SCHEMA}, the one this version reads")
        record = cls(**{**document, "config": RunConfig.from_dict(document["config"])})
        if record.config.key != key:
            raise ValueError(f"its configuration has key {record.config.key}, the record says {key}")
        return record


def folders(runs: str = "") -> list[Path]:
    """Where records are read: ``runs``, or runs/ and then book/runs/; the first is written to.

    Relative paths begin at the repository. A book build sees the published records only.
    """
    if runs:
        return [ROOT / Path(runs).expanduser()]
    published = ROOT / "book" / "runs"
    return [published] if host() == "book" else [ROOT / "runs", published]


def shown(path: Path) -> str:
    """A path as it may be printed: relative to the repository where it lies inside."""
    return str(path.resolve().relative_to(ROOT)) if path.resolve().is_relative_to(ROOT) else str(path)


def save(record: Record, runs: str = "") -> Path:
    """Write a record whole or not at all; return its path."""
    path = folders(runs)[0] / f"{record.config.key}.json"
    files.write(path, record.to_json())
    return path


def read(path: Path) -> Record:
    """Read one file; raise ``Damaged`` when its hash is wrong or it is no record."""
    content = files.read(path)
    try:
        return Record.from_json(content)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Damaged(f"{path.name} is no record: {error}; remove it to run it again") from error


def locate(config: RunConfig, runs: str = "", published: bool = False) -> Path:
    """Return the path of a record, maybe a ``published`` one; raise ``MissingRun`` if it was never made."""
    for folder in [*folders(runs), *(folders() if published else [])]:
        path = folder / f"{config.key}.json"
        if path.exists():
            return path
    raise MissingRun(f"{config.slug} ({config.key}.json) is not on record; pass -p train True to run it")


def load(config: RunConfig, runs: str = "", published: bool = False) -> Record:
    """Read the record of ``config``; raise ``MissingRun`` or ``Damaged``."""
    return read(locate(config, runs, published))


def is_on_record(config: RunConfig, runs: str = "", published: bool = False) -> bool:
    """Whether a run was ever made."""
    try:
        return locate(config, runs, published).exists()
    except MissingRun:
        return False


def load_all(runs: str = "") -> list[Record]:
    """Read every record at hand, in the order of their keys."""
    paths = {path.name: path for folder in reversed(folders(runs)) for path in folder.glob("*.json")}
    return [read(paths[name]) for name in sorted(paths) if re.fullmatch(r"[0-9a-f]{16}\.json", name)]
