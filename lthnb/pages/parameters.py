"""A page's parameters, checked before torch is imported."""

import ast
import re
from dataclasses import dataclass, field
from typing import Any

from lthnb import config
from lthnb.config import PROFILES, RunConfig, host
from lthnb.images.places import DATASET, data_root, find
from lthnb.rules import (
    DEVICE,
    PRECISION,
    TEXT,
    TRUTH,
    ParameterError,
    Rule,
    did_you_mean,
    one_of,
    ruled,
    rules_of,
    whole,
)

SHARED = {"profile", "seeds", "train", "device", "runs"}  # parameters of every page


def is_there(value: str) -> bool:
    """Nothing, or the path of a folder."""
    try:
        return not value or data_root(value).is_dir()
    except (OSError, RuntimeError):  # too long; nobody has the name of ~NAME
        return False


DATA_ROOT = Rule(str, "a folder that is there, or empty", is_there)
FRACTION = Rule(
    float,
    "a share in (0, 1] or a whole number of images above 1",
    lambda value: 0 < value <= 1 or (value == int(value) and 1 < value <= 10**8),
)
SHIFTS = ("cifar10.1", "cifar10.2", "glyphs-shifted")
SHIFT = Rule(
    str,
    f"empty, one of {', '.join(SHIFTS)}, or folder:PATH",
    lambda value: value in ("", *SHIFTS) or value.startswith("folder:"),
    choices=(*SHIFTS, "folder:"),
)
CLASS_MAP = Rule(
    str, "empty, or pairs such as kitten=cat, fish=", re.compile(r"|[^,=]+=[^,=]*(,[^,=]+=[^,=]*)*").fullmatch
)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What a page was asked for."""

    profile: str = ruled("auto", one_of("auto", *PROFILES))
    seeds: int = ruled(3, whole(1, 1000))
    train: bool = ruled(False, TRUTH)
    device: str = ruled("auto", DEVICE)
    precision: str = ruled("auto", PRECISION)
    runs: str = ruled("", TEXT)
    dataset: str = ruled("auto", DATASET)
    data_root: str = ruled("", DATA_ROOT)
    fraction: float | None = ruled(None, FRACTION)  # of the page's own run; None: the page shows the plan
    shift: str = ruled("", SHIFT)  # images of another source that the page's networks are shown
    class_map: str = ruled("", CLASS_MAP)
    changes: dict[str, Any] = field(default_factory=dict)  # fields of the run that replace the profile's
    given: dict[str, Any] = field(default_factory=dict)  # what differs from the page's own cell


PAGE_RULES = config.RULES | rules_of(Parameters)


def assigned(cell: str) -> dict[str, Any]:
    """Names assigned at the top of a cell, each with its literal or, for an expression, ``...``."""
    try:
        body = ast.parse(cell).body
    except SyntaxError:  # a cell of magics
        return {}
    names = {}
    for node in body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            names[ast.unparse(target)] = getattr(node.value, "value", ...)
    return names


def declared_and_injected(history: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The parameters of the page's own cell with their defaults, and every name that was assigned there.

    The page's own cell is the one last run that assigns all ``SHARED`` names; what papermill injects follows
    it and begins with ``# Parameters``.
    """
    own = {}
    names = []
    for cell in history:
        assignments = assigned(cell)
        if cell.startswith("# Parameters"):
            names += assignments
        elif assignments.keys() >= SHARED:
            own = assignments
            names = list(assignments)
    return own, names


def check(namespace: dict[str, Any]) -> Parameters:
    """Check the parameters of the notebook whose ``globals()`` are given.

    Parameters that a profile decides may be None.

    Raises:
        ParameterError: an unknown name, a wrong type, a value out of range; with what is allowed.
        DataMissing: the folder or archive of ``dataset`` is not there.
    """
    declared, names = declared_and_injected(namespace["In"])
    known = [name for name in declared if name in PAGE_RULES]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"; this page knows {', '.join(known)}"
            raise ParameterError(f"{name} is not a parameter of this page, got {namespace.get(name)!r}{hint}")
    values = {}
    changes = {}
    for name in declared:
        value = namespace[name]
        if name not in config.RULES:
            values[name] = PAGE_RULES[name].check(name, value)
        elif value is not None:
            changes[name] = PAGE_RULES[name].check(name, value)
    values["given"] = {name: namespace[name] for name in declared if namespace[name] != declared[name]}
    for asked in ("dataset", "shift"):
        if values.get(asked, "").startswith("folder:"):
            find(values[asked].removeprefix("folder:"), values["data_root"])
    if values.get("shift") and not values["train"]:
        raise ParameterError("shift needs trained networks: pass -p train True with it")
    if values.get("class_map") and not values["shift"]:
        raise ParameterError("class_map belongs to a shift: pass -p shift folder:PATH with it")
    profile = "demo" if values["profile"] == "auto" else values["profile"]
    RunConfig.of(profile, **changes)  # combinations too
    if host() == "book":
        values["train"] = False
        values["seeds"] = max(values["seeds"], 6)
    return Parameters(**values, changes=changes)
