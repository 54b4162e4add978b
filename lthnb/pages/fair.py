"""The registered comparison (book/registered.md): its arms, its contrasts, and what they come to."""

from typing import Any

import pandas as pd

from lthnb.pages import stats
from lthnb.pages.frame import pick
from lthnb.pages.summary import Numbers, plain
from lthnb.pages.tables import Lines, percent, table, trained
from lthnb.schedules import RATES

MARGIN = 3.0  # points either way within which two arms are alike
PUBLISHED = {
    "rates": "published",
    "times": 1,
    "cycles": 1,
}
TUNED = {
    "rates": "tuned",
    "times": 1,
    "cycles": 1,
}
STRONG = {
    "rates": "tuned",
    "times": 4,
    "cycles": 1,
}
ARMS: dict[str, dict[str, Any]] = {
    "dense": PUBLISHED | {"arm": "dense"},
    "ticket": PUBLISHED | {"arm": "ticket"},
    "tuned dense": TUNED | {"arm": "dense"},
    "tuned ticket": TUNED | {"arm": "ticket"},
    "strong dense": STRONG | {"arm": "dense"},
    "strong ticket": STRONG | {"arm": "ticket"},
    "shuffled": PUBLISHED | {"arm": "shuffled in layers"},
    "rewound dense": PUBLISHED | {"arm": "rewound dense"},
    "long dense": PUBLISHED | {"arm": "dense", "times": 6},
    **{
        f"{arm} {times}x": PUBLISHED | {"arm": arm, "times": times}
        for times in (4, 16)
        for arm in ("dense", "ticket")
    },
    "cyclic dense": PUBLISHED | {"arm": "dense", "times": 6, "cycles": 6},
    "long tuned dense": TUNED | {"arm": "dense", "times": 6},
    "cyclic tuned dense": TUNED | {"arm": "dense", "times": 6, "cycles": 6},
    "strong shuffled": STRONG | {"arm": "shuffled in layers"},
    "strong reinitialised": STRONG | {"arm": "reinitialised"},
    "strong small dense": STRONG | {"arm": "small dense"},
}
SHOWN = list(ARMS)[:6]
Pair = tuple[str, str]
PRIMARY: Pair = ("ticket", "strong dense")
SECONDARY: list[Pair] = [
    ("strong ticket", "strong dense"),
    ("ticket", "tuned dense"),
    ("ticket", "shuffled"),
]
EXPLORED: list[Pair] = [
    ("ticket", "dense"),
    ("tuned ticket", "tuned dense"),
    ("ticket", "long dense"),
    ("ticket 4x", "dense 4x"),
    ("ticket 16x", "dense 16x"),
    ("strong dense", "tuned dense"),
    ("strong ticket", "strong shuffled"),
    ("strong ticket", "strong reinitialised"),
    ("strong ticket", "strong small dense"),
    ("ticket", "rewound dense"),
    ("rewound dense", "dense"),
    ("ticket", "cyclic dense"),
    ("ticket", "long tuned dense"),
    ("ticket", "cyclic tuned dense"),
    ("long tuned dense", "strong dense"),
]


def of_arm(data: pd.DataFrame, name: str, split: str = "test") -> pd.DataFrame:
    """One row per run of an arm: its dense network, or its last ticket or what replaces it."""
    rows = pick(data, **ARMS[name], split=split)
    return rows[rows["dense"] | rows["ticket"]]


def points(data: pd.DataFrame, name: str, split: str = "test") -> pd.Series:
    """Accuracy of an arm in percent, by seed."""
    return stats.by_seed(of_arm(data, name, split))


def contrast(data: pd.DataFrame, pair: Pair) -> pd.Series:
    """First arm minus second, in points, of the seeds that both have."""
    return stats.paired(*(of_arm(data, name) for name in pair))


def meaning(difference: stats.Interval, fit: float = 1.0) -> str:
    """What the registered rule makes of the primary contrast; open below six seeds.

    Args:
        fit: share of its own training images that the strong dense network fits.
    """
    within = difference.low > -MARGIN and difference.high < MARGIN
    if difference.n < stats.ENOUGH:
        return "open"
    if difference.low > 0:
        words = "the gain survives" + ", as a small one" * within
    elif difference.high < 0:
        words = "the dense network wins" + ", by little" * within
    else:
        words = "it is the schedule" if within else "open"
    if not fit >= stats.TRAINED_OUT:  # nan too
        words += ", provisionally: the strong dense network was not trained out either"
    return words


def numbers(data: pd.DataFrame, profile: str) -> Numbers:
    """The six arms on test and train in percent, contrasts in points, and what the primary one means.

    Names are those of ``ARMS`` with underscores; a contrast's is that of its arms around ``minus``.
    """
    values: Numbers = {}
    for name in SHOWN:
        for split in ("test", "train"):
            values[f"{name} {split}"] = points(data, name, split).mean()
    for pair in (PRIMARY, *SECONDARY, *EXPLORED[:5]):
        values |= stats.spread(" minus ".join(pair), stats.interval(contrast(data, pair)))
    primary = contrast(data, PRIMARY)
    return plain(
        profile=profile,
        n=len(primary),
        meaning=meaning(stats.interval(primary), fit=values["strong dense train"] / 100),
        p=stats.sign_flip(primary),
        **{name.replace(" ", "_"): value for name, value in values.items()},
    )


@table
def arms(data: pd.DataFrame) -> Lines:
    """Accuracy of every arm on test and train; epochs and steps of its training; hours of its whole runs."""
    for name in ARMS:
        tested = of_arm(data, name)
        if len(tested):
            first = tested.iloc[0]
            yield {
                "arm": name,
                "learning rate": f"{first['lr']:g}",
                "epochs of schedule": first["epochs"],
                "steps of schedule": first["steps"],
                "seeds": len(tested),
                "test (%)": percent(tested),
                "train (%)": percent(of_arm(data, name, "train")),
                "hours of whole runs": f"{tested['seconds'].sum() / 3600:.2f}",
            }


def cells(data: pd.DataFrame, pair: Pair, values: pd.Series) -> dict[str, Any]:
    """What a table tells of a contrast, whose differences by seed are given."""
    both = data[data["seed"].isin(values.index)]
    precisions = pd.concat([of_arm(both, name) for name in pair]).groupby("seed")["precision"].nunique()
    return {
        "contrast": " - ".join(pair),
        "seeds": len(values),
        "difference (points)": str(stats.interval(values)),
        "in two precisions": int((precisions > 1).sum()),
        "train of either (%)": trained(*(of_arm(both, name, "train") for name in pair)),
    }


@table
def contrasts(data: pd.DataFrame) -> Lines:
    """Differences in points of test accuracy, paired by seed, with what was registered of each."""
    passed = secondary_passed(data)
    for pair in (PRIMARY, *SECONDARY, *EXPLORED):
        values = contrast(data, pair)
        registered = pair not in EXPLORED
        if len(values):
            yield {
                **cells(data, pair, values),
                "registered": "primary" if pair == PRIMARY else "secondary" if registered else "",
                "passes Holm": passed.get(pair, ""),
                "t test p": f"{stats.t_test(values):.4f}" if registered else "",
                "sign-flip p": f"{stats.sign_flip(values):.3f}" if registered else "",
            }


def secondary_passed(data: pd.DataFrame) -> dict[Pair, bool]:
    """Which secondary contrasts pass Holm's rule at 5 %; none before all of them have six seeds."""
    values = {pair: contrast(data, pair) for pair in SECONDARY}
    if min(map(len, values.values())) < stats.ENOUGH:
        return {}
    return stats.holm({pair: stats.t_test(differences) for pair, differences in values.items()})


def ranked(data: pd.DataFrame) -> pd.DataFrame:
    """Settings of tuning runs by mean accuracy on val; of equals fewer steps, then the lower learning rate.

    Raises:
        ValueError: a run has a seed that is reported.
    """
    if data["seed"].min() < 100:
        raise ValueError(f"seed {data['seed'].min()} is reported and may not tune")
    groups = pick(data, split="val").groupby(list(RATES), as_index=False)
    settings = groups.agg(
        runs=("seed", "nunique"),
        val=("accuracy", "mean"),
        steps=("steps", "first"),
    )
    settings["val (%)"] = (100 * settings.pop("val")).round(4)
    return settings.sort_values(["val (%)", "steps", "lr"], ascending=[False, True, True])
