"""The processes that train together, and what they must agree on. One process is the plain case."""

from __future__ import annotations

import atexit
import contextlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor

from gatework.errors import InputError, MissingExtraError
from gatework.training.options import DEVICES, TrainingOptions
from gatework.training.problem import StepLoss
from gatework.training.run_folder import launched

T = TypeVar("T")

# The main process validates alone while the others wait, longer than torch.distributed's ten minutes.
PATIENCE = timedelta(hours=6)


class Processes:
    """accelerate's view of this process among those of `accelerate launch` or, on CPUs, `torchrun`.

    `accelerate launch --cpu` starts a single process whatever its --num_processes, unless MPI is there;
    `torchrun --nproc_per_node 2` starts two, as `accelerate launch` itself does on GPUs.

    rank, world: this process's number, and how many there are.
    device: where this process's model and batches live.
    """

    def __init__(self, options: TrainingOptions) -> None:
        try:
            from accelerate import Accelerator, InitProcessGroupKwargs
            from accelerate.state import AcceleratorState
        except ImportError as error:
            raise MissingExtraError("accelerate", "tasks") from error
        _check_device(options.device)
        if options.device.startswith("cuda:"):
            torch.cuda.set_device(options.device)
        # accelerate keeps its settings in a global that refuses a second, different training.
        AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
        device = _device_type(options.device)
        grouped = torch.distributed.is_initialized()
        self.accelerator = Accelerator(
            cpu=device == "cpu",  # without it accelerate takes each of several CPU processes for the only one
            mixed_precision=_mixed_precision(options.precision, device),
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
        )
        if torch.distributed.is_initialized() and not grouped:
            atexit.register(_leave_group)
        self.rank: int = self.accelerator.process_index
        self.world: int = self.accelerator.num_processes
        self.device: torch.device = self.accelerator.device
        self.autocast: Callable[[], AbstractContextManager[None]] = self.accelerator.autocast
        self.backward: Callable[[Tensor], None] = self.accelerator.backward
        _, world = launched()
        if world != self.world:
            raise InputError(
                "launcher",
                f"{world} processes were started, accelerate sees {self.world}",
                "Check accelerate's configuration with: accelerate env.",
            )
        if options.device != "auto" and self.device.type != torch.device(options.device).type:
            raise InputError(
                "device",
                f"{options.device} was asked for, the launcher gave {self.device}",
                "Make them agree.",
            )

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    @contextlib.contextmanager
    def wrapped(self, model: torch.nn.Module) -> Iterator[torch.nn.Module]:
        """`model` with what several processes and mixed precision need around its calls, while inside."""
        prepared = self.accelerator.prepare_model(model)
        try:
            yield prepared
        finally:
            self.accelerator.unwrap_model(prepared, keep_fp32_wrapper=False)

    def summed(self, step: StepLoss) -> tuple[Tensor, Tensor | int, dict[str, Tensor]]:
        """Loss, number of targets and parts of a step, summed over all processes. Stays on the device."""
        total = step.total.detach()
        parts = {name: value.detach() for name, value in step.parts.items()}
        if self.world == 1:
            return total, max(step.count, 1), parts
        own = [total, torch.tensor(float(step.count), device=total.device), *parts.values()]
        sums = self.accelerator.reduce(torch.stack([value.double() for value in own]), reduction="sum")
        return sums[0], sums[1].clamp(min=1.0), dict(zip(parts, sums[2:], strict=True))

    def agree(self, stop: bool, seconds: float) -> tuple[bool, float]:
        """(whether any process was asked to stop, the main process's clock)."""
        if self.world == 1:
            return stop, seconds
        own = torch.tensor([[float(stop), seconds]], dtype=torch.float64, device=self.device)
        every = self.accelerator.gather(own)
        return bool(every[:, 0].any()), float(every[0, 1])

    def from_main(self, values: list[float]) -> list[float]:
        """The main process's values, of a length that all know."""
        if self.world == 1:
            return values
        from accelerate.utils import broadcast

        return broadcast(torch.tensor(values, dtype=torch.float64, device=self.device)).tolist()

    def gather_bytes(self, data: bytes) -> list[bytes]:
        """The data of each process, in order of rank. Plain bytes: no object is pickled on the way."""
        if self.world == 1:
            return [data]
        own = torch.frombuffer(bytearray(data), dtype=torch.uint8).to(self.device)
        lengths = self.accelerator.gather(torch.tensor([len(data)], device=self.device)).tolist()
        padded = torch.zeros(1, max(lengths), dtype=torch.uint8, device=self.device)
        padded[0, : len(data)] = own
        rows = self.accelerator.gather(padded).cpu()
        return [row[:length].numpy().tobytes() for row, length in zip(rows, lengths, strict=True)]

    def share_weights(self, model: torch.nn.Module) -> None:
        """Give every process the main one's parameters and buffers."""
        if self.world > 1:
            for tensor in model.state_dict().values():
                torch.distributed.broadcast(tensor, src=0)

    def check_equal(self, value: int, what: str) -> None:
        """Raise `ValueError` where the processes differ in `value`: they would wait for each other."""
        if self.world == 1:
            return
        values = self.accelerator.gather(torch.tensor([value], device=self.device)).tolist()
        if len(set(values)) > 1:
            raise ValueError(f"every process needs the same number of {what}, they have {values}")

    def first(self, make: Callable[[], T], read: Callable[[], T]) -> T:
        """What the main process makes; the others wait for this very call, and then read it.

        Args:
            make: called on the main process alone; it writes what the others read.
            read: called on every other process, once `make` has returned.

        Raises:
            InputError: on the others, where `make` raised on the main process: nobody waits for it.
        """
        if self.world == 1:
            return make()
        if self.is_main:
            made = False
            try:
                result = make()
                made = True
            finally:
                self.from_main([float(made)])
            return result
        if not self.from_main([0.0])[0]:
            what = "failed while it made what this process waits for"
            raise InputError("the main process", what, "Mend what it complains of.")
        return read()

    def wait(self) -> None:
        """Until every process is here."""
        self.accelerator.wait_for_everyone()


def _leave_group() -> None:
    """An interpreter that ends beside the threads of a process group may abort after its work is done."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def device_of(name: str) -> torch.device:
    """The device of a name: cpu, cuda, cuda:N, mps, or auto for the fastest that is there.

    Raises:
        InputError: there is none.
    """
    if not re.fullmatch(DEVICES, name):
        raise InputError("device", f"there is no device {name!r}", "Give auto, cpu, cuda, cuda:N or mps.")
    _check_device(name)
    return torch.device(_device_type(name) if name == "auto" else name)


def _device_type(device: str) -> str:
    if device != "auto":
        return torch.device(device).type
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _check_device(device: str) -> None:
    kind = device.split(":")[0]
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = int(device.partition(":")[2] or 0)
        if index >= count:
            raise InputError("device", f"there is no {device}: torch sees {count} GPUs", "Use cpu or auto.")
    elif kind == "mps" and not torch.backends.mps.is_available():
        raise InputError("device", "there is no mps on this machine", "Use cpu or auto.")


def _mixed_precision(precision: str, device: str) -> str:
    has_bf16 = device == "cpu" or (device == "cuda" and torch.cuda.is_bf16_supported())
    if precision == "bf16" and not has_bf16:
        raise InputError("precision", f"the {device} device has no bf16", "Use float32 or auto.")
    return "bf16" if precision == "bf16" or (precision == "auto" and device == "cuda" and has_bf16) else "no"
