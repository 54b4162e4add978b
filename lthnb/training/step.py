"""One SGD step on fixed tensors; on CUDA captured once as a graph and replayed in every epoch and round."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lthnb.config import TrainConfig, UserError
from lthnb.images.splits import Data
from lthnb.training.masks import Masks, ones, pruned_places, zero_
from lthnb.training.networks import prunable
from lthnb.training.objectives import OBJECTIVES

State = dict[str, Tensor]
Capture = Callable[[Callable[[], None]], Callable[[], None]]
ADVICE = "the last checkpoint is whole; the learning rate may be too high"


class Diverged(UserError, ArithmeticError):
    """A loss, gradient or weight is no longer finite; nothing of that epoch is kept."""


def optimiser(model: nn.Module, config: TrainConfig) -> torch.optim.SGD:
    """SGD as the paper runs it; on CUDA the learning rate is a tensor, which a captured step can follow."""
    device = next(model.parameters()).device
    on_gpu = device.type == "cuda"
    return torch.optim.SGD(
        model.parameters(),
        lr=torch.tensor(config.lr, device=device) if on_gpu else config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=on_gpu,
        foreach=not on_gpu,
    )


def graphed(action: Callable[[], None]) -> Callable[[], None]:
    """Capture what an action does on the CUDA device; return its replay. The action is run three times."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # libraries set themselves up outside the capture
        for _ in range(3):
            action()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.current_stream()
    try:
        with torch.cuda.graph(graph):
            action()
    finally:
        torch.cuda.set_stream(stream)  # also after a capture that failed
    return graph.replay


@dataclass(frozen=True)
class Replay:
    """A captured step and the tensors that it reads its batch from."""

    images: Tensor
    labels: Tensor
    run: Callable[[], None]


class Step:
    """Forward and backward pass, update and masks of one model.

    What changes between epochs and rounds (learning rate, masks, momentum, weights) is changed in place, so
    that a captured step stays valid. Nothing random happens in a step.

    Args:
        precision: ``fp32``, or ``bf16`` for forward and backward passes; weights stay in fp32.
        capture: makes a replay of a step, one for each batch size; None issues every step anew.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        config: TrainConfig,
        precision: str = "fp32",
        capture: Capture | None = None,
    ) -> None:
        self.model = model
        self.data = data
        self.objective = OBJECTIVES[config.objective]
        self.precision = precision
        self.capture = capture
        self.device = data.train.labels.device
        self.sgd = optimiser(model, config)
        self.parameters = list(model.parameters())
        self.weights = prunable(model)
        self.pruned = pruned_places(ones(model))
        for value in self.parameters:
            self.sgd.state[value]["momentum_buffer"] = torch.zeros_like(value)
        self.total = torch.zeros((), device=self.device)  # loss of an epoch, summed over images
        self.sound = torch.ones((), dtype=torch.bool, device=self.device)
        self.totals: list[Tensor] = []  # of the epochs that nobody has looked at yet
        self.replays: dict[int, Replay] = {}  # by batch size
        self.failure = ""  # why a capture failed

    @property
    def captured(self) -> bool:
        """Whether its steps are replays of a CUDA graph, those of every batch size."""
        return bool(self.replays) and not self.failure

    def autocast(self) -> torch.autocast:
        """Forward passes in the precision of the step; a captured graph keeps no cache of casts."""
        return torch.autocast(
            self.device.type,
            torch.bfloat16,
            enabled=self.precision == "bf16",
            cache_enabled=False,
        )

    def momentum(self) -> State:
        """The momentum of every parameter by name; the tensors are live."""
        return {
            name: self.sgd.state[value]["momentum_buffer"] for name, value in self.model.named_parameters()
        }

    def begin(self, masks: Masks, momentum: State | None = None) -> None:
        """Put masks and momentum in place (zero if none is given), and set pruned weights to +0.0."""
        for name, mask in self.pruned.items():
            torch.logical_not(masks[name], out=mask)
        zero_(self.weights, self.pruned)
        for name, buffer in self.momentum().items():
            if momentum:
                buffer.copy_(momentum[name])
            else:
                buffer.zero_()

    def begin_epoch(self, lr: float) -> None:
        """Prepare for the steps of an epoch."""
        for group in self.sgd.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr
        self.total.zero_()

    def end_epoch(self) -> None:
        """Keep the loss of an epoch; a GPU is not waited for."""
        self.totals.append(self.total.clone())

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        """Train on (N, C, H, W) uint8 images with (N,) labels; a GPU is not waited for.

        Raises:
            Diverged: on a CPU, before the update, when loss or gradient is not finite; elsewhere ``losses``
                tells.
        """
        size = len(labels)
        if self.capture and size not in self.replays:
            self._record(images, labels)
        if size not in self.replays:
            return self._step(images, labels)
        replay = self.replays[size]
        replay.images.copy_(images)
        replay.labels.copy_(labels)
        return replay.run()

    def _record(self, images: Tensor, labels: Tensor) -> None:
        """Capture the step of a batch size and undo what its rehearsals did; on failure go on without."""
        held_images = images.clone()
        held_labels = labels.clone()
        touched = [*self.model.state_dict().values(), *self.momentum().values(), self.total, self.sound]
        before = [value.clone() for value in touched]
        try:
            replay = self.capture(lambda: self._step(held_images, held_labels))
            self.replays[len(labels)] = Replay(held_images, held_labels, replay)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self.failure = reasons(error)
            print(f"NOTE the step is not captured, which is slower: {self.failure}")
            self.capture = None
        for value, old in zip(touched, before, strict=True):
            value.copy_(old)

    def _step(self, images: Tensor, labels: Tensor) -> None:
        self.sgd.zero_grad(set_to_none=True)
        with self.autocast():
            loss = self.objective(self.model, images, labels, self.data.normalise)
        loss.backward()
        norm = nn.utils.get_total_norm([value.grad for value in self.parameters])
        self.sound.logical_and_((loss.detach() + norm).isfinite())
        if self.device.type == "cpu" and not self.sound:
            raise Diverged(f"loss or gradient is not finite, {ADVICE}")
        self.sgd.step()
        zero_(self.weights, self.pruned)  # momentum and decay would revive them
        self.total.add_(loss.detach() * len(labels))

    def losses(self, images: int) -> list[float]:
        """Mean losses of the epochs, of so many images each, since this was asked last; waits for a GPU.

        Raises:
            Diverged: a loss, gradient or weight of theirs is not finite.
        """
        floats = [value for value in self.model.state_dict().values() if value.is_floating_point()]
        if not (self.sound & nn.utils.get_total_norm(floats).isfinite()):
            raise Diverged(f"a loss, gradient or weight is not finite, {ADVICE}")
        totals = torch.stack(self.totals).tolist()
        self.totals.clear()
        return [total / images for total in totals]


def reasons(error: BaseException | None) -> str:
    """An error and what led to it, the first line of each."""
    chain: list[str] = []
    while error:
        line, _, _ = str(error).partition("\n")
        chain.append(line)
        error = error.__cause__ or error.__context__
    return ", after: ".join(chain)
