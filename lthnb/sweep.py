"""Many runs over an Executor: what is missing, most useful first, each begun only if it can end in time."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from lthnb.config import DataMissing, ParameterError, RunConfig, UserError, did_you_mean
from lthnb.costs import cost
from lthnb.experiments import chosen_device, finding, inside, precision
from lthnb.folders import Facts
from lthnb.parameters import clock
from lthnb.plans import PLAN, Cell, resolve
from lthnb.record import ROOT, folders, load
from lthnb.running import run, ticket_path
from lthnb.sets import open_source, place
from lthnb.stats import ticket_round

TRIES = 3  # times that a run may be begun by workers that die
source_of = functools.lru_cache(maxsize=1)(open_source)  # a worker keeps the images of the last data set


@dataclass(frozen=True)
class Task:
    """One run, and what a worker needs to make it; it can be sent to another machine."""

    config: RunConfig
    dataset: str  # how the images are opened
    data_root: str
    runs: str
    device: str  # auto: what the worker has
    precision: str
    seconds: float = 0.0  # that it may take

    def on_record(self) -> bool:
        """Whether it was ever made, here or among the published records."""
        places = [*folders(self.runs), ROOT / "book" / "runs"]
        return any((place / f"{self.config.key}.json").exists() for place in places)


def work(task: Task) -> float:
    """Make one run, or go on with it; return its seconds, the opening of its images aside. For a worker."""
    source, device = source_of(task.dataset, task.data_root), chosen_device(task.device)
    kind, began = precision(device, task.precision), time.monotonic()
    run(task.config, source, device=device, precision=kind, runs=task.runs)
    return time.monotonic() - began


def queue(
    findings: list[str], profile: str, options: SimpleNamespace
) -> Iterator[tuple[Cell, list[Task] | str]]:
    """The plan's cells at a scale with their runs, or with why they cannot be run, in its order.

    Args:
        findings: pages; none means all.
        options: data_root, runs, device, precision, scheduler, and seeds (at most; 0: as planned).

    Raises:
        ParameterError: an unknown finding.
    """
    known = sorted({name for cell in PLAN for name in cell.pages.split()})
    for name in findings:
        if name not in known:
            raise ParameterError(
                f"{name!r} is no finding of the plan{did_you_mean(name, known)}; it has {known}"
            )
    kind = "cuda" if options.device == "cuda" or (profile == "paper" and options.scheduler) else "cpu"
    facts: dict[str, Facts] = {}
    for cell in PLAN:
        seeds = cell.seeds(profile, options.seeds or 10**6)
        if not seeds or not (set(findings) & {*cell.pages.split()} or not findings):
            continue
        try:
            dataset = place(cell.data, "auto", options.data_root)
            if dataset not in facts:
                facts[dataset] = source_of(dataset, options.data_root).facts
            config = resolve(facts[dataset], profile, cell.change)
        except DataMissing as error:
            yield cell, str(error)
            continue
        seconds = cost(config, _evaluated(facts[dataset], config), kind)
        rest = (dataset, options.data_root, options.runs, options.device, options.precision, seconds)
        yield cell, [Task(config.replace(seed=seed), *rest) for seed in seeds]


def _evaluated(facts: Facts, config: RunConfig) -> int:
    """About how many images are evaluated after a training: train, val and a test set of usual size."""
    return (
        config.data.images + min(facts.pool // 10, config.data.val_limit) + (config.data.test_limit or 10_000)
    )


def local(workers: int, gpus: int = 0) -> Callable[[], Executor]:
    """Make pools of processes, one thread each; where there are GPUs, they take them in turn."""
    context = multiprocessing.get_context("spawn")
    given = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))

    def pool() -> Executor:
        names = context.Queue()
        for _, name in zip(range(workers), itertools.cycle(given.split(",")[:gpus])):
            names.put(name)
        return ProcessPoolExecutor(workers, context, _begin, (names if gpus > 1 else None,))

    return pool


def _begin(names: multiprocessing.Queue | None) -> None:
    if names is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = names.get()


@dataclass
class Sweep:
    """A queue at work: what is ``finished``, ``failed`` with the reason, or still ``waiting``.

    What waits at the end was too long for the time. A worker's death is charged to all runs at work then;
    those are begun again one at a time, so that only one that kills its worker is given up.
    """

    waiting: list[Task]
    pool: Callable[[], Executor]
    workers: Callable[[], int]  # tasks given to the executor at a time; a cluster may grow
    minutes: float = float("inf")
    work: Callable[[Task], float] = work
    finished: list[Task] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    at_work: dict[Future[float], Task] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)
    pace: float = 1.0  # seconds taken over seconds guessed, of the runs that ended

    def run(self) -> None:
        """Make all runs that can end in time; a pool whose worker was killed is made anew."""
        self.began, self.spent, self.guessed = time.monotonic(), 0.0, 0.0
        self.executor = self.pool()
        try:
            while self._fill():
                done, _ = wait(self.at_work, return_when=FIRST_COMPLETED)
                broken = [self._collect(future, self.at_work.pop(future)) for future in done]
                if any(broken):
                    for task in self.at_work.values():
                        self._again(task)
                    self.at_work.clear()
                    self.executor.shutdown(wait=False)
                    self.executor = self.pool()
        finally:
            for future in self.at_work:
                future.cancel()
            self.executor.shutdown(wait=not self.at_work)

    def _fill(self) -> bool:
        """Give every worker a task; return whether any has one."""
        suspects = any(task.config.key in self.tries for task in [*self.waiting, *self.at_work.values()])
        while len(self.at_work) < (1 if suspects else self.workers()) and (task := self._next()):
            self.waiting.remove(task)
            self.at_work[self._submit(task)] = task
        return bool(self.at_work)

    def _submit(self, task: Task) -> Future[float]:
        """Hand a task over; a pool that a dying worker broke a moment ago fails it, as its others."""
        try:
            return self.executor.submit(self.work, task)
        except BrokenExecutor as error:
            refused: Future[float] = Future()
            refused.set_exception(error)
            return refused

    def _next(self) -> Task | None:
        """The first task that can end in time; a control waits for the run of its ticket."""
        left = 60 * self.minutes - (time.monotonic() - self.began)
        ahead = {task.config.key for task in [*self.at_work.values(), *self.waiting]} | self.failed.keys()
        for task in self.waiting:
            alone = task.config.parent.key not in ahead - {task.config.key}
            if alone and task.seconds * self.pace <= left:
                return task
        return None

    def _collect(self, future: Future[float], task: Task) -> bool:
        """Take in what a worker has to say; return whether the executor is broken."""
        try:
            seconds = future.result()
        except BrokenExecutor:
            self._again(task)
            return True
        except Exception as error:  # one run that fails is told and stops no other
            self.failed[task.config.key] = f"{type(error).__name__}: {error}"
            print(f"FAILED {task.config.slug}: {self.failed[task.config.key]}", flush=True)
            return False
        self.finished.append(task)
        self.spent, self.guessed = self.spent + seconds, self.guessed + task.seconds
        self.pace = self.spent / self.guessed if self.guessed else 1.0
        print(f"{self.told()}: {task.config.slug}, {seconds:.0f} s", flush=True)
        return False

    def _again(self, task: Task) -> None:
        key = task.config.key
        self.tries[key] = self.tries.get(key, 0) + 1
        if self.tries[key] < TRIES:
            self.waiting.insert(0, task)
        else:
            self.failed[key] = f"its worker died {TRIES} times"
            print(f"FAILED {task.config.slug}: {self.failed[key]}", flush=True)

    def told(self) -> str:
        """How many runs are finished, and how long the rest will take."""
        rest = [*self.waiting, *self.at_work.values()]
        left = sum(task.seconds for task in rest) * self.pace / max(1, self.workers())
        total = len(self.finished) + len(self.failed) + len(rest)
        return f"{len(self.finished)} of {total} runs, {clock(left)} left"


def measure(options: SimpleNamespace, profile: str) -> None:
    """Measure what pages show beside the records of complete runs, while their tickets are here."""
    cells = [cell for cell in PLAN if "layers" in cell.pages.split() and cell.seeds(profile)]
    if (options.finding and "layers" not in options.finding) or not cells:
        return
    page = {"profile": profile, "seeds": options.seeds or 10**6, "train": True, "dataset": "auto"}
    page |= {name: getattr(options, name) for name in ("runs", "device", "data_root", "precision")}
    try:
        study = finding("layers", SimpleNamespace(**page))
    except DataMissing:  # told above, where the cell was left out
        return
    top = folders(options.runs)[0]
    made = [config for config in study.configs if (top / f"{config.key}.json").exists()]
    for seed in sorted({config.seed for config in study.configs}):
        records = [load(config, options.runs) for config in made if config.seed == seed]
        places = [ticket_path(top / r.config.key, ticket_round(r)) for r in records]
        whole = len(records) == sum(config.seed == seed for config in study.configs)
        if whole and all(place.exists() for place in places):
            inside(study, records)


@contextmanager
def on_dask(address: str) -> Iterator[tuple[Callable[[], Executor], Callable[[], int]]]:
    """The executor of a Dask cluster, once it has a worker, and its number of threads.

    Raises:
        UserError: Dask is not installed, or nothing answers at the address.
    """
    try:
        from distributed import Client

        client = Client(address, timeout=5)
    except ImportError as error:
        raise UserError("--scheduler needs Dask: pip install distributed") from error
    except OSError as error:
        raise UserError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        client.wait_for_workers(1)
        yield lambda: client.get_executor(pure=False), lambda: sum(client.nthreads().values())


def absolute(runs: str) -> str:
    """A folder of records by its full path, since workers may start elsewhere; the default stays empty."""
    return str(Path(runs).expanduser().resolve()) if runs else ""
