"""A finished run as a JSON file: what was run, what came out of every round, and who made it."""

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from lthnb.config import ROOT, ParameterError, RunConfig, UserError, host
from lthnb.rules import one_of
from lthnb.runs import files, rows
from lthnb.runs.files import Damaged

SCHEMA = 1


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

    @property
    def density(self) -> list[float]:
        """Fraction of the prunable weights that each round was trained with."""
        return [sum(row["kept"]) / sum(self.prunable.values()) for row in self.rounds]

    def to_json(self) -> bytes:
        document = {"key": self.config.key, **asdict(self)}
        return files.sealed_json(SCHEMA, document)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Rebuild a record; raise ``ValueError`` on another schema, other fields or impossible values."""
        document = json.loads(text)
        rows.OBJECT.check("the file", document)
        del document["seal"]
        schema = document.pop("schema", None)
        key = document.pop("key", None)
        if schema != SCHEMA:
            raise ValueError(f"schema {schema} is not {SCHEMA}, the one this version reads")
        record = cls(**{**document, "config": RunConfig.from_dict(document["config"])})
        config = record.config
        if config.key != key:
            raise ValueError(f"its configuration has key {config.key}, the record says {key}")
        rows.match_some("made", record.made, rows.MADE)
        rows.match_some("data", record.data, rows.DATA)
        one_of(config.data.name).check("data.name", record.data["name"])
        rows.check(config, record.prunable, record.rounds, record.chosen)
        return record


def folders(runs: str = "") -> list[Path]:
    """Where records are read: ``runs``, or runs/ and then book/runs/; the first is written to.

    A relative path begins at the working directory, whoever asks. A book build sees the published records
    only.

    Raises:
        ParameterError: ``~NAME`` begins the path, and there is nobody of that name.
    """
    if runs:
        try:
            return [Path(runs).expanduser().absolute()]
        except RuntimeError as error:
            raise ParameterError(f"runs must be a folder's path, got {runs!r}: {error}") from error
    published = ROOT / "book" / "runs"
    return [published] if host() == "book" else [ROOT / "runs", published]


def shown(path: Path) -> str:
    """A path as it may be printed: relative to the repository or working directory where it lies inside."""
    for top in (ROOT, Path.cwd()):
        if path.resolve().is_relative_to(top):
            return str(path.resolve().relative_to(top))
    return str(path)


def save(record: Record, runs: str = "") -> Path:
    """Write a record whole or not at all; return its path."""
    path = folders(runs)[0] / f"{record.config.key}.json"
    files.write(path, record.to_json())
    return path


def read(path: Path) -> Record:
    """Read one file; raise ``Damaged`` when its hash is wrong, or it is no record, or that of another run."""
    content = files.read(path)
    try:
        record = Record.from_json(content)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise Damaged(f"{path.name} is no record: {error!s:.300}; remove it to run it again") from error
    if path.stem != record.config.key:
        raise Damaged(f"{path.name} is the record of {record.config.key} under another name; remove it")
    return record


def locate(config: RunConfig, runs: str = "", published: bool = False) -> Path:
    """Return the path of a record, maybe a ``published`` one; raise ``MissingRun`` if it was never made."""
    for folder in [*folders(runs), *(folders() if published else [])]:
        path = folder / f"{config.key}.json"
        if os.path.lexists(path):  # a link that leads nowhere is no missing run
            return path
    raise MissingRun(f"{config.slug} ({config.key}.json) is not on record; pass -p train True to run it")


def load(config: RunConfig, runs: str = "", published: bool = False) -> Record:
    """Read the record of ``config``; raise ``MissingRun`` or ``Damaged``."""
    return read(locate(config, runs, published))


def is_on_record(config: RunConfig, runs: str = "", published: bool = False) -> bool:
    """Whether ``load`` returns a record; of a damaged one a NOTE says why it counts as missing."""
    try:
        load(config, runs, published)
    except MissingRun:
        return False
    except Damaged as error:
        print(f"NOTE {error}: it counts as missing")
        return False
    return True


def load_all(runs: str = "") -> list[Record]:
    """Read every record at hand, in the order of their keys."""
    paths = {path.name: path for folder in reversed(folders(runs)) for path in folder.glob("*.json")}
    return [read(paths[name]) for name in sorted(paths) if re.fullmatch(r"[0-9a-f]{16}\.json", name)]
