"""Where a ticket's weights are: densities of parts, work left, overlap with other masks; from records."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from lthnb.runs.record import Record

Counts = list[int] | pd.Series  # weights of each prunable layer
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


def densities(record: Record) -> np.ndarray:
    """Fraction of the weights kept, (rounds, layers)."""
    kept = [row["kept"] for row in record.rounds]
    return kept / layer_sizes(record)


def work(record: Record, index: int) -> float:
    """Multiply-adds of a round's convolutions for one image, if zero weights were skipped."""
    return float(densities(record)[index] @ multiply_adds(record))


def part_densities(records: list[Record]) -> pd.DataFrame:
    """Density of stem, shortcuts and each stage's 3x3 convolutions (columns) by round: means over seeds."""
    sizes = pd.Series(records[0].prunable)
    density = np.mean([densities(record) for record in records], axis=0)
    kept = pd.DataFrame(density, columns=sizes.index) * sizes
    by_part = kept.T.groupby(part_of).sum().T
    return by_part / sizes.groupby(part_of).sum()


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
    rows = [
        (masks, record.config.seed, over_chance(*counts, layer_sizes(record)))
        for record in smallest(records, measures)
        for masks, *counts in compared(record, by_key, measures)
    ]
    return pd.DataFrame(rows, columns=["masks", "seed", "ratio"])


def compared(
    record: Record, by_key: dict[str, Record], measures: Measures
) -> Iterator[tuple[str, Counts, Counts, Counts]]:
    """Pairs of masks: what they are called, the survivors that they share, and those of either.

    A ticket beside masks of its own untrained and rewind weights and beside tickets of its seed, and the
    rewind weights of both.
    """
    values = measures[record.config.key]
    kept = kept_by_masks(record, values)
    for weights in ("init", "rewind"):
        yield f"masks by {weights} weights", values["shared"][weights], kept["ticket"], kept[weights]
    for key, theirs in values["rewinds"].items():
        other = by_key.get(key)
        pair = other and pair_of(record, other, key in measures)
        if pair:
            other_kept = other.rounds[values["round"]]["kept"]
            yield f"tickets, {pair}", values["shared"][key], kept["ticket"], other_kept
            yield f"rewind weights, {pair}", theirs["shared"], kept["rewind"], theirs["kept"]


def kept_by_masks(record: Record, values: dict[str, Any]) -> pd.DataFrame:
    """Weights that the ticket keeps, and the null masks init and rewind (columns), in each layer (rows)."""
    index = values["round"]
    nulls = {weights: kept[index] for weights, kept in values["null"].items()}
    return pd.DataFrame({"ticket": record.rounds[index]["kept"], **nulls})


def pair_of(record: Record, other: Record, measured: bool) -> str:
    """What two runs of a seed differ in, by the words of a figure; empty where they are not compared."""
    images = record.config.data.images
    other_images = other.config.data.images
    if measured:
        return f"{images:,} and {other_images:,} images"
    alike = images == other_images and other.config.train.augment == "base"
    return "with and without augmentation" if alike else ""


def explained(records: list[Record], measures: Measures) -> pd.DataFrame:
    """Share (%) of a ticket's departure from an even profile that a null mask has too, a row per run.

    One minus the weights that the null (columns init, rewind) places in other layers than the ticket, over
    those that an even profile does.
    """
    shares = []
    for record in records:
        kept = kept_by_masks(record, measures[record.config.key])
        sizes = layer_sizes(record)
        kept["even"] = sizes * kept["ticket"].sum() / sizes.sum()
        misplaced = kept.sub(kept["ticket"], axis=0).abs().sum()
        shares.append(100 * (1 - misplaced / misplaced["even"]))
    return pd.DataFrame(shares)
