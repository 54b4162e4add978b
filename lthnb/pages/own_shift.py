"""A page's networks on anybody's images of the same classes: what ``-p shift`` asks for."""

import pandas as pd

from lthnb.measures import robustness
from lthnb.pages import measured, robust, stats
from lthnb.pages.frame import frame, pick
from lthnb.pages.study import Study
from lthnb.pages.tables import Lines, table
from lthnb.runs.record import Record


def mapped(text: str) -> dict[str, str] | None:
    """``"kitten=cat, fish="`` as class of the shifted set -> class of the training set; None for no text."""
    if not text:
        return None
    pairs = [pair.partition("=") for pair in text.split(",")]
    return {theirs.strip(): ours.strip() for theirs, _, ours in pairs}


@table
def accuracies(plan: Study, records: list[Record]) -> Lines:
    """Accuracy (%) of every named network on the images of ``shift``, and on its own test set.

    Raises:
        ParameterError: classes have no counterpart.
        DataMissing, DataError: the images are not there, damaged, or none is left.
    """
    robustness.opened.cache_clear()  # a folder may have changed since the cell was run last
    tested = pick(frame(records), split="test")
    tested["network"] = robust.names(tested)
    wanted = tested[tested["network"].isin(robust.SHOWN)]
    by_key = {record.config.key: record for record in records}
    class_map = mapped(plan.page.class_map)
    rows = []
    for row in wanted.itertuples():
        run = measured.finished_run(plan, by_key[row.key], [])
        own, other = robustness.under(run, row.round, plan.page.shift, class_map)
        rows.append((row.images, row.network, own, other))
    told = pd.DataFrame(rows, columns=["images", "network", "own", "other"])
    for (images, network), group in told.groupby(["images", "network"], sort=False):
        yield {
            "images": f"{images:,}",
            "network": network,
            "seeds": len(group),
            "test (%)": str(stats.interval(100 * group["own"])),
            f"{plan.page.shift} (%)": str(stats.interval(100 * group["other"])),
        }
