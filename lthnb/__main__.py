"""``python -m lthnb``: what papermill does not do."""

import argparse
import json
import os
import sys
from pathlib import Path

from lthnb.config import ROOT, DataMissing, ParameterError, RunConfig, UserError
from lthnb.rules import whole
from lthnb.runs.files import Damaged, is_locked, lock, remove
from lthnb.runs.record import folders, read


def state(folder: Path) -> tuple[str, str, str]:
    """Return state, progress and description of a run; its own folder is the only truth about it."""
    try:
        return whole_state(folder)
    except (UserError, ValueError, KeyError, TypeError, OSError) as error:
        return "damaged", str(error), ""


def whole_state(folder: Path) -> tuple[str, str, str]:
    """The same of a run whose files are whole."""
    from lthnb.runs.ticket import read_packed

    record = folder.with_suffix(".json")
    if os.path.lexists(record):  # a link that leads nowhere is no run without a record
        made = read(record)
        return "done", f"{len(made.rounds)} rounds", made.config.slug
    name = "running" if is_locked(folder) else "interrupted"
    diverged = folder / "diverged.json"
    if diverged.exists():
        return "diverged", why_diverged(diverged), ""
    for path in sorted(folder.glob("checkpoint-*.safetensors"), reverse=True):
        try:
            _, about = read_packed(path)
        except (Damaged, FileNotFoundError):
            continue
        progress = about["progress"]
        config = RunConfig.from_dict(progress["config"])
        where = f"round {progress['round']} of {config.prune.rounds}, epoch {progress['epoch']}"
        return name, where, config.slug
    return name, "before the first checkpoint", ""


def why_diverged(path: Path) -> str:
    """What a run that diverged left behind; raise ``Damaged`` if that tells nothing."""
    try:
        return str(json.loads(path.read_text())["message"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise Damaged(f"{path.name} does not say why: {error}") from error


def runs(options: argparse.Namespace) -> int:
    """List the runs of a folder, or clear the working files of some."""
    top = folders(options.runs)[0]
    if options.runs and not top.is_dir():
        raise ParameterError(f"--runs must be a folder, got {options.runs!r}")
    key = "[0-9a-f]" * 16
    named = [*top.glob(f"{key}.json"), *top.glob(f"{key}/")]
    paths = sorted({path.with_suffix("") for path in named})
    if options.clear:
        return clear(paths, options.clear, top)
    for path in paths:
        size = sum(file.stat().st_size for file in path.glob("*") if file.exists()) / 1e6
        name, progress, what = state(path)
        print(f"{path.name}  {name:<11}  {size:8.1f} MB  {progress:<32}  {what}")
    print(f"{len(paths)} runs; --clear KEY (or done, interrupted, diverged) removes checkpoints and tickets")
    return 0


def clear(paths: list[Path], wanted: list[str], top: Path) -> int:
    """Remove the working files of runs by key or state; what is running stays."""
    chosen = [path for path in paths if path.name in wanted or state(path)[0] in wanted]
    for path in chosen:
        if is_locked(path):
            print(f"{path.name} is running and stays")
        elif path.is_dir():
            with lock(path, wait=0):
                remove(path)
            print(f"{path.name}: working files removed")
    if not chosen:
        print(f"nothing in {top} is {' or '.join(wanted)}")
    return 0 if chosen else 1


def bench(options: argparse.Namespace) -> int:
    """Print, and with ``--json`` keep, how fast this machine is."""
    from lthnb.runs.files import write

    whole(1, 50_000).check("--images", options.images)
    kept = Path(options.json)
    if options.json and (kept.is_dir() or not kept.absolute().parent.is_dir()):
        raise ParameterError(f"--json must name a file in a folder that is there, got {options.json!r}")
    tests = ROOT / "tests"
    if not (tests / "helpers" / "speed.py").exists():
        raise DataMissing(f"the plain references are not in {tests}; bench runs in the repository")
    sys.path.insert(0, str(tests))
    from helpers import gpu, speed

    print(f"{'one thread, CPU time':<52}{'ours':>12}{'plain':>12}  {'ratio':>7}")
    rows = []
    for row in gpu.measure() if options.gpu else speed.measure(options.images):
        rows.append(row)
        print(speed.shown(row), flush=True)
    if options.gpu:
        print(gpu.kernels())
    if options.json:
        write(kept, json.dumps(rows, indent=1).encode())
    return 0


def sweep(options: argparse.Namespace) -> int:
    """Make the runs of findings that are missing, or list them."""
    from lthnb.pages import plan

    return plan.sweep(plan.Wish(**vars(options)))


def verify(options: argparse.Namespace) -> int:
    """Evaluate shipped tickets again and compare with their records."""
    from lthnb.runs.machine import Settings
    from lthnb.runs.verify import check

    shipped = sorted((ROOT / "book" / "tickets").glob("*.safetensors"))
    paths = [Path(name) for name in options.ticket] or shipped
    settings = Settings(data_root=options.data_root, device=options.device)
    results = [check(path, settings) for path in paths]
    for result in results:
        print(result.line)
    return 0 if results and all(result.holds for result in results) else 1


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m lthnb", description=__doc__)
    commands = top.add_subparsers(required=True)
    about = "make the runs that pages need; run again to go on"
    add_sweep(commands.add_parser("sweep", help=about, argument_default=argparse.SUPPRESS))
    listing = commands.add_parser("runs", help="list runs with state, progress and size; clear what is left")
    listing.set_defaults(do=runs)
    add_folder(listing)
    listing.add_argument("--clear", nargs="+", default=[], metavar="KEY", help="keys or states; records stay")
    speed = commands.add_parser("bench", help="speed of this machine, each figure beside the plain way")
    speed.set_defaults(do=bench)
    speed.add_argument("--images", type=int, default=2000, help="to augment; default 2000")
    speed.add_argument("--gpu", action="store_true", help="only what needs a GPU, in under a minute")
    speed.add_argument("--json", default="", help="keep the rows as JSON")
    again = commands.add_parser("verify", help="evaluate tickets again and compare with their records")
    again.set_defaults(do=verify)
    again.add_argument("ticket", nargs="*", help="files; default: those in book/tickets")
    add_machine(again)
    return top


def add_sweep(many: argparse.ArgumentParser) -> None:
    """The options of ``sweep``; what is not given is decided by ``Wish``, which checks all."""
    many.set_defaults(do=sweep)
    many.add_argument("finding", nargs="*", help="pages; none: the whole plan, the most useful first")
    many.add_argument("--profile", help="smoke, demo, wide or paper; default: by the device")
    many.add_argument("--dataset", help="for all runs; a page's parameter of that name")
    many.add_argument("--minutes", type=float, help="start nothing that would end later")
    many.add_argument("--seeds", type=int, help="at most so many of each")
    many.add_argument("--scheduler", help="a Dask scheduler elsewhere")
    many.add_argument("--workers", type=int, help="default: one a core, or one a GPU")
    many.add_argument("--list", action="store_true", help="show what is missing, and make nothing")
    many.add_argument("--precision", help="auto, bf16 or fp32, of forward and backward passes")
    add_folder(many)
    add_machine(many)


def add_folder(command: argparse.ArgumentParser) -> None:
    """Where records lie."""
    command.add_argument("--runs", default="", help="folder of records; default: runs/")


def add_machine(command: argparse.ArgumentParser) -> None:
    """Where data sets lie, and what computes."""
    about = "where data sets lie; default: LTHNB_DATA, else data/"
    command.add_argument("--data-root", default="", help=about)
    command.add_argument("--device", default="auto", help="cpu or cuda; default: a GPU where there is one")


def main(words: list[str] | None = None) -> int:
    """Parse the command line; return the exit status."""
    options = parser().parse_args(words)
    do = vars(options).pop("do")
    try:
        status = do(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # who reads has seen enough, ``head`` for example
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as a shell counts it
    except (UserError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
