"""What a page says: sentences and tables that read well in the book, in JupyterLab and in a terminal."""

import math
import re
import string
import textwrap
from collections.abc import Mapping
from datetime import date
from typing import Any

import pandas as pd
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display

from lthnb.config import bare_name
from lthnb.rules import did_you_mean
from lthnb.runs.record import Record

TERMINAL = 100  # columns


class _Sentence(string.Formatter):
    """``str.format`` by names alone; a number that is not defined prints as a dash."""

    def get_value(self, key: int | str, args: Any, kwargs: Mapping[str, Any]) -> Any:
        name = str(key)
        if name not in kwargs:
            raise ValueError(
                f"the sentence names {name!r}, no number of this page{did_you_mean(name, kwargs)}"
            )
        return kwargs[name]

    def format_field(self, value: Any, format_spec: str) -> str:
        undefined = isinstance(value, float) and math.isnan(value)
        return "-" if undefined else super().format_field(value, format_spec)


def say(template: str, numbers: Mapping[str, Any], box: bool = False) -> None:
    """Show sentences with their numbers: Markdown where it is rendered, else plain text.

    Args:
        template: Markdown with names in braces, ``{gain:+.1f}``; an empty line begins a paragraph.
        numbers: what the names stand for; nan prints as ``-``.
        box: set it apart as the page's one sentence.

    Raises:
        ValueError: a name is not among the numbers.
    """
    text = _Sentence().vformat(template, (), numbers)
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip())]
    if box:
        paragraphs[0] = f"**In one sentence.** {paragraphs[0]}"
    markdown = "\n\n".join(paragraphs)
    if box:
        markdown = textwrap.indent(markdown, "> ", lambda line: True)
    show({"text/markdown": markdown, "text/plain": "\n\n".join(map(plain, paragraphs))})


def plain(paragraph: str) -> str:
    """Markdown as a terminal shows it: no emphasis, of a link its words, wrapped."""
    unlinked = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", paragraph)
    unmarked = re.sub(r"(\*\*|\*|`)(\S(?:.*?\S)?)\1", r"\2", unlinked)
    return textwrap.fill(unmarked, TERMINAL)


def table(frame: pd.DataFrame) -> None:
    """Show a table without its index: HTML where it is rendered, else aligned text."""
    if frame.empty:
        say("No runs of this are on record here.", {})
        return
    html = frame.to_html(index=False, border=0)
    show({"text/html": html, "text/plain": frame.to_string(index=False)})


def show(versions: dict[str, str]) -> None:
    """Display a text in the best of its versions; outside of IPython print the plain one."""
    if InteractiveShell.initialized():
        display(versions, raw=True)
    else:
        print(versions["text/plain"])


def provenance(records: list[Record]) -> str:
    """One line on what the numbers of a page come from: runs, days, computing time, machines, data."""
    made = [record.made for record in records]
    machines = sorted({f"{m['device']} {m['precision']} torch {m['versions']['torch']}" for m in made})
    names = sorted({bare_name(record.data["name"]) for record in records})
    days = [date.fromisoformat(m["date"]) for m in made]
    ends = [f"{day.day} {day:%b %Y}" for day in (min(days), max(days))]
    minutes = sum(m["seconds"] for m in made) / 60
    parts = [
        f"{len(records)} run{'s' * (len(records) > 1)}",
        " - ".join(dict.fromkeys(ends)),
        f"{minutes / 60:.0f} h of computing" if minutes > 90 else f"{minutes:.0f} min of computing",
        f"{len(machines)} machine{'s' * (len(machines) > 1)} ({'; '.join(machines)})",
        f"data {', '.join(names)}",
    ]
    return ", ".join(parts)
