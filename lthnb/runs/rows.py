"""What the numbers of a record may be; any other is refused by its field and value."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from lthnb.config import RunConfig

SPLITS = ("train", "val", "test")
ROW = ("round", "kept", "correct", "total", "loss", "seconds", "curve")
DATA = {
    "name": str,
    "sha256": str,
    "classes": list,
    "channels": int,
    "side": int,
    "pool": int,
    "counts": dict,
}
MADE = {"device": str, "precision": str, "versions": dict, "date": str}


def demand(holds: bool, where: str, value: Any, allowed: object) -> None:
    """Raise ``ValueError`` with a field, its value and what it may be, unless that holds."""
    if not holds:
        raise ValueError(f"{where} is {value!r:.80}, not {allowed}")


def count(where: str, value: Any, most: float = math.inf) -> None:
    """Demand a whole number from 0 to ``most``."""
    demand(type(value) is int and 0 <= value <= most, where, value, f"a whole number from 0 to {most}")


def amount(where: str, value: Any) -> None:
    """Demand a finite number that is not negative."""
    demand(type(value) in (int, float) and 0 <= value < math.inf, where, value, "a finite number from 0 on")


def table(where: str, value: Any, names: tuple[str, ...]) -> None:
    """Demand an object of exactly these fields."""
    demand(isinstance(value, dict) and {*value} == {*names}, where, value, f"an object of {', '.join(names)}")


def listed(where: str, value: Any, least: int, most: float) -> None:
    """Demand a list of so many entries."""
    holds = isinstance(value, list) and least <= len(value) <= most
    demand(holds, where, value, f"a list of {least} to {most} entries")


def described(where: str, value: Any, kinds: dict[str, type]) -> None:
    """Demand an object with at least these fields, of these types."""
    demand(isinstance(value, dict), where, value, "an object")
    for name, kind in kinds.items():
        demand(type(value.get(name)) is kind, f"{where}.{name}", value.get(name), f"of type {kind.__name__}")


def check(config: RunConfig, sizes: dict[str, int], rows: list[dict[str, Any]], chosen: dict) -> None:
    """Raise ``ValueError`` unless the rows of a record, and the rounds it chose, can be those of its run.

    Args:
        sizes: layer -> weights that may be pruned.
        chosen: rule -> round, as ``choice.choices`` tells it.
    """
    demand(isinstance(sizes, dict) and len(sizes) > 0, "prunable", sizes, "an object of layers")
    for layer, size in sizes.items():
        count(f"prunable.{layer}", size)
    first = 0 if config.prune.control == "none" else config.prune.every
    expected = range(first, config.prune.rounds + 1, config.prune.every)
    listed("rounds", rows, len(expected), len(expected))
    for position, (index, row) in enumerate(zip(expected, rows, strict=True)):
        where = f"rounds[{position}]"
        check_row(where, config, sizes, row)
        demand(row["round"] == index, f"{where}.round", row["round"], index)
    for position, (before, row) in enumerate(pairwise(rows), 1):
        where = f"rounds[{position}]"
        demand(row["total"] == before["total"], f"{where}.total", row["total"], "that of the round before")
        least = sum(before["kept"])
        falls = sum(row["kept"]) < least or not round(config.prune.rate * least)
        demand(
            falls, f"{where}.kept", sum(row["kept"]), f"fewer weights than the {least} of the round before"
        )
    table("chosen", chosen, ("val", "test"))
    one = f"one of the rounds {[*expected]}"
    demand(chosen["test"] in expected, "chosen.test", chosen["test"], one)
    val = chosen["val"]
    demand(val is None or (isinstance(val, dict) and val.get("round") in expected), "chosen.val", val, one)


def check_row(where: str, config: RunConfig, sizes: dict[str, int], row: dict[str, Any]) -> None:
    """Raise ``ValueError`` unless one row can be that of a run with such layers."""
    table(where, row, ROW)
    count(f"{where}.round", row["round"])
    listed(f"{where}.kept", row["kept"], len(sizes), len(sizes))
    for (layer, size), kept in zip(sizes.items(), row["kept"], strict=True):
        count(f"{where}.kept of {layer}", kept, size)
    table(f"{where}.total", row["total"], SPLITS)
    table(f"{where}.correct", row["correct"], SPLITS)
    for split, total in row["total"].items():
        count(f"{where}.total.{split}", total)
        count(f"{where}.correct.{split}", row["correct"][split], total)
    amount(f"{where}.loss", row["loss"])
    table(f"{where}.seconds", row["seconds"], ("train", "evaluate"))
    for name, seconds in row["seconds"].items():
        amount(f"{where}.seconds.{name}", seconds)
    curve = row["curve"]
    most = config.train.epochs + config.prune.rewind_epoch  # as released, a round trains so many more
    table(f"{where}.curve", curve, ("loss", "correct"))
    listed(f"{where}.curve.loss", curve["loss"], 1, most)
    for epoch, loss in enumerate(curve["loss"], 1):
        amount(f"{where}.curve.loss of epoch {epoch}", loss)
    listed(f"{where}.curve.correct", curve["correct"], 0, len(curve["loss"]))
    for evaluated in curve["correct"]:
        demand(isinstance(evaluated, dict), f"{where}.curve.correct", evaluated, "an object of counts")
        for name, value in evaluated.items():
            limit = most if name == "epochs" else row["total"].get(name, -1)
            count(f"{where}.curve.correct.{name}", value, limit)
