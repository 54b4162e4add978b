"""Every published number of the first paper, with ours beside it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lthnb.config import PROFILES, ROOT, RunConfig, bare_name
from lthnb.pages import stats
from lthnb.pages.frame import at, frame
from lthnb.runs.record import Record

SETS = {"CIFAR-10": ("cifar10", "cifar10_exact")}  # their names in records: the pixels that the paper used
METHODS: dict[str, dict[str, Any]] = {"Random init": {}}  # what a method changes in a configuration
HEADERS = (
    "data",
    "method",
    "the paper",
    "here",
    "gain: paper → here",
    "scale, seeds",
    "verdict",
)


@dataclass(frozen=True)
class Row:
    """A published number, in percent, and the runs of the same experiment that are on record."""

    name: str
    published: dict[str, Any]
    records: list[Record]
    profile: str  # of the records; empty where there are none

    @property
    def gain(self) -> float:
        """Published points between ticket and dense."""
        return self.published["ticket"] - self.published["dense"]

    def values(self) -> dict[str, float | int | str]:
        """Ours: accuracies in percent and paired gain in points at the paper's round; n; the verdict."""
        if not self.records:
            return {}
        data = frame(self.records)
        gain = stats.interval(stats.gains(data))
        return {
            "dense": float(100 * at(data, "dense")["accuracy"].mean()),
            "ticket": float(100 * at(data, "ticket")["accuracy"].mean()),
            "gain": gain.mean,
            "gain_low": gain.low,
            "gain_high": gain.high,
            "best_gain": stats.interval(stats.best_gains(data)).mean,
            "n": gain.n,
            "scale": self.profile,
            "verdict": stats.judged(data, self.gain, self.profile),
        }


def published() -> dict[str, dict[str, Any]]:
    """The published numbers by name."""
    path = ROOT / "book" / "published.json"
    return json.loads(path.read_text(encoding="utf-8"))


def rows(records: list[Record]) -> list[Row]:
    """A row for each published number; runs of paper scale where they are on record, else of demo scale."""
    by_key = {record.config.key: record for record in records}
    board = []
    for name, entry in published().items():
        if "rerun" not in entry["id"]:
            empty = Row(name, entry, [], "")
            filled = (row for row in candidates(empty, by_key) if row.records)
            board.append(next(filled, empty))
    return board


def candidates(row: Row, by_key: dict[str, Record]) -> Iterator[Row]:
    """The row with the records of each scale and data set that may fill it, the best first."""
    entry = row.published
    if "value" in entry or entry["method"] not in METHODS:
        return
    fields = {
        "images": entry["images"],
        "augment": entry["augmentation"],
        **METHODS[entry["method"]],
    }
    names = sorted({record.config.data.name for record in by_key.values()})
    fitting = [name for name in names if bare_name(name) in SETS.get(entry["dataset"], ())]
    for profile in ("paper", "demo"):
        for name in fitting:
            config = RunConfig.of(**{**PROFILES[profile], **fields, "name": name})
            keys = [config.replace(seed=seed).key for seed in range(100)]
            records = [by_key[key] for key in keys if key in by_key]
            yield dataclasses.replace(row, records=records, profile=profile)


def markdown(board: list[Row]) -> str:
    """The scoreboard as a Markdown table: the paper's numbers, ours, and what may be said."""
    lines = [list(HEADERS), ["---"] * len(HEADERS)]
    lines += [[data_words(row.published), row.published["method"], *result_words(row)] for row in board]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def data_words(entry: dict[str, Any]) -> str:
    """The data of a published number: set, imbalance, share."""
    words = f"{entry['dataset']} {entry.get('imbalance', '')}".strip()
    return f"{words} {entry['fraction']:.0%}" if entry.get("fraction", 1) < 1 else words


def result_words(row: Row) -> list[str]:
    """The paper's numbers, ours, the gains, scale and seeds, and the verdict or why there is none."""
    entry = row.published
    pair = [f"{entry[name]:.1f}" for name in ("dense", "ticket") if entry[name] is not None]
    theirs = " → ".join(pair) or str(entry["value"]).strip("[]").replace(", ", " to ")
    gain = f"{row.gain:+.1f}" if len(pair) == 2 else ""
    page = entry["page"]
    if (ROOT / "notebooks" / f"{page}.ipynb").exists():
        page = f"[{page}](../notebooks/{page}.ipynb)"
    ours = row.values()
    if not ours:
        return [theirs, "-", gain, "-", f"{entry['missing']}; {page}"]
    here = f"{ours['dense']:.1f} → {ours['ticket']:.1f}"
    half = "" if ours["n"] < 2 else f" ± {ours['gain_high'] - ours['gain']:.1f}"
    gains = f"{gain} → {ours['gain']:+.1f}{half}"
    return [
        theirs,
        here,
        gains,
        f"{ours['scale']}, {ours['n']}",
        f"**{ours['verdict']}**; {page}",
    ]
