"""Tables of what was run beside the registered comparison: for looking, without a claim."""

from typing import Any

import numpy as np
import pandas as pd

from lthnb.pages import stats
from lthnb.pages.fair import EXPLORED, SECONDARY, cells, contrast, of_arm
from lthnb.pages.frame import pick
from lthnb.pages.tables import Lines, percent, table, trained


@table
def strong_contrasts(data: pd.DataFrame) -> Lines:
    """The strong ticket minus the strong dense network and its controls, by images, as far as run."""
    for (images, augment), group in data.groupby(["images", "augment"]):
        for pair in (SECONDARY[0], *EXPLORED):
            values = contrast(group, pair)
            if pair[0] == "strong ticket" and len(values):
                yield {"images": f"{images:,}", "augmentation": augment} | cells(group, pair, values)


def ladder(data: pd.DataFrame) -> pd.DataFrame:
    """Dense networks and tickets, of each length the seeds that were run at every rate that was tried."""
    steps = data[(data["dense"] | data["ticket"]) & data["arm"].isin(["dense", "ticket"])]
    step = steps["arm"] + steps["lr"].astype(str)
    run = step.groupby([steps["epochs"], steps["seed"]]).transform("nunique")
    return steps[run == run.groupby(steps["epochs"]).transform("max")]


@table
def best_rates(steps: pd.DataFrame) -> Lines:
    """The best rate of each arm and length of the ladder; chosen on test, so for looking only."""
    for (epochs, arm), rows in steps.groupby(["epochs", "arm"]):
        best = pick(rows, split="test").groupby("lr")["accuracy"].mean().idxmax()
        at_best = pick(rows, lr=best)
        yield {
            "epochs": epochs,
            "arm": arm,
            "rates tried": rows["lr"].nunique(),
            "best rate": f"{best:g}",
            "seeds": at_best["seed"].nunique(),
            "test (%)": percent(pick(at_best, split="test")),
            "train (%)": trained(pick(at_best, split="train")),
        }


@table
def noise(data: pd.DataFrame) -> Lines:
    """Accuracy on test, on train as labelled, and the share of wrong labels that is fitted."""
    for share, group in data.groupby("label_noise"):
        for name in ("dense", "ticket", "strong dense", "strong ticket"):
            rows = {split: of_arm(group, name, split) for split in ("test", "train", "wrong")}
            if len(rows["test"]):
                yield {
                    "wrong labels (%)": f"{100 * share:.0f}",
                    "arm": name,
                    "seeds": len(rows["test"]),
                    **{f"{split} (%)": percent(counted) for split, counted in rows.items()},
                    "train - test (points)": str(stats.interval(stats.paired(rows["train"], rows["test"]))),
                }


@table
def first_steps(measures: dict[str, dict[str, Any]]) -> Lines:
    """What one step at the rewind weights adds to the training loss, by learning rate: means over seeds."""
    for name in ("dense", "ticket", "shuffled") if measures else ():
        added = np.mean([values[name] for values in measures.values()], axis=0)
        rates = next(iter(measures.values()))["rates"]
        change = {f"at {rate:g}": f"{value:+.3f}" for rate, value in zip(rates, added, strict=True)}
        yield {"one step of": name, "seeds": len(measures), **change}


@table
def switches(data: pd.DataFrame) -> Lines:
    """Gain of the published ticket over its dense network, with each switch of the released code."""
    pair = ("ticket", "dense")
    for (rewind, cutout), rows in data.groupby(["rewind", "cutout"]):
        yield {
            "rewind": rewind,
            "cutout": cutout,
            "seeds": rows["seed"].nunique(),
            "dense (%)": percent(of_arm(rows, "dense")),
            "ticket (%)": percent(of_arm(rows, "ticket")),
            "gain (points)": str(stats.interval(contrast(rows, pair))),
            "train of either (%)": trained(*(of_arm(rows, name, "train") for name in pair)),
        }
