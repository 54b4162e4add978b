"""The figures of the fair test, from records alone; colours as everywhere."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lthnb.pages import fair
from lthnb.pages.figures import CONTROL, DENSE, LEVEL, TICKET, spread_at
from lthnb.pages.frame import pick
from lthnb.runs.record import Record

LINES = {1: ":", 4: "--", 16: "-"}  # by the length of the training


def arms(data: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Test accuracy (%) of the six arms: mean, 95 % interval, every seed."""
    ax = ax or plt.gca()
    for position, name in enumerate(fair.SHOWN):
        values = fair.points(data, name)
        if len(values):
            spread_at(ax, position, values, TICKET if "ticket" in name else DENSE)
    labels = [name.replace(" ", "\n") for name in fair.SHOWN]
    ax.set_xticks(range(len(labels)), labels)
    ax.set_ylabel("test accuracy (%)")
    return ax


def contrasts(data: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The registered contrasts in points: mean, 95 % interval, every seed; the margin is shaded."""
    ax = ax or plt.gca()
    ax.axhspan(-fair.MARGIN, fair.MARGIN, color=DENSE, alpha=0.15, linewidth=0)
    ax.axhline(0, **LEVEL)
    pairs = [fair.PRIMARY, *fair.SECONDARY]
    for position, pair in enumerate(pairs):
        values = fair.contrast(data, pair)
        if len(values):
            spread_at(ax, position, values, TICKET if position == 0 else CONTROL)
    ax.set_xticks(
        range(len(pairs)), [" -\n".join(pair) for pair in pairs], rotation=30, ha="right", fontsize=8
    )
    ax.set_ylabel("difference (points)")
    return ax


def ladder(steps: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Test accuracy (%) against learning rate (log): dense grey, published ticket blue."""
    ax = ax or plt.gca()
    for (arm, times), cells in pick(steps, split="test").groupby(["arm", "times"]):
        means = 100 * cells.groupby("lr")["accuracy"].mean()
        colour = TICKET if arm == "ticket" else DENSE
        ax.plot(means, f"o{LINES.get(times, '-.')}", color=colour, label=f"{arm}, {times:g}x")
    rates = sorted({*steps["lr"]})
    ax.set_xscale("log")
    ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
    ax.minorticks_off()
    ax.set(xlabel="learning rate (log)", ylabel="test accuracy (%)")
    ax.legend(fontsize=7, ncols=2)
    return ax


def losses(records: dict[str, list[Record]], ax: Axes | None = None) -> Axes:
    """Training loss of each epoch of an arm's last training, mean over seeds."""
    ax = ax or plt.gca()
    for name, runs in records.items():
        if not runs:
            continue
        curves = [record.rounds[0 if "dense" in name else -1]["curve"]["loss"] for record in runs]
        mean = np.mean(curves, axis=0)
        epochs = runs[0].config.train.epochs
        colour = TICKET if "ticket" in name else DENSE if "dense" in name else CONTROL
        style = "--" if "tuned" in name else "-"
        ax.plot(np.arange(epochs - len(mean), epochs) + 1, mean, style, color=colour, label=name)
        chance = np.log(len(runs[0].data["classes"]))
    ax.axhline(chance, **LEVEL | {"linestyle": ":"}, label="chance")
    ax.set(xlabel="epoch", ylabel="training loss")
    ax.legend(fontsize=8)
    return ax
