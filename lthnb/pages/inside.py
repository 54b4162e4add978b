"""Where a ticket's weights are: densities of parts, work left, overlap with other masks; from records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from lthnb.runs.record import Record

Counts = list[int]  # weights of each prunable layer
Measures = dict[str, dict[str, Any]]  # key of a run -> what measures.layers finds on it


def multiply_adds(record: Record) -> np.ndarray:
    """Multiply-adds of each prunable layer for one image, before pruning."""
    from lthnb.training import networks  # here, since it loads torch

    side = record.config.data.side or record.data["side"]
    classes = tuple(record.data["classes"])
    shape = networks.Architecture(record.config.network, record.data["channels"], side, classes)
    dense = networks.multiply_adds(shape)
    return np.array([dense[layer] for layer in record.prunable])


def layer_sizes(record: Record) -> np.ndarray:
    """Weights of each prunable layer, before pruning."""
    return np.array(list(record.prunable.values()))


def work(record: Record, index: int) -> float:
    """Multiply-adds of a round's convolutions if zero weights were skipped, over those of the dense."""
    dense = multiply_adds(record)
    row = next(row for row in record.rounds if row["round"] == index)
    left = np.array(row["kept"]) / layer_sizes(record) * dense
    return float(left.sum() / dense.sum())


def part_densities(records: list[Record]) -> pd.DataFrame:
    """Density of stem, shortcuts and each stage's 3x3 convolutions (columns) by round: means over seeds."""
    parts = [part_of(layer) for layer in records[0].prunable]
    rounds = [row["round"] for row in records[0].rounds]
    kept = np.mean([[row["kept"] for row in record.rounds] for record in records], axis=0)
    by_part = pd.DataFrame(kept, rounds).T.groupby(parts).sum().T
    sizes = pd.Series(layer_sizes(records[0])).groupby(parts).sum()
    return by_part / sizes


def part_of(layer: str) -> str:
    """Stem, shortcuts or stage of a layer, by its name."""
    if layer.startswith("stem"):
        return "stem"
    if "shortcut" in layer:
        return "shortcuts"
    return f"stage {layer.removeprefix('layer')[0]}"


def over_chance(shared: Counts, first: Counts, second: Counts, sizes: np.ndarray) -> float:
    """Survivors two masks share over the mean of a hypergeometric draw in each layer."""
    chance = np.array(first) * np.array(second) / sizes
    return float(sum(shared) / chance.sum())


def smallest(records: list[Record], measures: Measures) -> list[Record]:
    """Of the runs that were measured, those on the fewest images, by seed."""
    measured = [record for record in records if record.config.key in measures]
    fewest = min(record.config.data.images for record in measured)
    chosen = [record for record in measured if record.config.data.images == fewest]
    return sorted(chosen, key=lambda record: record.config.seed)


def overlaps(records: list[Record], measures: Measures) -> pd.DataFrame:
    """Survivors that tickets share with other masks of the same initialisation, over chance.

    A row per seed and kind of mask, with columns ``masks``, ``seed`` and ``ratio``: masks by magnitude of
    untrained and of rewind weights; the ticket of the same images with base augmentation; the tickets of
    both sizes. Tickets of the smaller size are compared, those with the paper's augmentation.
    """
    by_key = {record.config.key: record for record in records}
    rows = []
    for record in smallest(records, measures):
        values = measures[record.config.key]
        with_nulls = shared_with_nulls(record, values)
        with_tickets = shared_with_tickets(record, values, by_key, measures)
        for masks, ratio in [*with_nulls, *with_tickets]:
            rows.append((masks, record.config.seed, ratio))
    return pd.DataFrame(rows, columns=["masks", "seed", "ratio"])


def shared_with_nulls(record: Record, values: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """A ticket beside masks of its own untrained and rewind weights: what is compared, and the ratio."""
    index = values["round"]
    ticket = record.rounds[index]["kept"]
    for weights in ("init", "rewind"):
        null = values["null"][weights][index]
        shared = values["shared"][weights]
        yield (
            f"masks by {weights} weights",
            over_chance(shared, ticket, null, layer_sizes(record)),
        )


def shared_with_tickets(
    record: Record,
    values: dict[str, Any],
    by_key: dict[str, Record],
    measures: Measures,
) -> Iterator[tuple[str, float]]:
    """A ticket beside others of its seed, and the rewind weights of both: what is compared, and the ratio."""
    index = values["round"]
    images = record.config.data.images
    sizes = layer_sizes(record)
    ticket = record.rounds[index]["kept"]
    rewind = values["null"]["rewind"][index]
    for key, theirs in values["rewinds"].items():
        if key not in by_key:
            continue
        other = by_key[key]
        other_images = other.config.data.images
        if key in measures:
            pair = f"{images:,} and {other_images:,} images"
        elif other_images == images and other.config.train.augment == "base":
            pair = "with and without augmentation"
        else:
            continue
        shared = values["shared"][key]
        yield (
            f"tickets, {pair}",
            over_chance(shared, ticket, other.rounds[index]["kept"], sizes),
        )
        yield (
            f"rewind weights, {pair}",
            over_chance(theirs["shared"], rewind, theirs["kept"], sizes),
        )


def explained(records: list[Record], measures: Measures) -> dict[str, list[float]]:
    """Share (%) of a ticket's departure from an even profile that a null mask has too, one per run.

    One minus the weights that the null (init, rewind) places in other layers than the ticket, over those
    that an even profile does.
    """
    shares: dict[str, list[float]] = {"init": [], "rewind": []}
    for record in records:
        values = measures[record.config.key]
        index = values["round"]
        ticket = np.array(record.rounds[index]["kept"])
        even = layer_sizes(record) * record.density[index]
        departure = np.abs(ticket - even).sum()
        for weights, share in shares.items():
            null = np.array(values["null"][weights][index])
            share.append(float(100 * (1 - np.abs(ticket - null).sum() / departure)))
    return shares
