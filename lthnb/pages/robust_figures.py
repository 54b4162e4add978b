"""The figures of the page on robustness; colours as everywhere."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lthnb.pages import robust, stats
from lthnb.pages.figures import CONTROL, DENSE, LEVEL, TICKET
from lthnb.pages.frame import pick

LOOKS = {  # network -> marker, colour
    "dense": ("o", DENSE),
    "ticket": ("o", TICKET),
    "strong dense": ("D", "black"),
    "strong ticket": ("D", CONTROL),
}
SEEN = (1, 3, 5)  # severities
EXAMPLE = 1052  # a clear one of the rendered digits


def samples(index: int = EXAMPLE, side: int = 32) -> Figure:
    """One rendered digit under every corruption at severities 1, 3 and 5, side by side."""
    import torch  # here, since figures of records do not need it

    from lthnb.images.glyphs import glyphs
    from lthnb.images.shifts import CORRUPTIONS, corrupt

    image = glyphs().read("test", torch.tensor([index]), side).contiguous()
    strips = {"as taken": image}
    for kind in CORRUPTIONS:
        title = kind.replace("_", " ")
        strips[title] = torch.cat([corrupt(image, kind, severity) for severity in SEEN])
    figure, axes = plt.subplots(5, 4, figsize=(8, 6))
    for ax, (title, strip) in zip(axes.flat, strips.items(), strict=True):
        pictures = strip.permute(0, 2, 3, 1).numpy()
        spaced = np.pad(pictures, ((0, 0), (0, 0), (1, 1), (0, 0)), constant_values=255)
        ax.imshow(np.hstack(spaced), interpolation="nearest")
        ax.set_title(title, fontsize=8)
        ax.axis("off")
    return figure


def kinds(data: pd.DataFrame, size: int, ax: Axes | None = None) -> Axes:
    """Accuracy (%) under every corruption, mean over severities: mean and 95 % interval over seeds."""
    ax = ax or plt.gca()
    corrupted = pick(data, shift="corruption", size=size)
    order = corrupted.groupby("kind")["accuracy"].mean().sort_values().index
    for place, (network, (marker, colour)) in enumerate(LOOKS.items()):
        table = robust.by_kind(data, size, network)
        if table.empty:
            continue
        spread = [stats.interval(table[kind]) for kind in order]
        means = [interval.mean for interval in spread]
        half = [interval.high - interval.mean for interval in spread]
        rows = np.arange(len(order)) + 0.15 * (place - 1.5)
        look = {
            "fmt": marker,
            "color": colour,
            "markersize": 4,
            "linewidth": 1,
        }
        ax.errorbar(means, rows, xerr=half, label=network, **look)
        clean = pick(corrupted, network=network)["clean"]
        ax.axvline(100 * clean.mean(), color=colour, linewidth=0.8, linestyle=":")
    ax.set_yticks(range(len(order)), [kind.replace("_", " ") for kind in order], fontsize=8)
    ax.set_xlabel("accuracy (%)")
    return ax


def matched(means: pd.DataFrame, size: int, ax: Axes | None = None) -> Axes:
    """Corrupted against clean accuracy (%) of every network, with the line of the dense ones."""
    ax = ax or plt.gca()
    of_size = pick(means, size=size)
    dense = pick(of_size, arm="dense")
    clouds = {"dense, all": (dense, ".", DENSE)}
    for network, look in LOOKS.items():
        clouds[network] = (pick(of_size, network=network), *look)
    for label, (rows, marker, colour) in clouds.items():
        percent = 100 * rows[["clean", "corrupted"]].to_numpy().T
        ax.plot(*percent, marker, color=colour, markersize=4, label=label)
    clean = np.linspace(of_size["clean"].min(), of_size["clean"].max(), 50)
    ax.plot(100 * clean, 100 * robust.line(of_size)(clean), **LEVEL)
    ax.set(xlabel="clean accuracy (%)", ylabel="corrupted accuracy (%)", title=f"{size:,} images")
    ax.legend(fontsize=7)
    return ax


def severities(data: pd.DataFrame, size: int, ax: Axes | None = None) -> Axes:
    """Accuracy (%) against severity, mean over kinds: mean and 95 % interval over seeds; 0 is clean."""
    ax = ax or plt.gca()
    corrupted = pick(data, shift="corruption", size=size)
    for network, (_, colour) in LOOKS.items():
        rows = pick(corrupted, network=network)
        by_seed = rows.pivot_table(index="severity", columns="seed", values="accuracy")
        by_seed.loc[0] = rows.groupby("seed")["clean"].first()
        spread = [stats.interval(100 * values) for _, values in by_seed.sort_index().iterrows()]
        ax.plot([one.mean for one in spread], color=colour, label=network)
        low = [one.low for one in spread]
        high = [one.high for one in spread]
        ax.fill_between(range(len(spread)), low, high, color=colour, alpha=0.15)
    ax.set(xlabel="severity", ylabel="accuracy (%)")
    ax.legend(fontsize=7)
    return ax
