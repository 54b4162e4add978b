"""Which round of a run is the ticket: by the paper's own round, by val, or by the best test result."""

import math
from typing import Any

from lthnb.runs.record import Record

# the paper's round by number of images, from the widths of its small dense networks
PAPER_ROUND = {
    500: 15,
    1000: 15,
    5000: 4,
    10_000: 2,
    25_000: 1,
    50_000: 2,
}
SHIFTED_ROUNDS = (4, 9, 14)  # beside 0 those whose networks the paper tests under shifts


def paper_round(images: int, density: list[float]) -> int:
    """Round >= 1 whose density is nearest to the paper's at this number of images; 0 if none was run.

    Its own round for a size follows from the widths of its small dense networks; for sizes between, the
    nearest size.
    """
    nearest = min(PAPER_ROUND, key=lambda size: abs(math.log(size / images)))
    return nearest_round(PAPER_ROUND[nearest], density)


def nearest_round(published: int, density: list[float]) -> int:
    """Round >= 1 whose density is nearest to that of a round of the paper; 0 if none was run."""
    aim = math.log(0.8**published)
    later = [index for index in range(1, len(density)) if density[index] > 0]
    return min(later, key=lambda index: abs(math.log(density[index]) - aim), default=0)


def chosen_on_val(rows: list[dict[str, Any]]) -> int | None:
    """Round >= 1 with most right answers on val, of equals the denser; None without val or prunings."""
    val = choices(rows)["val"]
    return val and val["round"]


def best_on_test(rows: list[dict[str, Any]]) -> int:
    """Round with most right answers on test: optimistic, kept beside the others because the paper used it."""
    return max(rows, key=lambda row: row["correct"]["test"])["round"]


def choices(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Which round each rule takes; for val its size and the standard error of an accuracy measured on it."""
    candidates = [row for row in rows if row["round"] and row["total"]["val"]]
    if not candidates:
        return {"val": None, "test": best_on_test(rows)}
    best = max(candidates, key=lambda row: row["correct"]["val"])
    images = best["total"]["val"]
    accuracy = best["correct"]["val"] / images
    error = math.sqrt(accuracy * (1 - accuracy) / images)
    val = {"round": best["round"], "images": images, "standard_error": round(error, 4)}
    return {"val": val, "test": best_on_test(rows)}


def ticket_round(record: Record) -> int:
    """The paper's own round for the size; 0 for a run that did not prune."""
    rounds = [row["round"] for row in record.rounds]
    by_round = {0: 1.0}  # a control does not repeat the dense round of its ticket
    by_round |= zip(rounds, record.density, strict=True)
    position = paper_round(record.config.data.images, list(by_round.values()))
    return list(by_round)[position]


def val_round(record: Record) -> int:
    """The round chosen on val; 0 where nothing was pruned or there is no val."""
    return (record.chosen["val"] or {}).get("round", 0)
