"""The tables of the page on robustness."""

import pandas as pd

from lthnb.pages import robust, stats
from lthnb.pages.frame import pick
from lthnb.pages.tables import Lines, table


@table
def registered(means: pd.DataFrame) -> Lines:
    """The registered quantities with their tests."""
    values = robust.contrasts(means)
    p_values = {name: stats.t_test(points) for name, points in values.items()}
    secondary = {name: p for name, p in p_values.items() if name != "residual"}
    passed = stats.holm(secondary) if min(map(len, values.values())) >= stats.ENOUGH else {}
    for name, points in values.items():
        yield {
            "quantity": robust.REGISTERED[name],
            "seeds": len(points),
            "points": str(stats.interval(points)),
            "registered": "secondary" if name in secondary else "primary",
            "passes Holm": passed.get(name, ""),
            "t test p": f"{p_values[name]:.4f}",
            "sign-flip p": f"{stats.sign_flip(points):.3f}",
        }


@table
def accuracies(means: pd.DataFrame) -> Lines:
    """Clean and corrupted accuracy and residual of networks; of other rounds those that every seed has."""
    enough = pick(means, network="ticket").groupby("size")["seed"].nunique()
    groups = means.groupby(["size", "images", "network", "density"])
    for (size, images, network, density), rows in groups:
        if rows["seed"].nunique() >= enough.get(size, 0):
            yield {
                "images": f"{images:,}",
                "augmentation of": f"{size:,}",
                "network": network,
                "density (%)": f"{100 * density:.1f}",
                "seeds": rows["seed"].nunique(),
                "all test images (%)": in_percent(rows["all"]),
                "clean (%)": in_percent(rows["clean"]),
                "corrupted (%)": in_percent(rows["corrupted"]),
                "residual (points)": str(stats.interval(rows["residual"])),
            }


@table
def kinds(data: pd.DataFrame, size: int) -> Lines:
    """Every corruption: accuracy (%) at each severity, residuals (points) from the line of that kind."""
    rows = pick(data, shift="corruption", size=size)
    for kind, of_kind in rows.groupby("kind", sort=False):
        means = robust.networks(of_kind)
        severities = of_kind.groupby(["network", "severity"])["accuracy"].mean().unstack()
        told = {
            f"{name}, severity 1 to 5 (%)": " ".join(f"{100 * value:.0f}" for value in severities.loc[name])
            for name in ("ticket", "strong dense")
            if name in severities.index
        }
        residuals = {
            f"residual of {name}": str(stats.interval(robust.by_seed(means, name, size, "residual")))
            for name in ("ticket", "strong ticket")
        }
        yield {"corruption": kind.replace("_", " "), **told, **residuals}


@table
def other_shifts(data: pd.DataFrame) -> Lines:
    """Clean accuracy (%) of each network, and that on images of other sources or under attacks."""
    rows = data[(data["shift"] != "corruption") & data["network"].isin(robust.SHOWN)]
    for (size, kind), of_kind in rows.groupby(["size", "kind"], sort=False):
        cells = {
            network: f"{100 * group['clean'].mean():.1f} to {in_percent(group['accuracy'])}"
            for network, group in of_kind.groupby("network")
        }
        yield {"images": f"{size:,}", "shift": kind, **{name: cells.get(name, "-") for name in robust.SHOWN}}


def in_percent(accuracies: pd.Series) -> str:
    """Their mean with its interval."""
    return str(stats.interval(100 * accuracies))
