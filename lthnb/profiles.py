"""Where a ticket's weights are: densities of parts, work left, overlap with other masks; from records."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lthnb.record import Record


def positions(layer: str, side: int = 16) -> float:
    """Places at which a convolution is evaluated, as a share of those of the first stage."""
    if layer.startswith("stem"):
        return 1.0 if side <= 64 else 4.0
    return 4.0 ** (1 - int(layer[len("layer")]))


def work(record: Record, index: int) -> float:
    """Multiply-adds of a round's convolutions if zero weights were skipped, over those of the dense."""
    row = next(row for row in record.rounds if row["round"] == index)
    share = [positions(name, record.config.data.side or record.data["side"]) for name in record.prunable]
    left = sum(kept * each for kept, each in zip(row["kept"], share, strict=True))
    return left / sum(size * each for size, each in zip(record.prunable.values(), share, strict=True))


def part_densities(records: list[Record]) -> dict[str, list[float]]:
    """Density of stem, shortcuts and each stage's 3x3 convolutions, one per round: means over seeds."""
    parts: dict[str, list[int]] = {}
    for place, name in enumerate(records[0].prunable):
        part = (
            "stem" if name.startswith("stem") else "shortcuts" if "shortcut" in name else f"stage {name[5]}"
        )
        parts.setdefault(part, []).append(place)
    sizes = np.array(list(records[0].prunable.values()))
    kept = np.mean([[row["kept"] for row in record.rounds] for record in records], 0)
    return {part: (kept[:, at].sum(1) / sizes[at].sum()).tolist() for part, at in sorted(parts.items())}


def over_chance(
    shared: Iterable[int], first: Iterable[int], second: Iterable[int], sizes: Iterable[int]
) -> float:
    """Survivors two masks share over the mean of a hypergeometric draw in each layer; counts per layer."""
    chance = sum(one * other / size for one, other, size in zip(first, second, sizes, strict=True))
    return sum(shared) / chance


def shared(records: list[Record], measures: dict[str, dict]) -> dict[str, list[float]]:
    """Survivors that tickets share with other masks of the same initialisation, over chance, one per seed.

    Masks by magnitude of untrained and of rewind weights; the ticket of the same images with base
    augmentation; the tickets of both sizes.
    """
    by_key, found = {record.config.key: record for record in records}, {}
    sizes = sorted({by_key[key].config.data.images for key in measures})
    for key, each in measures.items():
        record, index = by_key[key], each["round"]
        if record.config.data.images != sizes[0]:
            continue
        kept, sizes_of = record.rounds[index]["kept"], record.prunable.values()
        for name in ("init", "rewind"):
            value = over_chance(each["shared"][name], kept, each["null"][name][index], sizes_of)
            found.setdefault(f"masks by {name} weights", []).append(value)
        for other in (by_key[key] for key in each["shared"] if key in by_key):
            one, two = record.config, other.config
            row = other.rounds[index]["kept"]
            value = over_chance(each["shared"][two.key], kept, row, sizes_of)
            same = two.data.images == one.data.images and two.train.augment == "base"
            if not same and two.key not in measures:
                continue
            pair = "with and without augmentation" if same else f"{sizes[0]:,} and {sizes[-1]:,} images"
            found.setdefault(f"tickets, {pair}", []).append(value)
            rewind, early = each["rewinds"][two.key], each["null"]["rewind"][index]
            value = over_chance(rewind["shared"], early, rewind["kept"], sizes_of)
            found.setdefault(f"rewind weights, {pair}", []).append(value)
    return found


def explained(records: list[Record], measures: list[dict]) -> dict[str, list[float]]:
    """Share (%) of a ticket's departure from an even profile that a null mask has too, one per seed.

    One minus the weights that the null places in other layers than the ticket, over those that an even
    profile does.
    """
    found: dict[str, list[float]] = {"init": [], "rewind": []}
    for record, each in zip(records, measures, strict=True):
        index, sizes = each["round"], np.array(list(record.prunable.values()))
        kept = np.array(record.rounds[index]["kept"])
        even = np.abs(kept - sizes * record.density[index]).sum()
        for name, values in found.items():
            values.append(float(100 * (1 - np.abs(kept - np.array(each["null"][name][index])).sum() / even)))
    return found
