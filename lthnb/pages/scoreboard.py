"""Every published number of the first paper, with ours beside it."""

import itertools
import json
from dataclasses import dataclass
from typing import Any

from lthnb.config import ROOT, RunConfig, bare_name
from lthnb.pages import stats
from lthnb.pages.frame import at, frame
from lthnb.runs.record import Record
from lthnb.schedules import STRONG, scheduled

SETS = {"CIFAR-10": ("cifar10", "cifar10_exact")}  # their names in records: the pixels that the paper used
METHOD = "Random init"  # the one that has been run
HEADERS = (
    "data",
    "method",
    "the paper",
    "here",
    "strong dense",
    "gain: paper → here",
    "scale, seeds",
    "verdict",
)
Runs = dict[RunConfig, list[Record]]  # configuration at seed 0 -> its runs, by seed


@dataclass(frozen=True)
class Row:
    """A published number, in percent, and the runs of the same experiment that are on record."""

    name: str
    published: dict[str, Any]
    records: list[Record]
    profile: str  # of the records; empty where there are none
    strong: list[Record]  # dense networks at better rates, four times as long, on the same images

    @property
    def gain(self) -> float:
        """Published points between ticket and dense."""
        return self.published["ticket"] - self.published["dense"]

    def values(self) -> dict[str, float | int | str]:
        """Ours: accuracies (%) on test and train and gain (points) at the paper's round; the verdict."""
        if not self.records:
            return {}
        data = frame(self.records)
        train = stats.outcome(data, "train")
        return {
            **stats.outcome(data),
            "train": f"{train['dense']:.0f} → {train['ticket']:.0f}",
            "strong": 100 * at(frame(self.strong), "dense")["accuracy"].mean(),
            "scale": self.profile,
            "verdict": stats.judged(data, self.gain, self.profile),
        }


def published() -> dict[str, dict[str, Any]]:
    """The published numbers by name."""
    path = ROOT / "book" / "published.json"
    return json.loads(path.read_text(encoding="utf-8"))


def rows(records: list[Record]) -> list[Row]:
    """A row for each published number, with the runs of its experiment that are on record."""
    runs: Runs = {}
    for record in sorted(records, key=lambda record: (record.config.data.name, record.config.seed)):
        runs.setdefault(record.config.replace(seed=0), []).append(record)
    entries = published().items()
    return [filled(name, entry, runs) for name, entry in entries if "rerun" not in entry["id"]]


def filled(name: str, entry: dict[str, Any], runs: Runs) -> Row:
    """The row of a published number: runs of the highest scale that has enough seeds, paper, wide or demo."""
    if "value" not in entry and entry["method"] == METHOD:
        sets = SETS.get(entry["dataset"], ())
        names = {config.data.name for config in runs if bare_name(config.data.name) in sets}
        for profile, data in itertools.product(("paper", "wide", "demo"), sorted(names)):
            wanted = {"name": data, "images": entry["images"], "augment": entry["augmentation"]}
            strong = RunConfig.of(profile, **wanted, **scheduled(profile, STRONG), rounds=0)
            made = runs.get(RunConfig.of(profile, **wanted), [])
            if len(made) >= stats.ENOUGH:
                return Row(name, entry, made, profile, runs.get(strong, []))
    return Row(name, entry, [], "", [])


def markdown(board: list[Row]) -> str:
    """The scoreboard as a Markdown table: the paper's numbers, ours, and what may be said."""
    lines = [HEADERS, ["---"] * len(HEADERS)]
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
    gain = f"{row.gain:.1f}" if len(pair) == 2 else ""
    page = entry["page"]
    if (ROOT / "notebooks" / f"{page}.ipynb").exists():
        page = f"[{page}](../notebooks/{page}.ipynb)"
    ours = row.values()
    if not ours:
        return [theirs, "-", "-", gain, "-", f"{entry['missing']}; {page}"]
    return [
        theirs,
        f"{ours['dense']:.1f} → {ours['ticket']:.1f}, on train {ours['train']}",
        f"{ours['strong']:.1f}" if len(row.strong) >= stats.ENOUGH else "-",
        f"{gain} → {ours['gain_spread']}",
        f"{ours['scale']}, {ours['n']}",
        f"**{ours['verdict']}**; {page}",
    ]
