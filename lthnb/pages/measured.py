"""What a page shows beside the records of its runs: measured where it is missing and the page trains."""

import dataclasses
import math
import time
from typing import Any

from lthnb.config import RunConfig
from lthnb.images.splits import load as load_data
from lthnb.lines import PAPERS_OWN
from lthnb.measures import measure as measures
from lthnb.measures.finished import FinishedRun
from lthnb.pages.study import Study, job_of
from lthnb.runs import record, sweep
from lthnb.runs.files import Damaged
from lthnb.runs.queue import Queue
from lthnb.runs.record import MissingRun, Record


def measure(
    study: Study, records: list[Record], name: str, until: float = math.inf
) -> dict[str, dict[str, Any]]:
    """Key -> what a measure tells of the runs that it is about.

    What is missing is measured if the page says so; tickets that are not at hand are made again.

    Args:
        until: time on the monotonic clock after which nothing more is measured, and what is left out is told.

    Raises:
        MissingRun: a measure was never made and ``train`` is False.
    """
    values: dict[str, dict[str, Any]] = {}
    every = name in measures.EVERY
    for finished in records:
        config = finished.config
        plain = config.prune.rounds and config.prune.control == "none"
        if not every and not (plain and config.train.augment == PAPERS_OWN.get(config.data.images)):
            continue
        try:
            values[config.key] = measures.load(config, name, study.settings.runs)
        except (MissingRun, Damaged) as error:
            if not study.page.train:
                raise
            if isinstance(error, Damaged):
                print(f"NOTE {error}; it is measured again")
            if time.monotonic() > until:
                print(f"{name} of {config.slug} left out: the time is over")
                continue
            run = finished_run(study, finished, [] if every else records)
            values[config.key] = measures.measure(run, name, study.settings.runs)
            print(f"{name} of {config.slug} is measured", flush=True)
    return values


def finished_run(study: Study, finished: Record, records: list[Record]) -> FinishedRun:
    """A run with its images and its relatives: those among some records that have the same initial weights.

    A run without relatives is measured on the device of the page.
    """
    folder = record.folders(study.settings.runs)[0]
    start = (finished.config.seed, finished.config.network)
    same = [other for other in records if (other.config.seed, other.config.network) == start]
    family = {other.config.key: FinishedRun(other, folder / other.config.key) for other in [finished, *same]}
    for key, run in family.items():
        if not run.has_tickets():
            remake(study, run.record.config)
            family[key] = FinishedRun(record.load(run.record.config, study.settings.runs), run.folder)
    about = finished.config.data
    source = study.images[about.name].source
    device = "cpu" if records else study.settings.chosen_device
    data = load_data(source, about, finished.config.seed, device)
    own = family.pop(finished.config.key)
    root = study.page.data_root
    return dataclasses.replace(own, data=data, source=source, root=root, relatives=tuple(family.values()))


def remake(study: Study, config: RunConfig) -> None:
    """Make the tickets of a run that is on record once more."""
    for news in sweep.one_by_one(Queue([dataclasses.replace(job_of(study, config), again=True)])):
        if news.error:
            raise news.error
