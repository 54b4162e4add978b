"""Many runs, by Dask on this machine or a cluster, or one by one."""

from __future__ import annotations

import functools
import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from lthnb.config import ParameterError, RunConfig, UserError
from lthnb.images.sources import by_record, open_source
from lthnb.runs import record
from lthnb.runs.execute import execute
from lthnb.runs.files import RunBusy
from lthnb.runs.machine import DeviceLost, NotCaptured, Settings
from lthnb.runs.packed import TicketError
from lthnb.runs.queue import Job, News, Queue, missing, same_images
from lthnb.runs.record import Record

if TYPE_CHECKING:
    from distributed import Client

PATIENCE = 60  # seconds to wait for a worker
DEATHS = 2  # workers that one run may take with it before it is given up
EPOCHS = "lthnb epochs"  # the topic of Dask events by which workers tell how far they are
ADDRESS = re.compile(r"(\w+://)?([\w.-]+|\[[0-9a-fA-F:.]+\]):\d{1,5}").fullmatch
remembered_source = functools.lru_cache(maxsize=1)(open_source)  # a worker keeps the images of the last set


Work = Callable[[Job], Iterator[int]]


def work(job: Job) -> Iterator[int]:
    """Make one run, or go on with it, and tickets of the run before that were lost; yield the epochs done."""
    source = remembered_source(job.dataset, job.settings.data_root)
    try:
        yield from execute(job.config, source, job.settings, again=job.again)
    except TicketError as error:  # of the run that it requires; once more, and then it is an error
        if job.config.requires is None:
            raise
        print(f"NOTE {error}: the tickets of {job.config.requires.slug} are made again", flush=True)
        for _ in execute(job.config.requires, source, job.settings, again=True):
            pass
        yield from execute(job.config, source, job.settings)


def one_by_one(queue: Queue, work: Work = work) -> Iterator[News]:
    """Make the jobs of a queue in this process."""
    while (job := queue.begin()) or queue.wait():
        if not job:
            continue
        began = time.monotonic()
        try:
            for done in work(job):
                yield News(job, "epoch", done)
        except RunBusy as error:
            queue.put_back(job, error)
        except Exception as error:  # one run that fails is told and stops no other
            yield from queue.fail(job, error)
            if isinstance(error, DeviceLost | NotCaptured):  # nor would any other work
                raise
        else:
            yield queue.finish(job, time.monotonic() - began)


def on_dask(queue: Queue, client: Client, work: Work = work) -> Iterator[News]:
    """Make the jobs of a queue on the workers of a Dask cluster, one a thread; a cluster may grow.

    Dask begins a job anew whose worker died, and gives it up when it took too many with it.
    """
    from distributed import wait

    at_work = {}
    told = deque()  # key of a run, epochs done
    client.subscribe_topic(EPOCHS, lambda event: told.append(event[1]))
    while True:
        while len(at_work) < threads(client, queue) and (job := queue.begin()):
            at_work[client.submit(work_there, work, job, pure=False)] = job
        if not at_work:
            if queue.wait():
                continue
            break
        with suppress(TimeoutError):  # nothing ended in this second; epochs may have
            wait(list(at_work), timeout=1, return_when="FIRST_COMPLETED")
        while told:
            key, done = told.popleft()
            if key in queue.running:
                yield News(queue.running[key], "epoch", done)
        for future in [future for future in at_work if future.done()]:
            job = at_work.pop(future)
            error = future.exception()
            if error is None:
                yield queue.finish(job, future.result())
            elif isinstance(error, RunBusy):
                queue.put_back(job, error)
            else:
                yield from queue.fail(job, error)
            if isinstance(error, NotCaptured):  # nor would any other be
                client.cancel(list(at_work))
                raise error
    client.unsubscribe_topic(EPOCHS)


def threads(client: Client, queue: Queue) -> int:
    """Threads of a cluster; where there is work and none is left, wait for a worker to come back.

    Raises:
        UserError: none has come for a minute.
    """
    number = sum(client.nthreads().values())
    if number or queue.running or not queue.waiting:
        return number
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError as error:
        said = f"the Dask cluster has had no worker for {PATIENCE} s; start some and run again"
        raise UserError(said) from error
    return sum(client.nthreads().values())


def work_there(work: Work, job: Job) -> float:
    """What a worker does with a job; return its seconds, the opening of its images aside."""
    from distributed import get_worker

    worker = get_worker()
    gpus = os.environ.get("LTHNB_GPUS", "").split(",")
    if len(gpus) > 1:  # workers of this machine take its GPUs in turn
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[int(worker.name) % len(gpus)]
    remembered_source(job.dataset, job.settings.data_root)
    began = time.monotonic()
    try:
        for done in work(job):
            worker.log_event(EPOCHS, (job.key, done))
    except DeviceLost as error:  # the context of this process is dead; Dask begins the job anew in another
        print(f"NOTE {error}; this worker ends", file=sys.stderr, flush=True)
        os._exit(1)
    return time.monotonic() - began


@contextmanager
def local_cluster(workers: int) -> Iterator[Client]:
    """A Dask cluster of one-thread processes on this machine, which end when this process does, however."""
    import dask
    from distributed import Client, LocalCluster

    gpus = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    quiet = {
        "distributed.scheduler.allowed-failures": DEATHS,
        "distributed.worker.daemon": True,
        "distributed.admin.event-loop": "asyncio",
        "logging.distributed": "critical",
    }
    environment = {"OMP_NUM_THREADS": "1", "LTHNB_GPUS": gpus}
    with (
        dask.config.set(quiet),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,
            dashboard_address=None,
            env=environment,
            silence_logs="CRITICAL",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def cluster_at(address: str) -> Iterator[Client]:
    """A Dask cluster that runs elsewhere.

    Raises:
        ParameterError: the address is none.
        UserError: Dask is not installed, or nothing answers at the address.
    """
    if not ADDRESS(address):
        raise ParameterError(f"--scheduler must be an address such as tcp://HOST:8786, got {address!r}")
    try:
        from distributed import Client

        client = Client(address, timeout=5)
    except ImportError as error:
        raise UserError("--scheduler needs Dask: pip install distributed") from error
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        yield client


def carry_out(queue: Queue, workers: int = 1, scheduler: str = "") -> Iterator[News]:
    """Make the jobs of a queue: on a cluster, on so many processes here, or one by one without Dask."""
    if scheduler:
        with cluster_at(scheduler) as client:
            yield from on_dask(queue, client)
    elif workers > 1 and len(queue.waiting) > 1 and find_spec("distributed"):
        with local_cluster(min(workers, len(queue.waiting))) as client:
            yield from on_dask(queue, client)
    else:
        yield from one_by_one(queue)


def absolute(runs: str) -> str:
    """A folder of records by its full path, since workers may start elsewhere; the default stays empty."""
    return str(record.folders(runs)[0].resolve()) if runs else ""


def run(config: RunConfig, dataset: str = "", settings: Settings | None = None) -> Record:
    """Make one run and what it requires, in this process, unless they are on record; return its record.

    A run that another process holds is waited for.

    Args:
        dataset: how the images are opened, ``folder:PATH`` for example; empty: as its name says.
        settings: where records and images lie, device and precision; the usual ones if not given.

    Raises:
        UserError: a run failed; says why, and the same call goes on where it was.
        DataError: what is on record was made on other images than those of ``dataset``.
    """
    settings = settings or Settings()
    found = dataset or by_record(config.data.name, settings.data_root)
    for news in one_by_one(Queue(missing([Job(config, found, settings)]))):
        if news.error:
            raise news.error
    finished = record.load(config, settings.runs)
    if dataset:
        info = remembered_source(dataset, settings.data_root).info
        same_images([finished], {info.name: info.sha256})
    return finished
