"""How and where runs are made: device, precision, settings. Nothing here changes what is run."""

import hashlib
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch

from lthnb.config import ROOT, RunConfig
from lthnb.rules import DEVICE, PRECISION, TEXT, TRUTH, Checked, ParameterError, UserError, ruled

SMALLEST_BF16 = 8  # pixels; at 4 and below, gradients in bf16 differed from those in fp32
BROKEN = re.compile("(CUDA|cuDNN|cuBLAS|CUBLAS) error", re.IGNORECASE)
NO_ROOM = re.compile("out of memory|allocate memory|not enough memory", re.IGNORECASE)


@dataclass(frozen=True)
class Settings(Checked):
    """Where runs lie and what makes them; ``auto`` is decided by the machine that does the work."""

    runs: str = ruled("", TEXT)  # folder of records; empty: runs/, then book/runs/
    data_root: str = ruled("", TEXT)  # where data sets lie; empty: LTHNB_DATA, then data/
    device: str = ruled("auto", DEVICE)
    precision: str = ruled("auto", PRECISION)  # of forward and backward passes
    captured: bool = ruled(False, TRUTH)  # demand that the step is captured on CUDA

    @property
    def chosen_device(self) -> str:
        """``cuda`` where there is one, unless something else is wanted.

        Raises:
            ParameterError: a GPU is wanted, and torch finds none.
        """
        best = "cuda" if torch.cuda.is_available() else "cpu"
        if self.device == "cuda" and best == "cpu":
            raise ParameterError("device must be auto or cpu where torch finds no GPU, got 'cuda'")
        return best if self.device == "auto" else self.device

    @property
    def chosen_precision(self) -> str:
        """``bf16`` where the device computes in it, unless something else is wanted."""
        if self.precision != "auto":
            return self.precision
        capable = torch.cpu.get_capabilities().get("avx512_bf16", False)
        if self.chosen_device == "cuda":
            capable = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if capable else "fp32"

    def precision_at(self, side: int) -> str:
        """The precision of a run on images of so many pixels; bf16 has too few digits for the smallest."""
        if side >= SMALLEST_BF16:
            return self.chosen_precision
        if self.precision == "bf16":
            print(f"NOTE images of {side} pixels are computed in fp32, bf16 needs {SMALLEST_BF16}")
        return "fp32"


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux alone knows of cores that are taken away
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_determinism() -> None:
    """One thread, since two are slower beside a second process; on a GPU equal bits, and fp32 is fp32."""
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False


def fingerprint(device: str, precision: str) -> dict[str, Any]:
    """What decides the last bits of a run; never a path, a host or a user."""
    name = f"cpu {torch.backends.cpu.get_cpu_capability()}"
    if device.startswith("cuda"):
        name = f"{torch.cuda.get_device_name(device)}, cuDNN {torch.backends.cudnn.version()}"
    files = sorted((ROOT / "lthnb").rglob("*.py"))
    code = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    versions = {package: version(package) for package in ("torch", "numpy", "pillow")}
    versions |= {"python": platform.python_version(), "code": code}
    return {"device": name, "precision": precision, "threads": torch.get_num_threads(), "versions": versions}


def made_by(device: str, precision: str, seconds: float, exact: bool = True) -> dict[str, Any]:
    """Tell who made a record; ``exact`` is False when it was resumed on another machine or setting."""
    about = {
        "cores": os.cpu_count(),
        "exact": exact,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seconds": round(seconds, 1),
    }
    return fingerprint(device, precision) | about


class OutOfMemory(UserError, RuntimeError):
    """The device has no room for a batch."""


class DeviceLost(UserError, RuntimeError):
    """A GPU stopped working in the middle of a run."""


class NotCaptured(UserError, RuntimeError):
    """The step is not captured on CUDA, and the settings demand it."""


@contextmanager
def device_errors(config: RunConfig, device: str) -> Iterator[None]:
    """Say what to do when the device has no room (``OutOfMemory``) or is gone (``DeviceLost``)."""
    whole = "the last checkpoint is whole"
    try:
        yield
    except UserError:  # told already
        raise
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or NO_ROOM.search(str(error)):
            said = f"no memory left on {device} at batch size {config.train.batch_size}; {whole}"
            advice = "close other programs and run again, or choose a smaller width, side or batch_size"
            raise OutOfMemory(f"{said}: {advice}") from error
        if BROKEN.search(str(error)):
            raise DeviceLost(f"{device} failed ({error}); {whole}: run the same command again") from error
        raise
