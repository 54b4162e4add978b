"""``python -m lthnb``: what papermill does not do."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from pathlib import Path

from lthnb.config import RunConfig, UserError
from lthnb.record import folders, read
from lthnb.store import Damaged, is_locked, lock


def state(folder: Path) -> tuple[str, str, str]:
    """Return state, progress and description of a run; its own folder is the only truth about it."""
    try:
        return _state(folder)
    except (UserError, ValueError, KeyError, TypeError, OSError) as error:
        return "damaged", str(error), ""


def _state(folder: Path) -> tuple[str, str, str]:
    from lthnb.tickets import read_packed

    finished = folder.with_suffix(".json")
    if finished.exists():
        made = read(finished)
        return "done", f"{len(made.rounds)} rounds", made.config.slug
    found = "running" if is_locked(folder) else "interrupted"
    if (folder / "diverged.json").exists():
        return "diverged", json.loads((folder / "diverged.json").read_text())["message"], ""
    for path in sorted(folder.glob("checkpoint-*.safetensors"), reverse=True):
        try:
            progress = read_packed(path)[1]["progress"]
        except (Damaged, FileNotFoundError):
            continue
        config = RunConfig.from_dict(progress["config"])
        where = f"round {progress['round']} of {config.prune.rounds}, epoch {progress['epoch']}"
        return found, where, config.slug
    return found, "before the first checkpoint", ""


def runs(options: argparse.Namespace) -> int:
    """List the runs of a folder, or clear the working files of some."""
    top = folders(options.runs)[0]
    named = {path.with_suffix("") for path in top.glob("*") if path.suffix in ("", ".json")}
    found = sorted(path for path in named if re.fullmatch("[0-9a-f]{16}", path.name))
    told = {path: state(path) for path in found}
    if options.clear:
        chosen = [path for path in found if path.name in options.clear or told[path][0] in options.clear]
        for path in chosen:
            if told[path][0] == "running":
                print(f"{path.name} is running and stays")
            elif path.is_dir():
                with lock(path, wait=0):
                    shutil.rmtree(path)
                print(f"{path.name}: working files removed")
        if not chosen:
            print(f"nothing in {top} is {' or '.join(options.clear)}")
        return 0 if chosen else 1
    for path in found:
        size = sum(file.stat().st_size for file in path.glob("*") if file.exists()) / 1e6
        name, progress, what = told[path]
        print(f"{path.name}  {name:<11}  {size:8.1f} MB  {progress:<32}  {what}")
    print(f"{len(found)} runs; --clear KEY (or done, interrupted, diverged) removes checkpoints and tickets")
    return 0


def bench(options: argparse.Namespace) -> int:
    """Print, and with ``--json`` keep, how fast this machine is."""
    from lthnb.bench import measure, shown
    from lthnb.store import write

    print(f"{'one thread, CPU time':<52}{'ours':>12}{'plain':>12}  {'ratio':>7}")
    rows = []
    for row in measure(options.images):
        rows.append(row)
        print(shown(row), flush=True)
    if options.json:
        write(Path(options.json), json.dumps(rows, indent=1).encode())
    return 0


def main(words: list[str] | None = None) -> int:
    """Parse the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lthnb", description=__doc__)
    commands = parser.add_subparsers(required=True)
    listing = commands.add_parser(
        "runs", help="list runs with state, progress and size; clear what is left over"
    )
    listing.add_argument("--runs", default="", metavar="DIR", help="folder of records; default: runs/")
    listing.add_argument("--clear", nargs="+", default=[], metavar="KEY", help="keys or states; records stay")
    listing.set_defaults(do=runs)
    speed = commands.add_parser("bench", help="speed of this machine, each figure beside the plain way")
    speed.add_argument(
        "--images", type=int, default=2000, metavar="N", help="images to augment; default 2000"
    )
    speed.add_argument("--json", default="", metavar="FILE", help="keep the rows as JSON")
    speed.set_defaults(do=bench)
    options = parser.parse_args(words)
    try:
        return options.do(options)
    except UserError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
