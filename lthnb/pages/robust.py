"""Robustness: networks under shifts, at equal clean accuracy, and what the registered contrasts come to."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from lthnb.lines import PAPERS_OWN
from lthnb.pages import stats
from lthnb.pages.frame import frame, pick
from lthnb.pages.summary import Numbers, plain
from lthnb.runs.record import Record

MARGIN = 1.0  # points either way within which a network is as robust as its accuracy lets expect
SIZES = {augment: images for images, augment in PAPERS_OWN.items()}  # images that an augmentation is for
SCHEDULES = {  # rates and times -> first word of a name
    ("published", 1): "",
    ("tuned", 1): "tuned ",
    ("tuned", 4): "strong ",
}
SHOWN = (
    "dense",
    "ticket",
    "tuned dense",
    "tuned ticket",
    "strong dense",
    "strong ticket",
)
COSTLY = 2.0  # points that a kind takes from dense networks, above which it is looked at apart
NETWORK = [
    "key",
    "round",
    "seed",
    "size",
    "images",
    "network",
    "arm",
    "density",
    "all",
    "clean",
]  # what one is told by
REGISTERED = {  # the primary quantity first (book/registered.md)
    "residual": "residual of the ticket",
    "strong_residual": "residual of the strong ticket",
    "large_residual": "residual of the ticket, larger size",
    "over_strong": "corrupted: ticket - strong dense",
    "less_data": "corrupted: ticket - dense, minus the same at the larger size",
}
Accuracies = pd.Series | np.ndarray  # fractions
Measures = dict[str, dict[str, Any]]  # key of a run -> what measures.robustness finds on it


def shifted(records: list[Record], measures: Measures) -> pd.DataFrame:
    """A row per network that was measured and set of images that it was shown.

    Columns: key, round, seed, images, density and arm as in a frame; ``size``: the images whose networks it
    is compared with; ``network``: what it is called; ``shift``: corruption, natural or attack; ``kind`` and
    ``severity`` (0: has none); ``all``: accuracy on all test images; ``clean`` and ``accuracy``: before and
    under the shift, on the same images.

    Raises:
        ValueError: some were shown the published files of CIFAR-10-C, others what is made here.
    """
    if len({values["published"] for values in measures.values()}) > 1:
        raise ValueError("measures on CIFAR-10-C and on corruptions made here do not belong on one page")
    tested = pick(frame(records), split="test")
    told = [row for key, values in measures.items() for row in told_of(key, values)]
    data = tested.drop(columns="accuracy").merge(pd.DataFrame(told), on=["key", "round"])
    data["all"] = data["right"] / data["total"]
    data["size"] = data["augment"].map(SIZES).fillna(data["images"]).astype(int)
    advprop = data["objective"] == "advprop"
    data["arm"] = data["arm"].mask(advprop, "advprop " + data["arm"])
    data["network"] = names(data)
    return data[[*NETWORK, "shift", "kind", "severity", "accuracy"]]


def told_of(key: str, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a measure tells: a row per round and set of images."""
    attacked = dict(values["attacked"])
    few = attacked.pop("images")
    before = attacked.pop("clean")
    for place, index in enumerate(values["rounds"]):
        network = {
            "key": key,
            "round": index,
            "right": values["test"][place],
        }
        clean = values["clean"][place] / values["images"]
        for kind, severities in values["corrupted"].items():
            for severity, correct in enumerate(severities, 1):
                yield network | {
                    "shift": "corruption",
                    "kind": kind,
                    "severity": severity,
                    "clean": clean,
                    "accuracy": correct[place] / values["images"],
                }
        for name, of_set in values["natural"].items():
            yield network | {
                "shift": "natural",
                "kind": name.partition("@")[0],
                "severity": 0,
                "clean": clean,
                "accuracy": of_set["correct"][place] / of_set["images"],
            }
        for name, correct in attacked.items():
            yield network | {
                "shift": "attack",
                "kind": name,
                "severity": 0,
                "clean": before[place] / few,
                "accuracy": correct[place] / few,
            }


def names(rows: pd.DataFrame) -> list[str]:
    """What networks are called; those on other numbers of images or of other schedules: other dense."""
    called = []
    for row in rows.itertuples():
        schedule = SCHEDULES.get((row.rates, row.times))
        if schedule is None or row.images != SIZES.get(row.augment, row.images):
            schedule = "other "
        round_ = "" if row.dense or row.ticket else ", other round"
        called.append(f"{schedule}{row.arm}{round_}")
    return called


def networks(data: pd.DataFrame) -> pd.DataFrame:
    """A row per network with its clean and its mean corrupted accuracy.

    ``expected``: that of the line of all dense networks of its size at its clean accuracy; ``residual``:
    corrupted minus expected, in points.
    """
    means = pick(data, shift="corruption").groupby(NETWORK, as_index=False)["accuracy"].mean()
    means = means.rename(columns={"accuracy": "corrupted"})
    expected = [expect(of_size) for _, of_size in means.groupby("size")]
    means["expected"] = pd.concat([pd.Series(dtype=float), *expected])  # there may be none
    means["residual"] = 100 * (means["corrupted"] - means["expected"])
    return means


def expect(of_size: pd.DataFrame) -> pd.Series:
    """Corrupted accuracy of the line at every network's clean one."""
    return line(of_size)(of_size["clean"])


def line(of_size: pd.DataFrame) -> Callable[[Accuracies], Accuracies]:
    """Clean to corrupted accuracy: least squares on logits of the dense networks; nan below three."""
    dense = pick(of_size, arm="dense")
    if len(dense) < 3:
        return lambda clean: np.nan * clean
    slope, intercept = np.polyfit(logits(dense["clean"]), logits(dense["corrupted"]), 1)
    return lambda clean: expit(intercept + slope * logits(clean))


def logits(accuracies: Accuracies) -> Accuracies:
    """Their logits; those of none and of all right answers are finite."""
    return logit(np.clip(accuracies, 0.001, 0.999))


def costly(data: pd.DataFrame) -> pd.DataFrame:
    """The rows of corruptions that take over 2 points from dense networks of the smaller size."""
    rows = pick(data, shift="corruption")
    dense = pick(rows, arm="dense", size=rows["size"].min())
    cost = 100 * (dense["clean"] - dense["accuracy"]).groupby(dense["kind"]).mean()
    return rows[rows["kind"].isin(cost[cost > COSTLY].index)]


def by_seed(means: pd.DataFrame, network: str, size: int, column: str = "corrupted") -> pd.Series:
    """A column of the networks of a name and size, accuracies in percent, by seed."""
    rows = pick(means, network=network, size=size).set_index("seed")[column].sort_index()
    return rows if column == "residual" else 100 * rows


def contrasts(means: pd.DataFrame) -> dict[str, pd.Series]:
    """The registered quantities in points by seed, by the names in ``REGISTERED``."""
    small = means["size"].min()
    large = means["size"].max()
    gains = {size: by_seed(means, "ticket", size) - by_seed(means, "dense", size) for size in (small, large)}
    values = {
        "residual": by_seed(means, "ticket", small, "residual"),
        "strong_residual": by_seed(means, "strong ticket", small, "residual"),
        "large_residual": by_seed(means, "ticket", large, "residual"),
        "over_strong": by_seed(means, "ticket", small) - by_seed(means, "strong dense", small),
        "less_data": gains[small] - gains[large],
    }
    return {name: points.dropna() for name, points in values.items()}


def meaning(residual: stats.Interval) -> str:
    """What the registered rule makes of the primary residual; open below six seeds."""
    within = residual.low > -MARGIN and residual.high < MARGIN
    if residual.n < stats.ENOUGH:
        return "open"
    if residual.low > 0:
        return "more robust than its accuracy explains" + ", by less than a point" * within
    if residual.high < 0:
        return "less robust than its accuracy explains" + ", by less than a point" * within
    return "only more accurate" if within else "open"


def numbers(data: pd.DataFrame, profile: str) -> Numbers:
    """Accuracies in percent, registered quantities in points, and on how many kinds the ticket leads."""
    means = networks(data)
    small = data["size"].min()
    registered = contrasts(means)
    values: Numbers = {}
    for name in SHOWN:
        for column in ("clean", "corrupted"):
            values[f"{name} {column}"] = by_seed(means, name, small, column).mean()
    for name, points in registered.items():
        values |= stats.spread(name, stats.interval(points))
    for other in ("dense", "strong dense"):
        values[f"kinds over {other}"] = int((lead(data, small, "ticket", other) > 0).sum())
        over = by_seed(means, "ticket", small) - by_seed(means, other, small)
        values |= stats.spread(f"over_{other}", stats.interval(over))
    ticket = pick(means, network="ticket", size=small)
    hard = costly(data)
    explored = by_seed(networks(hard), "ticket", small, "residual")
    values |= stats.spread("costly_residual", stats.interval(explored))
    words = meaning(stats.interval(registered["residual"]))
    return plain(
        profile=profile,
        n=len(registered["residual"]),
        claim="Whether tickets are more robust is open" if words == "open" else f"Tickets are {words}",
        costly=hard["kind"].nunique(),
        cost=100 * (means["clean"] - means["corrupted"])[means["size"] == small].mean(),
        immune=100 * (ticket["clean"] - ticket["expected"]).mean(),
        all_dense=100 * pick(means, network="dense", size=small)["all"].mean(),
        all_ticket=100 * ticket["all"].mean(),
        line=len(pick(means, arm="dense", size=small)),
        kinds=pick(data, shift="corruption")["kind"].nunique(),
        meaning=words,
        p=stats.sign_flip(registered["residual"]),
        **{name.replace(" ", "_"): value for name, value in values.items()},
    )


def by_kind(data: pd.DataFrame, size: int, network: str) -> pd.DataFrame:
    """Accuracy (%) of a network, mean over severities: a row per seed, a column per corruption."""
    rows = pick(data, shift="corruption", size=size, network=network)
    return 100 * rows.pivot_table(index="seed", columns="kind", values="accuracy", sort=False)


def lead(data: pd.DataFrame, size: int, first: str, second: str) -> pd.Series:
    """One network minus another under each corruption, in points: means over seeds."""
    return (by_kind(data, size, first) - by_kind(data, size, second)).mean()
