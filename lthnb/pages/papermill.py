"""What papermill and the book builder load, so that a notebook knows who runs it. Nothing else imports it.

papermill imports it through the ``papermill.engine`` entry point before it reads its command line; Sphinx
imports it as an extension. Both hand ``LTHNB_HOST`` down to the kernels they start.
"""

import logging
import os
import sys
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent.parent
ONE = (
    "-f --parameters_file -y --parameters_yaml -b --parameters_base64 --engine -k --kernel -l --language "
    "--cwd --autosave-cell-every --stdout-file --stderr-file --log-level --start-timeout --start_timeout "
    "--execution-timeout"
)  # papermill's options that one word follows


def command() -> click.Command:
    """A command line like papermill's, whose own is not loaded yet; its flags count as words."""
    pairs = (["-p", "--parameters"], ["-r", "--parameters_raw"])
    params = [click.Option(names, nargs=2, multiple=True) for names in pairs]
    params += [click.Option([name]) for name in ONE.split()]
    params.append(click.Argument(["words"], nargs=-1))
    return click.Command("papermill", params=params, context_settings={"ignore_unknown_options": True})


def parsed(words: list[str]) -> tuple[list[str], dict[str, Any]]:
    """The words of a papermill command line that belong to no option, and its options by name.

    Raises:
        click.UsageError: an option lacks its value.
    """
    options = command().make_context("papermill", [*words]).params
    found = [word for word in options["words"] if word == "-" or not word.startswith("-")]
    return found, options


def complete(words: list[str], now: datetime) -> list[str]:
    """Add an output path and ``--log-output`` when the only positional word is one of our notebooks.

    The executed notebook lies where the records do: in the folder given as ``runs``, else in runs/.
    """
    if {"--help-notebook", "--help", "-h"} & {*words}:
        return words
    try:
        found, options = parsed(words)
    except click.UsageError:  # papermill tells it
        return words
    ours = len(found) == 1 and Path(found[0]).resolve().parent == ROOT / "notebooks"
    if not ours:
        return words
    given = dict([*options["parameters"], *options["parameters_raw"]])
    folder = writable(given.get("runs") or str(ROOT / "runs"), options["cwd"] or "")
    output = folder / f"{Path(found[0]).stem}-{now:%Y%m%d-%H%M%S}-{os.getpid()}.ipynb"
    return ["--log-output", "--no-progress-bar", *words, str(output)]


def writable(runs: str, start: str) -> Path:
    """The folder of an executed notebook, made if needed; a sentence ends the program where it cannot be."""
    try:
        folder = Path(start, Path(runs).expanduser()).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("it is read-only")
    except (OSError, RuntimeError) as error:  # RuntimeError: nobody has the name of ~NAME
        why = getattr(error, "strerror", None) or error
        sys.exit(f"cannot write {runs}: {why}; pass -p runs DIR or an output path after the notebook")
    return folder


def is_papermill() -> bool:
    """Whether this process is ``papermill`` or ``python -m papermill``, whatever options Python got."""
    if sys.argv[0] == "-m":  # until Python has found the module
        return sys.orig_argv[-len(sys.argv)].removeprefix("-m") == "papermill"
    return Path(sys.argv[0]).stem == "papermill"


def show_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the one sentence of an error whose trace a notebook leaves out too, any other as usual."""
    shown = getattr(error, "traceback", [])  # as the notebook shows it
    if len(shown) == 1 and shown[0] == f"{error.ename}: {error.evalue}":
        print(*shown, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def wanted(entry: logging.LogRecord) -> bool:
    """Keep what a notebook prints; drop papermill's two lines around every cell."""
    return not str(entry.msg).startswith(("Executing Cell", "Ending Cell", "<Figure"))


def setup(app: object) -> dict[str, bool]:
    """Sphinx's entry: kernels of a book build read records, they never train or download."""
    os.environ["LTHNB_HOST"] = "book"
    return {"parallel_read_safe": True}


class Papermill:
    """What the entry point names; papermill wants a class and never uses this one."""


if "papermill" in sys.modules and os.environ.get("LTHNB_HOST") != "book":
    os.environ["LTHNB_HOST"] = "papermill"
    if is_papermill():
        sys.excepthook = show_error
        sys.argv[1:] = complete(sys.argv[1:], datetime.now())
    logging.getLogger("papermill").addFilter(wanted)
