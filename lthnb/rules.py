"""What a value may be, and the errors that say so. Nothing here knows of runs, images or torch."""

import dataclasses
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any


class UserError(Exception):
    """Something the user can mend; a notebook shows its sentence instead of a stack trace."""

    def _render_traceback_(self) -> list[str]:  # IPython's hook for exceptions that print themselves
        return [f"{type(self).__name__}: {self}"]


class ParameterError(UserError, ValueError):
    """A parameter has an unknown name, a wrong type or an impossible value."""


class DataMissing(UserError, FileNotFoundError):
    """A data set is not where it was looked for."""


@dataclass(frozen=True)
class Rule:
    """What a value may be: its type, the words that say so, and the test of its range."""

    kind: type
    allowed: str
    holds: Callable[[Any], bool] = lambda value: True
    choices: tuple[str, ...] = ()

    def check(self, name: str, value: Any) -> Any:
        """Return ``value`` as ``kind``; raise ``ParameterError`` with name, value and what is allowed."""
        if self._right_type(value) and self.holds(value):
            return self.kind(value)
        hint = did_you_mean(value, self.choices)
        raise ParameterError(f"{name} must be {self.allowed}, got {value!r}{hint}")

    def _right_type(self, value: Any) -> bool:
        if isinstance(value, bool):  # Python counts True as a whole number
            return self.kind is bool
        if self.kind is float:
            return isinstance(value, int | float) and abs(value) < math.inf
        return isinstance(value, self.kind)


def did_you_mean(name: object, known: Collection[str]) -> str:
    """End of an error message: the known name nearest to ``name``, or nothing."""
    near = get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near and near[0] != name else ""


def one_of(*choices: str) -> Rule:
    """One of some names."""
    return Rule(str, "one of " + ", ".join(choices), lambda value: value in choices, choices)


def whole(low: int, high: int = 10**8) -> Rule:
    """A whole number from ``low`` to ``high``."""
    return Rule(int, f"a whole number from {low} to {high:,}", lambda value: low <= value <= high)


def between(low: float, high: float) -> Rule:
    """A number between two that it may not reach."""
    return Rule(float, f"a number above {low:g} and below {high:g}", lambda value: low < value < high)


SHARE = Rule(float, "a number from 0 to below 1", lambda value: 0 <= value < 1)
TEXT = Rule(str, "a folder's path that can be printed, or empty", str.isprintable)
DEVICE = one_of("auto", "cpu", "cuda")
PRECISION = one_of("auto", "bf16", "fp32")
TRUTH = Rule(bool, "True or False", choices=("True", "False"))


def ruled(default: Any, rule: Rule) -> Any:
    """A field of a dataclass with its default and its rule."""
    return dataclasses.field(default=default, metadata={"rule": rule})


def rules_of(*classes: type) -> dict[str, Rule]:
    """Field name -> rule, of the fields of some dataclasses that have one."""
    every = [field for one in classes for field in dataclasses.fields(one)]
    return {field.name: field.metadata["rule"] for field in every if "rule" in field.metadata}


class Checked:
    """Base of dataclasses whose fields keep their rules from the moment they are made."""

    def __post_init__(self) -> None:
        for name, rule in rules_of(type(self)).items():
            value = rule.check(name, getattr(self, name))
            object.__setattr__(self, name, value)
