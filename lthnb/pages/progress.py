"""How far a job is and how long it will take: a bar in JupyterLab, sparse lines elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm

from lthnb.config import host
from lthnb.runs.queue import News

EVERY = 10.0  # seconds between lines


def followed(news: Iterable[News], total: int) -> Iterator[News]:
    """Hand news on, and show how many of ``total`` epochs are done."""
    began = time.monotonic()
    shown = began
    done = {}  # key -> epochs
    with tqdm(total=total, unit="epoch", disable=not in_lab()) as bar:
        for one in news:
            if one.what in ("epoch", "finished"):
                done[one.job.key] = one.epochs
            count = sum(done.values())
            now = time.monotonic()
            bar.update(count - bar.n)
            if bar.disable and now - shown >= EVERY and one.what == "epoch":
                shown = now
                line = tqdm.format_meter(count, total, now - began, ncols=80, ascii=True, unit="epoch")
                print(line, flush=True)
            yield one


def in_lab() -> bool:
    """Whether somebody looks at a running notebook: a kernel that neither papermill nor the book started."""
    ipython = sys.modules.get("IPython")  # a notebook's kernel has loaded it
    return not host() and ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def clock(seconds: float) -> str:
    """Seconds as 01:23, or 2:05:00 from an hour on."""
    return tqdm.format_interval(round(seconds))
