"""What papermill and the book builder load, so that a notebook knows who runs it. Nothing else imports it.

papermill imports it through the ``papermill.engine`` entry point before it reads its command line; Sphinx
imports it as an extension. Both hand ``LTHNB_HOST`` down to the kernels they start.
"""

import logging
import os
import sys
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ONE = (
    "-f --parameters_file -y --parameters_yaml -b --parameters_base64 --engine -k --kernel -l --language "
    "--cwd --autosave-cell-every --stdout-file --stderr-file --log-level --start-timeout --start_timeout "
    "--execution-timeout"
)
TAKES = {"-p": 2, "--parameters": 2, "-r": 2, "--parameters_raw": 2} | dict.fromkeys(ONE.split(), 1)
# papermill's options and the number of words that follow each


def positionals(words: list[str]) -> list[str]:
    """Return the words of a papermill command line that belong to no option."""
    found, words = [], list(words)
    while words:
        word = words.pop(0)
        if word == "--":
            return found + words
        if not word.startswith("-") or word == "-":
            found.append(word)
        elif word in TAKES:
            del words[: TAKES[word]]
        elif word[:2] in TAKES:  # -pfraction 0.01
            del words[: TAKES[word[:2]] - 1]
    return found


def complete(words: list[str], now: datetime) -> list[str]:
    """Add an output path and ``--log-output`` when the only positional word is one of our notebooks."""
    found = positionals(words)
    ours = len(found) == 1 and Path(found[0]).resolve().parent == ROOT / "notebooks"
    if not ours or {"--help-notebook", "--help"} & {*words}:
        return words
    output = ROOT / "runs" / f"{Path(found[0]).stem}-{now:%Y%m%d-%H%M%S}-{os.getpid()}.ipynb"
    output.parent.mkdir(exist_ok=True)
    place = words.index(found[0]) + 1
    return [*words[:place], str(output), "--log-output", "--no-progress-bar", *words[place:]]


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
    if Path(sys.argv[0]).stem == "papermill" or sys.orig_argv[1:3] == ["-m", "papermill"]:
        sys.argv[1:] = complete(sys.argv[1:], datetime.now())
    logging.getLogger("papermill").addFilter(wanted)
