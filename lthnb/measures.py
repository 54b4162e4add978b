"""What is measured on a run later than it was made: ``KEY.MEASURE.json``, beside its record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lthnb.config import RunConfig
from lthnb.record import MissingRun, folders
from lthnb.store import UNSEALED, Damaged, read, seal, write

SCHEMA = 1


def save(config: RunConfig, name: str, values: dict[str, Any], runs: str = "") -> Path:
    """Write a measure of a run whole or not at all; return its path."""
    path = folders(runs)[0] / f"{config.key}.{name}.json"
    document = {"schema": SCHEMA, "seal": UNSEALED, "key": config.key, "measure": name, "values": values}
    write(path, seal((json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n").encode()))
    return path


def load(config: RunConfig, name: str, runs: str = "") -> dict[str, Any]:
    """Read a measure of a run; raise ``MissingRun`` when it was never made, ``Damaged`` if it was changed."""
    for folder in folders(runs):
        path = folder / f"{config.key}.{name}.json"
        if path.exists():
            document = json.loads(read(path))
            if (document["schema"], document["key"], document["measure"]) != (SCHEMA, config.key, name):
                raise Damaged(f"{path.name} is of another run or another version; remove it to measure again")
            return document["values"]
    raise MissingRun(f"{name} of {config.slug} was never measured; pass -p train True to do it")
