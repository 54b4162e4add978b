"""Winning tickets from little data: iterative magnitude pruning, and what the book needs to judge it.

The public door: ``RunConfig`` says what is run, ``run`` makes it, ``records`` reads what is there, ``frame``
lays it out as one table, ``Ticket`` is what a run finds.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
DOOR = {
    "RunConfig": ("lthnb.config", "RunConfig"),
    "run": ("lthnb.runs.sweep", "run"),
    "records": ("lthnb.runs.record", "load_all"),
    "frame": ("lthnb.pages.frame", "frame"),
    "Ticket": ("lthnb.runs.ticket", "Ticket"),
}
__all__ = list(DOOR)


def __getattr__(name: str) -> Any:  # torch is imported when it is asked for: papermill loads this package too
    if name not in DOOR:
        raise AttributeError(f"module 'lthnb' has no attribute {name!r}")
    module, attribute = DOOR[name]
    return getattr(import_module(module), attribute)
