"""What is measured on a run later than it was made: ``KEY.MEASURE.json``, beside its record."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lthnb.config import RunConfig
from lthnb.measures import fair_test, layers, robustness
from lthnb.measures.finished import FinishedRun
from lthnb.runs import files
from lthnb.runs.files import Damaged
from lthnb.runs.record import MissingRun, folders

SCHEMA = 1
MEASURES: dict[str, Callable[[FinishedRun], dict[str, Any]]] = {
    "layers": layers.measure,
    "fair_test": fair_test.measure,
    "robustness": robustness.measure,
}
# Measured on every run of their page, each alone; others on pruning runs with the paper's augmentation for
# their size, beside their relatives.
EVERY = {"robustness"}


def save(config: RunConfig, name: str, values: dict[str, Any], runs: str = "") -> Path:
    """Write a measure of a run whole or not at all; return its path."""
    path = folders(runs)[0] / f"{config.key}.{name}.json"
    document = {"key": config.key, "measure": name, "values": values}
    files.write(path, files.sealed_json(SCHEMA, document))
    return path


def load(config: RunConfig, name: str, runs: str = "") -> dict[str, Any]:
    """Read a measure of a run; raise ``MissingRun`` when it was never made, ``Damaged`` if it was changed."""
    for folder in folders(runs):
        path = folder / f"{config.key}.{name}.json"
        if path.exists():
            document = json.loads(files.read(path))
            about = [document.get(field) for field in ("schema", "key", "measure")]
            if about != [SCHEMA, config.key, name]:
                raise Damaged(f"{path.name} is of another run or another version; remove it to measure again")
            return document["values"]
    raise MissingRun(f"{name} of {config.slug} was never measured; pass -p train True to do it")


def measure(run: FinishedRun, name: str, runs: str = "") -> dict[str, Any]:
    """Measure a finished run and keep what comes out."""
    values = MEASURES[name](run)
    save(run.record.config, name, values, runs)
    return values
