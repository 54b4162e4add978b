"""Every published number of the first paper, with ours beside it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lthnb import stats
from lthnb.config import PROFILES, ROOT, RunConfig
from lthnb.record import Record

SETS = {"CIFAR-10": ("cifar10", "cifar10_exact")}  # their names in records: the pixels that the paper used
METHODS: dict[str, dict[str, Any]] = {"Random init": {}}  # what a method changes in a configuration


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
        dense, ticket = (
            float(np.mean([100 * stats.accuracy_at(record, at(record)) for record in self.records]))
            for at in (lambda _: 0, stats.ticket_round)
        )
        gain, best = (stats.interval(of(self.records)) for of in (stats.gains_over_dense, stats.best_gains))
        values = {"dense": dense, "ticket": ticket, "gain": gain.mean, "gain_low": gain.low}
        values |= {"gain_high": gain.high, "best_gain": best.mean, "n": gain.n, "scale": self.profile}
        return values | {"verdict": stats.judged(self.records, self.gain, self.profile)}


def published(path: Path = ROOT / "book" / "published.json") -> dict[str, dict[str, Any]]:
    """The published numbers by name."""
    return json.loads(path.read_text())


def rows(records: list[Record]) -> list[Row]:
    """A row for each published number; runs of paper scale where they are on record, else of demo scale."""
    by_key = {record.config.key: record for record in records}
    entries = {name: entry for name, entry in published().items() if "rerun" not in entry["id"]}
    empty = {name: Row(name, entry, [], "") for name, entry in entries.items()}
    return [next((row for row in _ours(empty[name], by_key) if row.records), empty[name]) for name in entries]


def _ours(row: Row, by_key: dict[str, Record]) -> Iterator[Row]:
    entry = row.published
    sets = sorted({record.config.data.name for record in by_key.values()})
    if "value" in entry or entry["method"] not in METHODS:
        return
    fields = {"images": entry["images"], "augment": entry["augmentation"], **METHODS[entry["method"]]}
    for profile in ("paper", "demo"):
        for name in sets:
            if name.removeprefix("folder:").partition("@")[0] in SETS.get(entry["dataset"], ()):
                config = RunConfig.of(**{**PROFILES[profile], **fields, "name": name})
                keys = [config.replace(seed=seed).key for seed in range(100)]
                yield dataclasses.replace(
                    row, records=[by_key[k] for k in keys if k in by_key], profile=profile
                )


def markdown(found: list[Row]) -> str:
    """The scoreboard as a Markdown table: the paper's numbers, ours, and what may be said."""
    lines = [
        "| data | method | the paper | here | gain: paper → here | scale, seeds | verdict |",
        "|---" * 7 + "|",
    ]
    for row in found:
        entry, ours = row.published, row.values()
        pair = [f"{entry[name]:.1f}" for name in ("dense", "ticket") if entry[name] is not None]
        gain = f"{row.gain:+.1f}" if len(pair) == 2 else ""
        theirs = " → ".join(pair) or str(entry["value"]).strip("[]").replace(", ", " to ")
        here, scale, verdict = "-", "-", entry["missing"]
        if ours:
            here, scale = f"{ours['dense']:.1f} → {ours['ticket']:.1f}", f"{ours['scale']}, {ours['n']}"
            half = "" if ours["n"] < 2 else f" ± {ours['gain_high'] - ours['gain']:.1f}"
            gain, verdict = f"{gain} → {ours['gain']:+.1f}{half}", f"**{ours['verdict']}**"
        page = entry["page"]
        if (ROOT / "notebooks" / f"{page}.ipynb").exists():
            page = f"[{page}](../notebooks/{page}.ipynb)"
        data = f"{entry['dataset']} {entry.get('imbalance', '')}".strip()
        if entry.get("fraction", 1) < 1:
            data += f" {entry['fraction']:.0%}"
        lines.append(
            f"| {data} | {entry['method']} | {theirs} | {here} | {gain} | {scale} | {verdict}; {page} |"
        )
    return "\n".join(lines)
