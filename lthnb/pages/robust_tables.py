"""The tables of the page on robustness."""

import pandas as pd

from lthnb.pages import robust, stats
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
    """Clean and corrupted accuracy and residual of every network, tickets of other rounds among them."""
    groups = means.groupby(["size", "images", "network", "density"])
    for (size, images, network, density), rows in groups:
        if network in robust.SHOWN or "ticket" in network or images != size:
            yield {
                "images": f"{images:,}",
                "augmentation of": f"{size:,}",
                "network": network,
                "density (%)": f"{100 * density:.1f}",
                "seeds": rows["seed"].nunique(),
                "clean (%)": in_percent(rows["clean"]),
                "corrupted (%)": in_percent(rows["corrupted"]),
                "residual (points)": str(stats.interval(rows["residual"])),
            }


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
