"""A pretended CUDA device for machines that have none.

Its tensors keep their values on the CPU, say ``cuda:0``, and refuse what CUDA refuses: to meet tensors of the
CPU, to be read as numpy arrays, to be waited for while a graph is captured. A captured graph is the list of
its operations, repeated on the same tensors. What is proved with it is that a path runs on CUDA's terms, and
how often the device is waited for; not how fast it is, nor its last bits.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
GPU = torch.device("cuda:0")
COPIES = {aten.copy_.default, aten._to_copy.default}
READS = {aten.index.Tensor}
WRITES = {aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
WHOLE = ("_foreach", "_fused", "cat", "stack", "convolution")  # take no number from the CPU either
LOST = "CUDA error: an illegal memory access was encountered"
CAPTURING = "CUDA error: operation not permitted when stream is capturing"


class Device:
    """The state of the pretended device, and what was counted on it."""

    def __init__(self) -> None:
        self.operations: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()  # place -> times that the device had to be waited for
        self.uploads: Counter[str] = Counter()  # place -> copies to the device
        self.draws: Counter[str] = Counter()  # place -> random numbers made on the device
        self.capturing: list[tuple] | None = None  # the operations of the graph that is being captured
        self.graphs: list[Graph] = []
        self.breaks_after: int | None = None  # operations, and then every one fails

    def forget(self) -> None:
        """Count from zero."""
        for counter in (self.operations, self.waits, self.uploads, self.draws):
            counter.clear()

    def note(self, counter: Counter[str]) -> None:
        """Count a wait, upload or draw at its place in the code; a graph under capture allows none."""
        counter[place()] += 1
        if self.capturing is not None:
            raise RuntimeError(f"{CAPTURING} [{place()}]")

    def run(self, function: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Judge an operation as CUDA would, and do it on the CPU."""
        self.judge(function, args, kwargs)
        inner_args = [inside(value) for value in args]
        inner_kwargs = {name: inside(value) for name, value in kwargs.items()}
        if "device" in kwargs:
            inner_kwargs["device"] = torch.device("cpu")
        results = function(*inner_args, **inner_kwargs)
        if self.capturing is not None:
            self.capturing.append((function, inner_args, inner_kwargs, results))
        if not stays(function, args):
            return results
        known = {id(tensor.inner): tensor for tensor in tensors(args, kwargs) if isinstance(tensor, OnGPU)}
        return outside(results, known)

    def judge(self, function: Any, args: tuple, kwargs: dict[str, Any]) -> None:
        """Count an operation; raise where CUDA would."""
        self.operations[function.__name__] += 1
        if self.breaks_after is not None and self.operations.total() > self.breaks_after:
            raise RuntimeError(LOST)
        others = [tensor for tensor in tensors(args, kwargs) if not isinstance(tensor, OnGPU)]
        if torch.Tag.nondeterministic_seeded in function.tags:
            self.note(self.draws)
        if function in COPIES:
            self.judge_copy(function, args)
        elif function in READS | WRITES:
            self.judge_index(function, args)
        elif {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & {*function.tags}:
            self.note(self.waits)
        elif others:
            self.judge_mixture(function, others)

    def judge_copy(self, function: Any, args: tuple) -> None:
        """A copy waits for the device, either way: nothing here is copied from pinned memory."""
        source = args[1] if function is aten.copy_.default else args[0]
        to_device = stays(function, args)
        if isinstance(source, OnGPU) and not to_device:
            self.note(self.waits)
        if to_device and not isinstance(source, OnGPU):
            self.note(self.uploads)
            self.note(self.waits)

    def judge_index(self, function: Any, args: tuple) -> None:
        """An index may lie on the CPU, the values may not; a mask is turned into places, which waits."""
        places = [index for index in args[1] if index is not None]
        if not isinstance(args[0], OnGPU):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor")
        if any(index.dtype in (torch.bool, torch.uint8) for index in places):
            self.note(self.waits)
        if any(not isinstance(index, OnGPU) for index in places):
            self.note(self.uploads)
            self.note(self.waits)
        if function in WRITES and not isinstance(args[2], OnGPU) and args[2].dim():
            raise RuntimeError("Expected all tensors to be on the same device, but the values are on cpu")

    def judge_mixture(self, function: Any, others: list[Tensor]) -> None:
        """Beside tensors of the device only single numbers of the CPU may stand."""
        strict = function.__name__.startswith(WHOLE)
        if strict or any(tensor.dim() for tensor in others):
            said = "Expected all tensors to be on the same device, but found cuda:0 and cpu"
            raise RuntimeError(f"{said}: {function.__name__} [{place()}]")
        if self.capturing is not None:
            raise RuntimeError(f"a number of the CPU would be frozen in the graph: {function.__name__}")


DEVICE = Device()


class OnGPU(torch.Tensor):
    """A tensor of the pretended device around one of the CPU.

    To torch's C++ it is a tensor of the CPU without memory; what asks in Python is told ``cuda:0``.
    """

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnGPU:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=inner.device,
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        return DEVICE.run(function, args, kwargs or {})

    @property
    def device(self) -> torch.device:
        return GPU

    @property
    def is_cuda(self) -> bool:
        return True

    @property
    def is_cpu(self) -> bool:
        return False

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        device, dtype, _, memory_format = torch._C._nn._parse_to(*args, **kwargs)
        if device is not None and device.type == "cpu":
            return self.cpu() if dtype is None else self.cpu().to(dtype)
        named = {"dtype": dtype, "memory_format": memory_format}
        given = {name: value for name, value in named.items() if value is not None}
        return super().to(**given) if given else self

    def cpu(self) -> Tensor:
        DEVICE.note(DEVICE.waits)
        return self.inner.detach().clone()

    def cuda(self) -> Tensor:
        return self

    def tolist(self) -> Any:
        DEVICE.note(DEVICE.waits)
        return self.inner.tolist()

    def numpy(self) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("a tensor of the pretended device cannot be sent")

    def __repr__(self) -> str:
        return f"OnGPU({self.inner!r})"


class Everywhere(TorchDispatchMode):
    """Sees the operations that make tensors on the device, or bring them there."""

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        given = tensors(args, kwargs)
        if any(isinstance(one, OnGPU) for one in given) or (device is not None and device.type == "cuda"):
            return DEVICE.run(function, args, kwargs)
        if DEVICE.capturing is not None and given:
            raise RuntimeError(f"an operation of the CPU would be missing in the graph [{place()}]")
        return function(*args, **kwargs)


class Graph:
    """Stands for ``torch.cuda.CUDAGraph``: repeats its operations on the tensors that they were made with."""

    def __init__(self) -> None:
        self.operations: list[tuple] = []
        self.replays = 0

    @torch.no_grad()
    def replay(self) -> None:
        self.replays += 1
        for function, args, kwargs, results in self.operations:
            if function.is_view:
                continue
            again = function(*args, **kwargs)
            if not function._schema.is_mutable:
                for old, new in zip(tree_leaves(results), tree_leaves(again), strict=True):
                    if isinstance(old, Tensor):
                        old.copy_(new)


@contextmanager
def captured(graph: Graph) -> Iterator[None]:
    """Stands for ``torch.cuda.graph``."""
    DEVICE.capturing = []
    try:
        yield
        graph.operations = DEVICE.capturing
        DEVICE.graphs.append(graph)
    finally:
        DEVICE.capturing = None


class Stream:
    """Stands for ``torch.cuda.Stream``."""

    def wait_stream(self, other: Stream) -> None:
        """Nothing runs ahead here."""


class Autocast(torch.autocast):
    """Autocast of the device, by that of the CPU."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu", *args, **kwargs)


def place() -> str:
    """Where in the package the operation at work was asked for: ``module:line``."""
    frame = sys._getframe(1)
    while frame and "/lthnb/" not in frame.f_code.co_filename.replace("\\", "/"):
        frame = frame.f_back
    if frame is None:
        return "a test"
    return f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"


def inside(value: Any) -> Any:
    """The tensors of the CPU within those of the device; other values as they are."""
    if isinstance(value, list | tuple):
        return [inside(one) for one in value]
    return value.inner if isinstance(value, OnGPU) else value


def outside(value: Any, known: dict[int, OnGPU]) -> Any:
    """Results as tensors of the device; one that was changed in place is the same as before."""
    if isinstance(value, list | tuple):
        return type(value)(outside(one, known) for one in value)
    if not isinstance(value, Tensor):
        return value
    return known[id(value)] if id(value) in known else OnGPU(value)


def tensors(args: tuple, kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors among the arguments of an operation, and those in lists."""
    found = []
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += [one for one in value if isinstance(one, Tensor)]
    return found


def stays(function: Any, args: tuple) -> bool:
    """Whether the result of an operation lies on the device; a cast of autograd's names the CPU, wrongly."""
    if function is aten.copy_.default:
        return isinstance(args[0], OnGPU)
    return function is not aten._local_scalar_dense.default


@contextmanager
def pretended() -> Iterator[Device]:
    """A machine with one CUDA device, while it lasts; everything is put back afterwards."""
    DEVICE.__init__()
    make = torch.tensor
    bring = torch.Tensor.to

    def tensor(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        made = make(*args, **kwargs)
        return made if device is None else made.to(device)

    def to(value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        device, dtype, _, memory_format = torch._C._nn._parse_to(*args, **kwargs)
        if device is None or device.type != "cuda":
            return bring(value, *args, **kwargs)
        given = {"dtype": dtype, "memory_format": memory_format}
        return aten._to_copy(
            value, device=GPU, **{name: one for name, one in given.items() if one is not None}
        )

    cuda = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "is_bf16_supported": lambda including_emulation=True: True,
        "get_device_name": lambda device=None: "a pretended GPU",
        "synchronize": lambda device=None: None,
        "max_memory_allocated": lambda device=None: 0,
        "current_stream": Stream,
        "set_stream": lambda stream: None,
        "stream": lambda stream: nullcontext(),
        "Stream": Stream,
        "CUDAGraph": Graph,
        "graph": captured,
        "_lazy_init": lambda: None,
    }
    deterministic = torch.are_deterministic_algorithms_enabled()
    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    with pytest.MonkeyPatch.context() as patch, Everywhere():
        for name, stand_in in cuda.items():
            patch.setattr(torch.cuda, name, stand_in)
        patch.setattr(torch.backends.cudnn, "version", lambda: 0)
        patch.setattr(torch, "autocast", Autocast)
        patch.setattr(torch, "tensor", tensor)
        patch.setattr(torch.Tensor, "to", to)
        patch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        try:
            yield DEVICE
        finally:
            torch.use_deterministic_algorithms(deterministic)
            torch.__future__.set_overwrite_module_params_on_conversion(overwrite)
