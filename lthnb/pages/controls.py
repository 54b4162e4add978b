"""The ticket beside what takes its place: what the page on capacity and connectivity says."""

import numpy as np
import pandas as pd

from lthnb.pages import stats
from lthnb.pages.frame import at, behind, frame, pick
from lthnb.pages.summary import ROWS, Numbers, by_label, over, plain
from lthnb.runs.choice import ticket_round
from lthnb.runs.record import Record


def numbers(records: list[Record], strong: pd.DataFrame, profile: str) -> Numbers:
    """Ticket minus its controls at both sizes, in points, and what they say of capacity and connections."""
    groups = frame(records).groupby("images")
    sizes = {
        label: at_size(group, strong) | in_stem(behind(group, records))
        for label, (_, group) in zip(ROWS, groups, strict=True)
    }
    return plain(profile=profile, **by_label(sizes))


def in_stem(records: list[Record]) -> Numbers:
    """Weights of the first layer: all, and what tickets and random masks keep at the paper's round."""
    kept: dict[str, list[int]] = {"none": [], "random": []}
    for record in records:
        if record.config.prune.rounds and record.config.prune.control in kept:
            row = next(row for row in record.rounds if row["round"] == ticket_round(record))
            kept[record.config.prune.control].append(row["kept"][0])
    return {
        "stem": next(iter(records[0].prunable.values())),
        "stem_ticket": np.mean(kept["none"]),
        "stem_random": np.mean(kept["random"]),
    }


def at_size(data: pd.DataFrame, strong: pd.DataFrame) -> Numbers:
    """Ticket minus its controls on as many images, and minus the strong dense network."""
    differences = stats.contrasts(data)
    tickets = pick(data, arm="ticket")
    one = {"images": data["images"].iloc[0], "augment": data["augment"].iloc[0], "arm": "dense"}
    dense = at(pick(data, arm="dense"), "dense", "train")
    random = stats.interval(differences["random masks"])
    capacity = stats.interval(differences["small dense - dense"])
    shuffled = stats.interval(differences["shuffled in layers"])
    return {
        "images": data["images"].iloc[0],
        "n": random.n,
        **stats.spread("random", random),
        **stats.spread("shuffled", shuffled),
        **stats.spread("capacity", capacity),
        "small": differences["small dense"].mean(),
        "reinit": differences["reinitialised"].mean(),
        "p": stats.sign_flip(differences["random masks"]),
        "density": 100 * at(tickets, "ticket")["density"].mean(),
        "fit": 100 * dense["accuracy"].mean(),
        "over_strong_spread": str(stats.interval(over(tickets, pick(strong, **one)))),
        "verdict_connections": stats.gated(stats.direction(shuffled, 1), dense),
        "verdict_capacity": stats.gated(stats.direction(capacity, 1), dense),
    }
