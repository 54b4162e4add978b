"""``python -m lthnb``: what papermill does not do."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from lthnb.config import ROOT, DataMissing, ParameterError, RunConfig, UserError, whole
from lthnb.record import folders, read
from lthnb.store import Damaged, is_locked, lock, remove


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
                    remove(path)
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
    from lthnb.store import write

    if not (ROOT / "tests" / "speed.py").exists():
        raise DataMissing(f"the plain references are not in {ROOT / 'tests'}; bench runs in the repository")
    sys.path.insert(0, str(ROOT / "tests"))
    from speed import measure, shown

    print(f"{'one thread, CPU time':<52}{'ours':>12}{'plain':>12}  {'ratio':>7}")
    rows = []
    for row in measure(options.images):
        rows.append(row)
        print(shown(row), flush=True)
    if options.json:
        write(Path(options.json), json.dumps(rows, indent=1).encode())
    return 0


def sweep(options: argparse.Namespace) -> int:
    """Make the runs of findings that are missing, or list them."""
    import torch

    from lthnb import sweep as many
    from lthnb.experiments import chosen_device
    from lthnb.parameters import PAGE_RULES, clock

    options.runs = many.absolute(options.runs)
    elsewhere = options.list or options.scheduler  # what a GPU would take may be listed anywhere
    if not elsewhere:
        options.device = chosen_device(options.device)
    here = chosen_device("auto") if options.device == "auto" else options.device
    PAGE_RULES["profile"].check("profile", options.profile)
    for name in ("seeds", "workers"):
        whole(0).check(f"--{name}", getattr(options, name))
    if not options.minutes > 0:
        raise ParameterError(f"--minutes must be above 0, got {options.minutes:g}")
    profile = "demo" if here == "cpu" else "paper"
    profile = profile if options.profile == "auto" else options.profile
    missing: dict[str, many.Task] = {}
    for cell, tasks in many.queue(options.finding, profile, options):
        what = f"{cell.pages:<40}  {cell.data:<9}  {_words(cell.change):<52}"
        if isinstance(tasks, str):
            print(f"{what}  left out: {tasks.partition(';')[0]}")
            continue
        left = [task for task in tasks if not task.on_record()]
        if options.list:
            print(
                f"{what}  {len(tasks) - len(left)} of {len(tasks)} on record, {tasks[0].seconds:6.0f} s each"
            )
        missing |= {task.config.key: task for task in left}
    total = clock(sum(task.seconds for task in missing.values()))
    print(f"{len(missing)} runs at {profile} scale are missing: {total} on one {here} worker")
    if options.list:
        return 0
    gpus = torch.cuda.device_count() if options.device == "cuda" else 0
    number = options.workers or gpus or len(os.sched_getaffinity(0))
    places = nullcontext((many.local(number, gpus), lambda: number))
    with many.on_dask(options.scheduler) if options.scheduler else places as (pool, workers):
        job = many.Sweep(list(missing.values()), pool, workers, options.minutes)
        job.run()
    if not options.scheduler:
        many.measure(options, profile)
    orphans = sum(task.config.parent.key in job.failed for task in job.waiting)
    late, failed = len(job.waiting) - orphans, f"{len(job.failed)} failed"
    failed += f", {orphans} wait for the ticket of a run that failed" if orphans else ""
    print(f"{len(job.finished)} runs made, {late} too long for the time, {failed}")
    return 1 if job.failed else 0


def _words(change: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in list(change.items())[:4])


def verify(options: argparse.Namespace) -> int:
    """Evaluate shipped tickets again and compare with their records."""
    from lthnb.verify import check

    paths = [Path(name) for name in options.ticket] or sorted(
        (ROOT / "book" / "tickets").glob("*.safetensors")
    )
    results = [check(path, options.data_root, options.device) for path in paths]
    for result in results:
        print(result.line)
    return 0 if results and all(result.holds for result in results) else 1


def main(words: list[str] | None = None) -> int:
    """Parse the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lthnb", description=__doc__)
    commands = parser.add_subparsers(required=True)

    def command(do: Callable[[argparse.Namespace], int], about: str) -> Callable[..., argparse.Action]:
        one = commands.add_parser(do.__name__, help=about, description=about)
        one.set_defaults(do=do)
        return one.add_argument

    folder = {"default": "", "metavar": "DIR", "help": "folder of records; default: runs/"}
    root = {"default": "", "metavar": "DIR", "help": "where data sets lie; default: LTHNB_DATA, else data/"}
    device = {
        "default": "auto",
        "choices": ["auto", "cpu", "cuda"],
        "help": "default: a GPU where there is one",
    }
    many = command(sweep, "make the runs that pages need, the most useful first; run again to go on")
    many("finding", nargs="*", help="pages; none: the whole plan")
    many("--profile", default="auto", help="smoke, demo or paper; default: paper on a GPU, else demo")
    many("--minutes", type=float, default=math.inf, metavar="M", help="start no run that would end later")
    many("--runs", **folder)
    many("--seeds", type=int, default=0, metavar="N", help="at most so many of each configuration")
    many("--scheduler", default="", metavar="ADDRESS", help="a Dask scheduler; default: processes here")
    many("--workers", type=int, default=0, metavar="N", help="processes; default: one a core, or one a GPU")
    many("--data-root", **root)
    many("--device", **device)
    many(
        "--precision", default="auto", choices=["auto", "bf16", "fp32"], help="of forward and backward passes"
    )
    many("--list", action="store_true", help="show what is missing and how long it takes, and make nothing")
    listing = command(runs, "list runs with state, progress and size; clear what is left over")
    listing("--runs", **folder)
    listing("--clear", nargs="+", default=[], metavar="KEY", help="keys or states; records stay")
    speed = command(bench, "speed of this machine, each figure beside the plain way")
    speed("--images", type=int, default=2000, metavar="N", help="images to augment; default 2000")
    speed("--json", default="", metavar="FILE", help="keep the rows as JSON")
    again = command(verify, "evaluate tickets again and compare with their records")
    again("ticket", nargs="*", help="files; default: those in book/tickets")
    again("--data-root", **root)
    again("--device", **device)
    options = parser.parse_args(words)
    try:
        return options.do(options)
    except UserError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
