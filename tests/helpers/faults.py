"""Fault injection. ``python tests/helpers/faults.py`` prints the full figures; the tests ask for fewer.

Every trial kills, crashes, starves or damages a small run and lets it go on; it must end with the same
weights, masks and losses as an undisturbed one.
"""

import argparse
import contextlib
import hashlib
import io
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

torch.set_num_threads(1)
TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS)] if __name__ == "__main__" else []

from helpers import small
from helpers.small import SMALL, TINY
from lthnb.config import ROOT
from lthnb.images import glyphs
from lthnb.images.splits import load
from lthnb.runs import checkpoint, execute, files, packed, record, ticket
from lthnb.training import loop


@contextlib.contextmanager
def quiet():
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def go(config, source, folder, every=0.0):
    """Run or go on; say nothing."""
    with quiet():
        return small.make(config, source, folder, every=every)


def warm_up(source):
    """Let torch set itself up and read the images once, before the forks."""
    list(small.rounds(TINY, load(small.remembered(source), TINY.data, 0)))


def digest(config, folder):
    """SHA-256 over the tickets' masks and weights, the record's counts and losses, and damaged records."""
    whole = hashlib.sha256()
    for path in folder.glob(f"{config.key}.json.damaged*"):  # made again by now, but a write was torn
        whole.update(path.name.encode())
    for path in sorted((folder / config.key).glob("round-*.safetensors")):
        tensors, _ = packed.read_packed(path)
        for name in sorted(tensors):
            whole.update(name.encode() + tensors[name].numpy().tobytes())
    for row in record.load(config, str(folder)).rounds:
        whole.update(repr({key: value for key, value in row.items() if key != "seconds"}).encode())
    return whole.hexdigest()


def forked(action):
    """Run ``action`` in a child process; return its pid. The child ends with 0, or 1 after an exception."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            action()
        status = 0
    finally:
        os._exit(status)


def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kills(number, source, config=SMALL, plant=lambda: None, seed=0, first=False):
    """Kill runs at random moments, ``number`` times; return (kills, differing, unrecoverable).

    Args:
        plant: spoils the code of every child.
        first: end with the first run that differs or cannot be recovered.
    """
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as top:
        whole = Path(top) / "whole"

        def undisturbed():
            plant()
            go(config, source, whole)

        began = time.perf_counter()
        assert ended(forked(undisturbed)) == 0
        length = time.perf_counter() - began
        expected = digest(config, whole)
        done = differing = lost = 0
        while done < number and not (first and differing + lost):
            folder = Path(top) / f"trial-{done}"

            def disturbed(folder=folder):
                plant()
                go(config, source, folder)

            for _ in range(100):
                pid = forked(disturbed)
                time.sleep(draw.uniform(0, 0.6 * length))
                if done < number and os.waitpid(pid, os.WNOHANG) == (0, 0):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    done += 1
                    continue
                with contextlib.suppress(ChildProcessError):
                    ended(pid)
                break
            try:
                differing += digest(config, folder) != expected
            except Exception:
                lost += 1
            shutil.rmtree(folder, ignore_errors=True)
    return done, differing, lost


def _ambient(draw):
    """Augmentation that takes noise from a global generator."""
    plain = loop.augment

    def plant():
        loop.augment = lambda *args: (plain(*args).int() + draw()).clamp(0, 255)

    return plant


def _loaded(change):
    """A checkpoint that comes back changed."""
    plain = checkpoint.Checkpoints.load

    def spoiled(self, model):
        loaded = plain(self, model)
        if loaded:
            change(loaded[0])
        return loaded

    def plant():
        checkpoint.Checkpoints.load = spoiled

    return plant


def _reset_batch_norm(saved):
    for name, value in saved.states["model"].items():
        if "running_mean" in name:
            value.zero_()


def _skip_an_epoch(saved):
    saved.epoch += 1


def _counting_schedule():
    """A learning rate that counts the epochs of this process."""
    plain = loop.cosine
    seen = []

    def cosine(config, epoch):
        seen.append(epoch)
        return plain(config, (len(seen) - 1) % config.epochs)

    loop.cosine = cosine


def _torn_writes():
    """Files that are written in place, on a slow disk."""

    def write(path, content):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            file.write(content[: len(content) // 2])
            file.flush()
            time.sleep(0.05 if path.suffix == ".json" else 0.001)
            file.write(content[len(content) // 2 :])

    files.write = execute.write = packed.write = write


PLANTS = {
    "torch's generator not restored": _ambient(lambda: torch.randint(0, 40, ())),
    "numpy's generator not restored": _ambient(lambda: int(np.random.randint(40))),
    "Python's generator not restored": _ambient(lambda: random.randrange(40)),
    "momentum lost": _loaded(lambda saved: saved.states["momentum"].clear()),
    "schedule lost": _counting_schedule,
    "epoch off by one": _loaded(_skip_an_epoch),
    "BatchNorm not restored": _loaded(_reset_batch_norm),
    "masks lost": _loaded(lambda saved: [mask.fill_(True) for mask in saved.masks.values()]),
    "file written in place": _torn_writes,
}


def crash_points(source, config=TINY):
    """Crash at every step of every write once; return (points, failing)."""
    with tempfile.TemporaryDirectory() as top:
        whole = Path(top) / "whole"
        assert ended(forked(lambda: go(config, source, whole))) == 0
        expected = digest(config, whole)
        point = failing = 0
        while True:
            folder = Path(top) / f"point-{point}"
            status = ended(
                forked(lambda folder=folder, point=point: _crash_at(point, config, source, folder))
            )
            if status == 0:
                return point, failing  # the run ended before that many steps
            status = ended(forked(lambda folder=folder: go(config, source, folder)))
            failing += status != 0 or digest(config, folder) != expected
            shutil.rmtree(folder)
            point += 1


def _crash_at(point, config, source, folder):
    """End the process at one step of all writes: open, half of the bytes, flush, sync, rename, sync."""
    left = [point]

    def step(before=lambda: None):
        if left[0] == 0:
            before()
            os._exit(9)
        left[0] -= 1

    class Crashing(io.FileIO):
        def write(self, content):
            step(lambda: super(Crashing, self).write(content[: len(content) // 2]))
            return super().write(content)

        def flush(self):
            step()
            super().flush()

    fsync = os.fsync
    replace = os.replace
    opened = Path.open

    def open_(self, mode="r", *args, **kwargs):
        if mode != "wb":
            return opened(self, mode, *args, **kwargs)
        step()
        return Crashing(self, "wb")

    def sync(handle):
        step()
        fsync(handle)
        step()

    def rename(*paths):
        step()
        replace(*paths)
        step()

    Path.open = open_
    os.fsync = sync
    os.replace = rename
    go(config, source, folder)


def damaged(content, kind, draw):
    """One damaged copy of a file's bytes."""
    content = bytearray(content)
    place = draw.randrange(len(content))
    if kind == "bit flip":
        content[place] ^= 1 << draw.randrange(8)
    elif kind == "truncation":
        del content[place:]
    elif kind == "zeroed":
        span = min(4096, len(content) - place)
        content[place : place + span] = bytes(span)
    elif kind == "random":
        span = min(64, len(content) - place)
        content[place : place + span] = draw.randbytes(span)
    else:
        content[place:place] = draw.randbytes(draw.randrange(1, 64))
    return bytes(content)


KINDS = ("bit flip", "truncation", "zeroed", "random", "insertion")


def damage(number, source, seed=0):
    """Damage copies of each format; return format -> (refused, silent, other errors, slowest seconds)."""
    draw = random.Random(seed)
    result = {}
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        pid = forked(lambda: go(SMALL, source, folder))
        while not list((folder / SMALL.key).glob("checkpoint-*6.safetensors")):
            time.sleep(0.001)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        shutil.copy(max((folder / SMALL.key).glob("checkpoint-*.safetensors")), folder / "checkpoint")
        go(SMALL, source, folder)
        shutil.copy(folder / SMALL.key / "round-03.safetensors", folder / "ticket")
        shutil.copy(folder / f"{SMALL.key}.json", folder / "record")
        readers = {"checkpoint": packed.read_packed, "ticket": ticket.Ticket.load, "record": record.read}
        for name, read in readers.items():
            content = (folder / name).read_bytes()
            counts = {"refused": 0, "silent": 0, "other": 0}
            slowest = 0.0
            path = folder / f"bad-{name}"
            while sum(counts.values()) < number:
                spoiled = damaged(content, KINDS[sum(counts.values()) % len(KINDS)], draw)
                if spoiled == content:
                    continue
                path.write_bytes(spoiled)
                began = time.perf_counter()
                try:
                    read(path)
                    counts["silent"] += 1
                except files.Damaged as error:
                    counts["refused" if path.name in str(error) else "other"] += 1
                except Exception:
                    counts["other"] += 1
                slowest = max(slowest, time.perf_counter() - began)
            result[name] = (*counts.values(), round(slowest, 3))
    return result


def disks(sizes, source, config=TINY):
    """Run under file-size limits, then without; return (trials, told as DiskFull, ending alike)."""
    told = alike = 0
    with tempfile.TemporaryDirectory() as top:
        go(config, source, Path(top) / "whole")
        expected = digest(config, Path(top) / "whole")
        for size in sizes:
            folder = Path(top) / f"disk-{size}"

            def starved(folder=folder, size=size):
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
                try:
                    go(config, source, folder)
                except files.DiskFull as error:
                    left = [path for path in folder.rglob(".*") if path.is_file()]
                    os._exit(7 if str(folder) in str(error) and not left else 8)

            told += ended(forked(starved)) == 7
            go(config, source, folder)
            alike += digest(config, folder) == expected
            shutil.rmtree(folder)
    return len(sizes), told, alike


def tmpfs(sizes, source, config=TINY):
    """The same on real small file systems; needs the right to mount. Return (trials, told, ending alike)."""
    told = alike = 0
    with tempfile.TemporaryDirectory() as top:
        go(config, source, Path(top) / "whole")
        expected = digest(config, Path(top) / "whole")
        disk = Path(top) / "disk"
        disk.mkdir()
        for size in sizes:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=True)
            try:
                try:
                    go(config, source, disk)
                except files.DiskFull:
                    told += not [path for path in disk.rglob(".*") if path.is_file()]
                subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
                go(config, source, disk)
                alike += digest(config, disk) == expected
            finally:
                subprocess.run(["umount", disk], check=True)
    return len(sizes), told, alike


def races(number):
    """Four processes race for one folder; return (races, races with exactly one winner)."""
    good = 0
    with tempfile.TemporaryDirectory() as top:
        for index in range(number):
            folder = Path(top) / f"race-{index}"
            start = time.time() + 0.05
            at_work, ends = os.pipe()

            def contend(folder=folder, start=start, at_work=at_work, ends=ends):
                time.sleep(max(0, start - time.time()))
                try:
                    with files.lock(folder, wait=0):
                        os.close(ends)
                        os.read(at_work, 1)  # nothing comes; returns when all others have ended
                        os._exit(5)
                except files.RunBusy:
                    os._exit(6)

            racers = [forked(contend) for _ in range(4)]
            os.close(ends)
            statuses = sorted(map(ended, racers))
            os.close(at_work)
            good += statuses == [5, 6, 6, 6]
    return number, good


def papermill_kills(number, seed=0):
    """Kill real papermill, its kernel, or both; return (kills, most writers seen, finished, alike)."""
    draw = random.Random(seed)
    words = [str(Path(sys.executable).with_name("papermill")), "notebooks/imp.ipynb"]
    given = {"profile": "smoke", "seeds": 1, "dataset": "glyphs", "fraction": 200, "rounds": 6, "epochs": 12}
    with tempfile.TemporaryDirectory() as top:
        most = done = finished = alike = 0

        def started(folder):
            options = [str(word) for item in {**given, "runs": folder}.items() for word in ("-p", *item)]
            environment = {**os.environ, "LTHNB_CHECKPOINT_SECONDS": "0"}
            command = [words[0], words[1], str(Path(top) / "out.ipynb"), *options, "--no-progress-bar"]
            nowhere = subprocess.DEVNULL
            return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=nowhere, stderr=nowhere)

        began = time.perf_counter()
        assert started(Path(top) / "whole").wait() == 0
        length = time.perf_counter() - began
        (path,) = (Path(top) / "whole").glob("*.json")
        config = record.read(path).config
        expected = digest(config, Path(top) / "whole")
        while done < number:
            folder = Path(top) / f"trial-{done}"
            while True:
                process = started(folder)
                until = time.perf_counter() + draw.uniform(0.2, 0.9) * length
                while process.poll() is None and time.perf_counter() < until:
                    most = max(most, _writers(folder / config.key / "lock"))
                    time.sleep(0.05)
                if process.poll() is not None or done == number:
                    process.wait()
                    break
                victims = draw.choice((["papermill"], ["kernel"], ["papermill", "kernel"]))
                _kill(process, victims)
                done += 1
            finished += (folder / f"{config.key}.json").exists()
            alike += digest(config, folder) == expected
        return done, most, finished, alike


def _writers(lock):
    """How many processes hold the lock file, by the kernel's own list."""
    try:
        inode = str(lock.stat().st_ino)
    except FileNotFoundError:
        return 0
    held = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" not in line]
    return sum(fields[1] == "FLOCK" and fields[5].endswith(f":{inode}") for fields in held)


def _kill(process, victims):
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    if "papermill" in victims:
        process.kill()
    if "kernel" in victims:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
    process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only",
        default="",
        help="kills, plants, crashes, damage, disks, tmpfs, races, parameters, papermill",
    )
    only = parser.parse_args().only
    sys.path.insert(0, str(TESTS / "pages"))
    import test_parameters

    source = glyphs.glyphs()
    warm_up(source)
    sizes = [4096 + 300 * index for index in range(50)]
    figures = {
        "kills": lambda: kills(200, source),
        "plants": lambda: {
            name: kills(100 if "place" in name else 25, source, plant=plant) for name, plant in PLANTS.items()
        },
        "crashes": lambda: crash_points(source, SMALL),
        "damage": lambda: damage(1000, source),
        "disks": lambda: disks(sizes, source),
        "tmpfs": lambda: tmpfs([4096 * (1 + index // 2) for index in range(50)], source),
        "races": lambda: races(60),
        "parameters": lambda: test_parameters.generated(10_000),
        "papermill": lambda: papermill_kills(30),
    }
    for name, figure in figures.items():
        if not only or name in only.split(","):
            began = time.perf_counter()
            print(f"{name}: {figure()}  ({time.perf_counter() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
