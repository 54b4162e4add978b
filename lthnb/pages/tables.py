"""What a page prints as tables: frames of text with units in their headers, from records alone."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lthnb.pages import inside, stats
from lthnb.pages.frame import at, frame, pick, same_data
from lthnb.runs.record import SPLITS, Record

RULES = {
    "the paper's round": "ticket",
    "chosen on val": "chosen",
    "best on test": "best",
}


def by_round(data: pd.DataFrame) -> pd.DataFrame:
    """Round, density and accuracy on each split: mean and 95 % interval over seeds."""
    same_data(data)
    rows = []
    for index, of_round in data.groupby("round"):
        density = of_round["density"].iloc[0]
        row = {"round": index, "density (%)": f"{100 * density:.2f}"}
        for split in SPLITS:
            row[f"{split} (%)"] = percent(pick(of_round, split=split))
        rows.append(row)
    return pd.DataFrame(rows)


def percent(rows: pd.DataFrame) -> str:
    """Mean accuracy of some rows with its interval, in percent."""
    return str(stats.interval(100 * rows["accuracy"]))


def selection(data: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy and paired gain over dense under each rule for the round: mean and 95 % interval.

    A rule that gives some run no round is left out.
    """
    rows = []
    for rule, which in RULES.items():
        tickets = at(data, which)
        if len(tickets) < data["key"].nunique():
            continue
        edges = [f"{100 * edge:.1f}" for edge in (tickets["density"].min(), tickets["density"].max())]
        row = {
            "ticket": rule,
            "density (%)": "-".join(dict.fromkeys(edges)),
            "test accuracy (%)": percent(tickets),
            "gain (points)": str(stats.interval(stats.gains(data, which))),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def gains(data: pd.DataFrame) -> pd.DataFrame:
    """Dense, ticket at the paper's round, gains at that round on test and train, and at val's on test."""
    same_data(data)
    rows = []
    for (images, augment), group in data.groupby(["images", "augment"]):
        tickets = at(group, "ticket")
        chosen = at(group, "chosen")
        row = {
            "images": f"{images:,}",
            "augmentation": augment,
            "seeds": group["seed"].nunique(),
            "dense (%)": percent(at(group, "dense")),
            "ticket (%)": percent(tickets),
            "its density (%)": f"{100 * tickets['density'].mean():.1f}",
            "gain (points)": str(stats.interval(stats.gains(group))),
            "gain on train (points)": mean_gain(group, "ticket", "train"),
            "density by val (%)": f"{100 * np.exp(np.log(chosen['density']).mean()):.1f}",
            "gain by val (points)": mean_gain(group, "chosen", "test"),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def mean_gain(data: pd.DataFrame, which: str, split: str) -> str:
    """Mean gain over seeds, in points, without its interval."""
    return f"{stats.gains(data, which, split).mean():.1f}"


def interactions(data: pd.DataFrame) -> pd.DataFrame:
    """What each augmentation adds to the ticket's gain, by number of images: mean and 95 % interval."""
    rows = []
    for (images, augment), group in data.groupby(["images", "augment"]):
        plain = pick(data, images=images, augment="base")
        if augment != "base" and len(plain):
            effect = stats.interval(stats.interaction(plain, group))
            rows.append((f"{images:,}", augment, str(effect)))
    return pd.DataFrame(rows, columns=["images", "augmentation", "interaction (points)"])


def contrasts(data: pd.DataFrame) -> pd.DataFrame:
    """Ticket minus each control, by number of images: mean and 95 % interval, in points."""
    rows = []
    for images, group in data.groupby("images"):
        for name, points in stats.contrasts(group).items():
            label = f"({name})" if " - " in name else name
            rows.append((f"{images:,}", label, len(points), str(stats.interval(points))))
    return pd.DataFrame(rows, columns=["images", "ticket minus", "seeds", "difference (points)"])


def sizes(records: list[Record]) -> pd.DataFrame:
    """Convolution weights and multiply-adds of tickets and small networks, beside the dense ones."""
    by_key = {record.config.key: record for record in records}
    rows = []
    for images, group in frame(records).groupby("images"):
        first = at(pick(group, arm="ticket"), "ticket").iloc[0]
        dense = by_key[first["key"]]
        full = inside.multiply_adds(dense).sum()
        index = first["round"]
        networks = [
            ("dense", sum(dense.prunable.values()), 1.0),
            (f"ticket, round {index}", first["kept"], inside.work(dense, index)),
        ]
        small = at(pick(group, arm="small dense"), "dense").drop_duplicates("widths")
        for key, weights in zip(small["key"], small["kept"], strict=True):
            work = inside.multiply_adds(by_key[key]).sum() / full
            networks.append((f"small dense {by_key[key].config.network.widths}", weights, work))
        for name, weights, work in sorted(networks, key=lambda network: -network[1]):
            row = {
                "images": f"{images:,}",
                "network": name,
                "weights": f"{weights:,}",
                "weights (%)": f"{100 * weights / networks[0][1]:.2f}",
                "multiply-adds (%)": f"{100 * work:.2f}",
            }
            rows.append(row)
    return pd.DataFrame(rows)


def work(records: list[Record], measures: inside.Measures) -> pd.DataFrame:
    """Multiply-adds left in each round, two ways, and dead channels: means over seeds."""
    mine = [measures[record.config.key] for record in records]
    rows = []
    for index, density in enumerate(records[0].density):
        skipped = np.mean([inside.work(record, index) for record in records])
        removed = np.mean([values["channels"][index] for values in mine])
        dead = np.mean([values["dead"][index] for values in mine])
        row = {
            "round": index,
            "density (%)": f"{100 * density:.2f}",
            "multiply-adds, zeros skipped (%)": f"{100 * skipped:.1f}",
            "multiply-adds, dead channels removed (%)": f"{100 * removed:.1f}",
            "dead channels": f"{dead:.1f}",
        }
        rows.append(row)
    return pd.DataFrame(rows)


def branch_norms(records: list[Record], measures: inside.Measures) -> pd.DataFrame:
    """Norm of the shortcut over that of the main branch at each addition: means over seeds."""
    rows = []
    for network in ("dense", "ticket"):
        norms = [measures[record.config.key]["norms"][network] for record in records]
        blocks = {f"block {block}": f"{mean:.2f}" for block, mean in enumerate(np.mean(norms, axis=0), 1)}
        rows.append({"shortcut / main branch": network, **blocks})
    return pd.DataFrame(rows)


def overlaps(shares: pd.DataFrame) -> pd.DataFrame:
    """Survivors that two masks share, over what chance would share; ``shares`` from ``inside.overlaps``."""
    rows = [
        (masks, len(group), f"{group['ratio'].mean():.2f}")
        for masks, group in shares.groupby("masks", sort=False)
    ]
    return pd.DataFrame(rows, columns=["masks compared", "seeds", "shared / chance"])
