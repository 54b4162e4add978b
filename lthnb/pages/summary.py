"""The numbers of each page's sentences: one function a page, plain Python values by name."""

from typing import Any

import numpy as np
import pandas as pd

from lthnb.config import bare_name
from lthnb.pages import inside, scoreboard, stats
from lthnb.pages.frame import at, pick
from lthnb.runs.record import Record

Numbers = dict[str, float | int | str]
# label in the names below -> row of the published numbers
ROWS = {
    "one": "cifar10-1%-random-init",
    "two": "cifar10-2%-random-init",
}


def imp(data: pd.DataFrame, strong: pd.DataFrame, profile: str) -> Numbers:
    """Dense, ticket and strong dense in percent, gains in points; only 500 CIFAR-10 images are published."""
    tickets = at(data, "ticket")
    values = stats.gains(data)
    first = data.iloc[0]
    entry = scoreboard.published()[ROWS["one"]]
    published = entry["ticket"] - entry["dense"]
    alike = [first["images"], first["augment"]] == [entry["images"], entry["augmentation"]]
    comparable = "cifar10" in first["data"] and alike
    return plain(
        profile=profile,
        images=first["images"],
        dataset=first["name"],
        seeds=data["seed"].nunique(),
        round=tickets["round"].max(),
        density=100 * tickets["density"].mean(),
        **stats.outcome(data),
        better=(values > 0).sum(),
        gains=", ".join(f"{value:+.1f}" for value in values),
        **against_strong(data, strong),
        direction=stats.gated(stats.direction(stats.interval(values), 1), at(data, "dense", "train")),
        verdict=stats.judged(data, published, profile) if comparable else "no published number",
    )


def against_strong(data: pd.DataFrame, strong: pd.DataFrame) -> Numbers:
    """The strong dense network in percent, ticket minus it in points, and what all three fit of train."""
    points = over(data, strong)
    return {
        "strong": 100 * at(strong, "dense")["accuracy"].mean(),
        "strong_n": len(points),
        "strong_train": 100 * at(strong, "dense", "train")["accuracy"].mean(),
        **stats.spread("over_strong", stats.interval(points)),
        **prefixed("train", stats.outcome(data, "train")),
    }


def low_data(
    original: pd.DataFrame,
    whole: pd.DataFrame,
    wide: pd.DataFrame,
    strong: pd.DataFrame,
    roles: dict[str, str],
    profile: str,
) -> Numbers:
    """Gains at 1 % and 2 %, how they change with size, and those of the runs at the paper's width.

    Args:
        original: runs on CIFAR-10's original pixels, the headline.
        whole: runs on one complete set, the curve over sizes.
        wide: runs at the paper's width, possibly none.
        strong: dense networks at better rates, four times as long.
        roles: what the plan calls a data set -> its name.
        profile: scale of the runs.
    """
    paired = stats.gains(original)
    fits = stats.gains(original, split="train")
    taus = stats.density_taus(pd.concat([original, whole]).drop_duplicates())
    one = {"images": 500, "augment": "rand+cutout"}
    primary = stats.gains(pick(original, **one))
    headlines = {label: headline(original, row, profile) for label, row in ROWS.items()}
    return plain(
        profile=profile,
        exact_set=bare_name(roles["original_pixels"]),
        **by_label(headlines),
        pairs=len(paired),
        pairs_up=(paired > 0).sum(),
        fits_up=(fits > 0).sum(),
        series=len(taus),
        taus=taus.count(),
        tau=taus.mean(),
        **stats.spread("primary", stats.interval(primary)),
        p=stats.sign_flip(primary),
        **against_strong(pick(original, **one), pick(strong, **one)),
        **by_size(whole),
        **at_papers_width(wide),
    )


def headline(data: pd.DataFrame, row: str, profile: str) -> Numbers:
    """Our gain beside a published one, on as many images with the same augmentation."""
    entry = scoreboard.published()[row]
    group = pick(data, images=entry["images"], augment=entry["augmentation"])
    gain = stats.interval(stats.gains(group))
    comparable = data["data"].str.contains("cifar10").all()
    published = entry["ticket"] - entry["dense"]
    return {
        "images": entry["images"],
        "n": gain.n,
        **stats.spread("gain", gain),
        "fit": stats.gains(group, split="train").mean(),
        "published": published,
        "verdict": stats.judged(group, published, profile) if comparable else "nothing to compare",
    }


def by_size(data: pd.DataFrame) -> Numbers:
    """Gains of the smallest and the largest set with base augmentation, and the equal number of images."""
    base = pick(data, augment="base")
    dense = at(base, "dense").groupby("images")["accuracy"].mean()
    small = pick(base, images=dense.index[0])
    large = pick(base, images=dense.index[-1])
    ticket = at(small, "ticket")["accuracy"].mean()
    return {
        "largest": dense.index[-1],
        "equal": stats.equal_size(dense, ticket),
        "gain_large": stats.gains(large).mean(),
        "gain_large_val": stats.gains(large, "chosen").mean(),
        "gain_small_val": stats.gains(small, "chosen").mean(),
    }


def at_papers_width(wide: pd.DataFrame) -> Numbers:
    """Accuracies and gain of those runs, if there are any, and the published accuracies."""
    if wide.empty:
        return {}
    entry = scoreboard.published()[ROWS["one"]]
    return {
        **prefixed("wide", stats.outcome(wide)),
        **prefixed("wide_train", stats.outcome(wide, "train")),
        "wide_gains": ", ".join(f"{gain:+.1f}" for gain in stats.gains(wide)),
        "paper_dense": entry["dense"],
        "paper_ticket": entry["ticket"],
    }


def over(data: pd.DataFrame, strong: pd.DataFrame) -> pd.Series:
    """Ticket minus strong dense network, in points, of the seeds that both have."""
    return stats.paired(at(data, "ticket"), at(strong, "dense"))


def layers(records: list[Record], shares: pd.DataFrame, measures: inside.Measures, profile: str) -> Numbers:
    """Densities of stem and last stage (%), what the nulls explain (%), overlaps of tickets over chance.

    Args:
        records: measured runs of the smaller size.
        shares: overlaps of their tickets with other masks, from ``inside.overlaps``.
        measures: key -> what was measured.
        profile: scale of the runs.
    """
    index = measures[records[0].config.key]["round"]
    densities = inside.part_densities(records).loc[index]
    explained = inside.explained(records, measures)
    across = shares[shares["masks"].str.endswith(" images")].set_index("seed")
    tickets = across.loc[across["masks"].str.startswith("tickets"), "ratio"]
    rewind = across.loc[across["masks"].str.startswith("rewind"), "ratio"]
    primary = stats.interval(stats.difference(tickets, rewind))
    return plain(
        profile=profile,
        n=primary.n,
        density=100 * records[0].density[index],
        stem=100 * densities["stem"],
        stage4=100 * densities["stage 4"],
        **stats.spread("explained", stats.interval(explained["init"])),
        **stats.spread("rewind", stats.interval(explained["rewind"])),
        shared=tickets.mean(),
        early=rewind.mean(),
        shared_low=primary.low,
        shared_high=primary.high,
    )


def by_label(groups: dict[str, Numbers]) -> Numbers:
    """The numbers of several groups side by side, their names ending in the group's label."""
    return {f"{name}_{label}": value for label, group in groups.items() for name, value in group.items()}


def prefixed(prefix: str, numbers: Numbers) -> Numbers:
    """The same numbers, their names beginning with a prefix."""
    return {f"{prefix}_{name}": value for name, value in numbers.items()}


def plain(**values: Any) -> Numbers:
    """The values as Python numbers; a numpy scalar cannot be formatted by ``glue``."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
