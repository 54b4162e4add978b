"""What a page prints as tables: frames of text with units in their headers, from records alone."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from lthnb.pages import inside, stats
from lthnb.pages.frame import at, frame, pick, same_data
from lthnb.runs.record import Record
from lthnb.runs.rows import SPLITS

RULES = {
    "the paper's round": "ticket",
    "chosen on val": "chosen",
    "best on test": "best",
}
Lines = Iterator[dict[str, Any]]


def table(lines: Callable[..., Lines]) -> Callable[..., pd.DataFrame]:
    """Put the lines that a function yields, header -> cell, into one frame."""

    @functools.wraps(lines)
    def framed(*arguments: Any) -> pd.DataFrame:
        return pd.DataFrame(lines(*arguments))

    return framed


def percent(rows: pd.DataFrame) -> str:
    """Mean accuracy of some rows with its interval, in percent."""
    return str(stats.interval(100 * rows["accuracy"]))


def trained(*arms: pd.DataFrame) -> str:
    """Mean accuracies of some arms on train, whose rows are given, in percent."""
    return " / ".join(f"{100 * rows['accuracy'].mean():.0f}" for rows in arms)


@table
def by_round(data: pd.DataFrame) -> Lines:
    """Round, density and accuracy on each split: mean and 95 % interval over seeds."""
    same_data(data)
    for index, of_round in data.groupby("round"):
        density = of_round["density"].iloc[0]
        accuracies = {f"{split} (%)": percent(pick(of_round, split=split)) for split in SPLITS}
        yield {"round": index, "density (%)": f"{100 * density:.2f}", **accuracies}


@table
def selection(data: pd.DataFrame) -> Lines:
    """Accuracy and paired gain over dense on test under each rule for the round: mean and 95 % interval.

    A rule that gives some run no round is left out.
    """
    for rule, which in RULES.items():
        tickets = at(data, which)
        if len(tickets) == data["key"].nunique():
            edges = [f"{100 * edge:.1f}" for edge in tickets["density"].agg(["min", "max"])]
            yield {
                "ticket": rule,
                "density (%)": "-".join(dict.fromkeys(edges)),
                "test accuracy (%)": percent(tickets),
                "train (%)": percent(at(data, which, "train")),
                "gain (points)": str(stats.interval(stats.gains(data, which))),
            }


@table
def gains(data: pd.DataFrame, strong: pd.DataFrame) -> Lines:
    """Dense, ticket at the paper's round and strong dense, on test and train; gains at both rounds' rules."""
    same_data(data)
    for (images, augment), group in data.groupby(["images", "augment"]):
        tickets = at(group, "ticket")
        chosen = at(group, "chosen")
        best = pick(strong, images=images, augment=augment)
        arms = ((group, "dense"), (group, "ticket"), (best, "dense"))
        yield {
            "images": f"{images:,}",
            "augmentation": augment,
            "seeds": group["seed"].nunique(),
            "dense (%)": percent(at(group, "dense")),
            "ticket (%)": percent(tickets),
            "strong dense (%)": percent(at(best, "dense")),
            "gain (points)": str(stats.interval(stats.gains(group))),
            "train of the three (%)": trained(*(at(*arm, "train") for arm in arms)),
            "density (%)": f"{100 * tickets['density'].mean():.1f}",
            "density by val (%)": f"{100 * np.exp(np.log(chosen['density']).mean()):.1f}",
            "gain by val (points)": f"{stats.gains(group, 'chosen').mean():.1f}",
        }


@table
def interactions(data: pd.DataFrame) -> Lines:
    """What each augmentation adds to the ticket's gain, by number of images: mean and 95 % interval."""
    for (images, augment), group in data.groupby(["images", "augment"]):
        plain = pick(data, images=images, augment="base")
        if augment != "base" and len(plain):
            effect = stats.difference(stats.gains(group), stats.gains(plain))
            yield {
                "images": f"{images:,}",
                "augmentation": augment,
                "interaction (points)": str(stats.interval(effect)),
            }


@table
def contrasts(data: pd.DataFrame) -> Lines:
    """Ticket minus each control, by number of images, in points: mean and 95 % interval; train of both."""
    for images, group in data.groupby("images"):
        fitted = stats.around_the_ticket(group, "train")
        for name, points in stats.contrasts(group).items():
            first, _, second = name.rpartition(" - ")
            yield {
                "images": f"{images:,}",
                "ticket minus": f"({name})" if first else name,
                "seeds": len(points),
                "difference (points)": str(stats.interval(points)),
                "train of both (%)": trained(fitted[first or "ticket"], fitted[second]),
            }


@table
def sizes(records: list[Record]) -> Lines:
    """Convolution weights and multiply-adds of tickets and small networks, beside the dense ones."""
    by_key = {record.config.key: record for record in records}
    for images, group in frame(records).groupby("images"):
        dense = at(pick(group, arm="dense"), "dense").head(1)
        ticket = at(pick(group, arm="ticket"), "ticket").head(1)
        small = at(pick(group, arm="small dense"), "dense").drop_duplicates("widths")
        networks = pd.concat([dense, ticket, small]).sort_values("kept", ascending=False, kind="stable")
        names = {"dense": "dense", "ticket": f"ticket, round {ticket['round'].item()}"}
        full = inside.work(by_key[dense["key"].item()], 0)
        for row in networks.itertuples():
            left = inside.work(by_key[row.key], row.round)
            yield {
                "images": f"{images:,}",
                "network": names.get(row.arm, f"small dense {row.widths}"),
                "weights": f"{row.kept:,}",
                "weights (%)": f"{100 * row.kept / dense['kept'].item():.2f}",
                "multiply-adds (%)": f"{100 * left / full:.2f}",
            }


@table
def work(records: list[Record], measures: inside.Measures) -> Lines:
    """Multiply-adds left in each round, two ways, and dead channels: means over seeds."""
    mine = [measures[record.config.key] for record in records]
    for index, density in enumerate(records[0].density):
        skipped = [inside.work(record, index) / inside.work(record, 0) for record in records]
        removed = [values["channels"][index] for values in mine]
        dead = [values["dead"][index] for values in mine]
        yield {
            "round": index,
            "density (%)": f"{100 * density:.2f}",
            "multiply-adds, zeros skipped (%)": f"{100 * np.mean(skipped):.1f}",
            "multiply-adds, dead channels removed (%)": f"{100 * np.mean(removed):.1f}",
            "dead channels": f"{np.mean(dead):.1f}",
        }


@table
def branch_norms(records: list[Record], measures: inside.Measures) -> Lines:
    """Norm of the shortcut over that of the main branch at each addition: means over seeds."""
    for network in ("dense", "ticket"):
        norms = [measures[record.config.key]["norms"][network] for record in records]
        blocks = {f"block {block}": f"{mean:.2f}" for block, mean in enumerate(np.mean(norms, axis=0), 1)}
        yield {"shortcut / main branch": network, **blocks}


@table
def overlaps(shares: pd.DataFrame) -> Lines:
    """Survivors that two masks share, over what chance would share; ``shares`` from ``inside.overlaps``."""
    for masks, group in shares.groupby("masks", sort=False):
        yield {
            "masks compared": masks,
            "seeds": len(group),
            "shared / chance": f"{group['ratio'].mean():.2f}",
        }
