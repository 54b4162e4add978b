"""The one factory of records, with numbers one can check by eye."""

import dataclasses
from typing import Any

from lthnb.config import RunConfig
from lthnb.runs.choice import best_on_test, chosen_on_val
from lthnb.runs.record import Record

TEST = 1000  # images
VAL = 100
TRAIN = 500
MADE = {
    "device": "cpu",
    "precision": "fp32",
    "versions": {"torch": "2"},
    "date": "2026-01-02",
    "seconds": 3.0,
}


def record(
    test: list[float],
    val: list[float] | None = None,
    seed: int = 0,
    sha256: str = "aa",
    kept: list[int] | None = None,
    weights: int = 1000,
    train: list[float] | None = None,
    **config: Any,
) -> Record:
    """A run of 500 train, 100 val and 1,000 test images whose accuracies are given, one per round.

    Density halves with each round unless the ``kept`` of ``weights`` convolution weights are given.
    """
    val = val or test
    train = train or [1.0] * len(test)
    kept = kept or [weights // 2**index for index in range(len(test))]
    values = {"name": "glyphs", "rounds": len(test) - 1, "rate": 0.5, "seed": seed, **config}
    rows = [row(index, kept[index], train[index], val[index], test[index]) for index in range(len(test))]
    facts = {
        "name": values["name"],
        "sha256": sha256,
        "classes": ["0", "1"],
        "channels": 3,
        "side": 32,
        "pool": 50_000,
        "few": False,
        "counts": {"train": [250, 250]},
    }
    index = chosen_on_val(rows)
    chosen = {"val": None if index is None else {"round": index}, "test": best_on_test(rows)}
    return Record(RunConfig.of(**values), facts, {"stem.0.weight": weights}, rows, chosen, dict(MADE))


def row(index: int, kept: int, train: float, val: float, test: float) -> dict[str, Any]:
    """One round with these accuracies."""
    return {
        "round": index,
        "kept": [kept],
        "correct": {"train": round(TRAIN * train), "val": round(VAL * val), "test": round(TEST * test)},
        "total": {"train": TRAIN, "val": VAL, "test": TEST},
        "loss": 0.5,
        "seconds": {"train": 1.0, "evaluate": 0.5},
        "curve": {"loss": [1.0, 0.5], "correct": []},
    }


def group(dense: float, ticket: float, seeds: int = 3, **config: Any) -> list[Record]:
    """Runs on 500 images whose accuracies on test rise by a point with every seed."""
    values = {"images": 500, "epochs": 20, "batch_size": 50, **config}
    return [record([dense + seed / 100, ticket + seed / 100], seed=seed, **values) for seed in range(seeds)]


def controls() -> list[Record]:
    """Tickets that gain 10 points over dense, and every control of the page on capacity, three seeds each."""
    records = group(0.20, 0.30)
    for control, value in (("random", 0.22), ("shuffled", 0.24), ("reinit", 0.26)):
        for made in group(value, value, control=control):
            records.append(dataclasses.replace(made, rounds=made.rounds[1:]))  # they have no dense round
    for seed in range(3):
        records.append(record([0.21 + seed / 100], seed=seed, images=500, widths="2-4-8-16", weights=500))
    return records
