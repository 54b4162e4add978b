"""Numbers with their uncertainty: the unit is the seed, comparisons are paired by seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import permutation_test, t, ttest_1samp

from lthnb.pages.frame import at, pick

Values = Sequence[float] | np.ndarray | pd.Series
CONTROLS = ("random masks", "shuffled in layers", "reinitialised")
ENOUGH = 6  # seeds below which nothing is decided
TRAINED_OUT = 0.9  # of its own training images, that a dense network has to fit
PAPERS_LAST_DENSITY = 0.034  # just below the 3.518 % of its fifteenth round


@dataclass(frozen=True)
class Interval:
    """Mean and Student t interval; ``low`` and ``high`` are nan for one or two values, which have none."""

    mean: float
    low: float
    high: float
    values: tuple[float, ...]

    @property
    def n(self) -> int:
        """How many values there are."""
        return len(self.values)

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return "-"
        if math.isnan(self.low):
            return ", ".join(f"{value:.1f}" for value in self.values)
        return f"{self.mean:.1f} ± {self.high - self.mean:.1f}"


def interval(values: Values) -> Interval:
    """95 % Student t interval of the mean of independent values."""
    numbers = pd.Series(values, dtype=float)
    n = len(numbers)
    mean = float(numbers.mean(skipna=False))
    half = float(t.ppf(0.975, n - 1) * numbers.sem()) if n > 2 else math.nan
    return Interval(mean, mean - half, mean + half, tuple(numbers))


def spread(name: str, around: Interval) -> dict[str, float | str]:
    """A mean and the ends of its interval, by name."""
    return {
        name: around.mean,
        f"{name}_spread": str(around),
        f"{name}_low": around.low,
        f"{name}_high": around.high,
    }


def prediction(values: Values) -> Interval:
    """Interval that holds one more value of the same kind: mean +- t s sqrt(1 + 1/n)."""
    around = interval(values)
    half = (around.high - around.mean) * math.sqrt(around.n + 1)
    return Interval(around.mean, around.mean - half, around.mean + half, around.values)


def sign_flip(values: Values) -> float:
    """Two-sided p value of the sign-flip test that the mean of paired differences is 0; nan for one value.

    Exact (all 2**n sign patterns) up to 13 values; beyond, from 9,999 seeded patterns.
    """
    if len(values) < 2:
        return math.nan
    test = permutation_test((np.asarray(values, float),), np.mean, permutation_type="samples", rng=0)
    return float(test.pvalue)


def direction(gain: Interval, published: float) -> str:
    """Say what runs below paper scale may say of a published gain: direction agrees, opposite or open.

    Fewer than six seeds leave it open.
    """
    if gain.n < ENOUGH or gain.low <= 0 <= gain.high:
        return "open"
    return "direction agrees" if (gain.mean > 0) == (published > 0) else "opposite"


def verdict(gains: Values, published: float, profile: str) -> str:
    """Say whether paired gains reproduce the published one, all in points; below paper scale ``direction``.

    *reproduced*: the interval lies beyond half of the published gain, and the prediction interval holds that
    gain; *partly*: the interval excludes 0 with the published sign; *not*: the other sign, or an interval
    with 0 and without the published gain; *open*: else, and always for fewer than six seeds.
    """
    gain = interval(gains)
    around = prediction(gains)
    sign = direction(gain, published)
    if profile != "paper" or gain.n < ENOUGH:
        return sign
    if sign == "direction agrees":
        large = min(abs(gain.low), abs(gain.high)) > abs(published) / 2
        return "reproduced" if large and around.low <= published <= around.high else "partly"
    excluded = published < gain.low or gain.high < published
    return "not" if sign == "opposite" or excluded else "open"


def difference(first: pd.Series, second: pd.Series) -> pd.Series:
    """``first`` minus ``second``, values by seed, paired by seed.

    Raises:
        ValueError: they do not hold the same seeds once each.
    """
    seeds = sorted(first.index)
    others = sorted(second.index)
    if seeds != others or first.index.has_duplicates:
        raise ValueError(f"seeds {seeds} and {others} make no pairs, or one is there twice")
    return first - second


def by_seed(rows: pd.DataFrame) -> pd.Series:
    """Accuracy in rows of one arm, in percent, by seed; ``ValueError`` where a seed is there twice."""
    accuracies = rows.set_index("seed")["accuracy"].sort_index()
    if accuracies.index.has_duplicates:
        raise ValueError(f"seeds {[*accuracies.index]}: one is there twice")
    return 100 * accuracies


def paired(first: pd.DataFrame, second: pd.DataFrame) -> pd.Series:
    """Accuracy in rows of one arm minus that of another, in points, of the seeds that both have."""
    return (by_seed(first) - by_seed(second)).dropna()


def gains(data: pd.DataFrame, which: str = "ticket", split: str = "test") -> pd.Series:
    """A run's ticket minus its own dense network, in points by seed; see ``frame.at`` for ``which``."""
    later = at(data, which, split)
    dense = at(data, "dense", split).set_index("key")["accuracy"]
    points = 100 * (later["accuracy"] - later["key"].map(dense))
    return points.set_axis(later["seed"])


def outcome(data: pd.DataFrame, split: str = "test") -> dict[str, float | int | str]:
    """Accuracies of dense and ticket in percent, the gain in points with its interval, and the pairs."""
    gain = interval(gains(data, split=split))
    dense, ticket = (at(data, which, split)["accuracy"].mean() for which in ("dense", "ticket"))
    return {
        "dense": float(100 * dense),
        "ticket": float(100 * ticket),
        **spread("gain", gain),
        "n": gain.n,
    }


def best_gains(data: pd.DataFrame) -> pd.Series:
    """Gains as the paper counts them: best test epoch of the best round over best test epoch of the dense.

    Rounds beyond the paper's last are left out, and epochs that were not evaluated. Optimistic by
    construction; only for laying beside a published number. In points, by key of the run.
    """
    rows = pick(data, split="test")
    dense = at(data, "dense").set_index("key")["peak"]
    pruned = rows[rows["density"].between(PAPERS_LAST_DENSITY, 1, inclusive="neither")]
    return 100 * (pruned.groupby("key")["peak"].max() - dense).dropna()


def judged(data: pd.DataFrame, published: float, profile: str) -> str:
    """The verdict on a published gain: on ``best_gains`` at paper scale, else on the paper's round alone."""
    counted = best_gains(data) if profile == "paper" else gains(data)
    return gated(verdict(counted, published, profile), at(data, "dense", "train"))


def gated(words: str, dense: pd.DataFrame) -> str:
    """Add to a verdict that the dense network, whose rows on train are given, does not fit its own images."""
    if dense["accuracy"].mean() >= TRAINED_OUT:
        return words
    return f"{words}; the dense network was not trained out"


def holm(values: dict[str, float], level: float = 0.05) -> dict[str, bool]:
    """Which of some p values pass at a level together. Source: Holm (1979)."""
    passed: dict[str, bool] = {}
    for position, name in enumerate(sorted(values, key=values.__getitem__)):
        passed[name] = all(passed.values()) and values[name] <= level / (len(values) - position)
    return passed


def t_test(values: Values) -> float:
    """Two-sided p value of the t test that the mean of paired differences is 0; nan below three."""
    return float(ttest_1samp(values, 0).pvalue) if len(values) > 2 else math.nan


def density_taus(data: pd.DataFrame) -> pd.Series:
    """Kendall's tau-b of data size and the density chosen on val, per set, seed and augmentation.

    nan where one of them is constant or there are fewer than two.
    """
    groups = at(data, "chosen").groupby(["data", "seed", "augment"])
    taus = [group["images"].corr(group["density"], "kendall", min_periods=2) for _, group in groups]
    return pd.Series(taus, dtype=float)


def equal_size(dense: pd.Series, value: float) -> float:
    """Images at which the dense network would score ``value``, on a log scale between the sizes run.

    ``dense`` holds accuracies by size, rising; inf where even the largest size does not reach the value.
    """
    if value > dense.max():
        return math.inf
    sizes = np.log(dense.index)
    return float(np.exp(np.interp(value, dense.cummax(), sizes)))


def contrasts(data: pd.DataFrame) -> dict[str, pd.Series]:
    """Ticket at the paper's round minus each control at the same round or size, in points by seed.

    ``data`` holds runs of one size. Also ``small dense - dense``: what fewer weights alone do.
    """
    rows = around_the_ticket(data)
    points = {name: by_seed(of_arm) for name, of_arm in rows.items()}
    ticket = points.pop("ticket")
    differences = {name: difference(ticket, other) for name, other in points.items()}
    return differences | {"small dense - dense": difference(points["small dense"], points["dense"])}


def around_the_ticket(data: pd.DataFrame, split: str = "test") -> dict[str, pd.DataFrame]:
    """Rows of the ticket at the paper's round, the dense network, and the controls at that round or size."""
    tickets = at(pick(data, arm="ticket"), "ticket", split)
    same_round = pick(data, round=tickets["round"].iloc[0], split=split)
    return {
        "ticket": tickets,
        "dense": at(pick(data, arm="dense"), "dense", split),
        "small dense": pick(nearest_size(data, tickets["kept"].iloc[0]), split=split),
        **{name: pick(same_round, arm=name) for name in CONTROLS},
    }


def nearest_size(data: pd.DataFrame, weights: int) -> pd.DataFrame:
    """Of small dense networks of several widths, the rows of those nearest to a number of weights."""
    small = pick(data, arm="small dense")
    off = np.log(small["kept"] / weights).abs()
    return pick(small, widths=small["widths"][off.idxmin()])
