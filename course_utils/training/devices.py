"""What a run computes on: devices, precision, several processes, seeds, and the memory of this one."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from course_utils.configuration import Config, ConfigurationError

if TYPE_CHECKING:  # Fabric takes seconds to load; who only evaluates or predicts does without it
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import MixedPrecision

# On a GPU, Fabric advises multiplying float32 with fewer digits. The mel filterbank needs all of them.
logging.getLogger("lightning_fabric.utilities.rank_zero").addFilter(
    lambda record: "float32_matmul_precision" not in record.getMessage()
)
# With loss scaling the first steps of the optimiser may be skipped, but the schedule goes on: torch would warn about that.
warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1  # numbers of glibc's malloc.h


def seed_everything(seed: int, epoch: int, rank: int) -> None:
    """Seed what networks draw: initial weights, dropout, SpecAugment, mixup. The only place that does.

    Every epoch has its own seed, so that a run that goes on draws what it would have drawn.

    Example:
        >>> draws = []
        >>> for _ in range(2):
        ...     seed_everything(seed=0, epoch=1, rank=0)
        ...     draws.append(float(torch.rand(1)))
        ...
        >>> draws[0] == draws[1]
        True
    """
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1, np.uint64)[0]) >> 1)


def make_fabric(config: Config, devices: int, machines: int = 1) -> Fabric:
    """Return what moves networks and batches to the devices of a run.

    Args:
        config: The run.
        devices: Number of devices to use on each machine.
        machines: How many machines work on the run.

    Raises:
        ConfigurationError: If this machine has no such device or precision.
    """
    from lightning_fabric import Fabric

    _keep_freed_memory()
    precision = precision_of(config)
    try:
        half = None if precision == "32-true" else _half_behind_the_front_end(precision, device_of(config).type)
        return Fabric(accelerator=config.accelerator, devices=devices, num_nodes=machines, plugins=half)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ConfigurationError(
            f"this machine cannot run accelerator {config.accelerator}, {devices} devices, precision {config.precision}: "
            f"{error}"
        ) from error


def machines_of(config: Config) -> int:
    """Return how many machines `torchrun` has started this run on; 1 without it.

    Raises:
        ConfigurationError: If it has not started as many processes on this machine as the run has devices.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", config.devices))
    if processes != config.devices:
        raise ConfigurationError(
            f"torchrun has started {processes} processes on this machine for {config.devices} devices; give it "
            f"--nproc-per-node {config.devices}, or the run --devices {processes}"
        )
    return int(os.environ.get("WORLD_SIZE", processes)) // processes


def device_of(config: Config) -> torch.device:
    """Return where a run's network is used: the accelerator that it asks for, if this machine has it, else the CPU.

    Example:
        >>> device_of(Config("mini", accelerator="cpu"))
        device(type='cpu')
    """
    if config.accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available():
        return torch.device("cuda")
    if config.accelerator in ("auto", "mps", "gpu") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def precision_of(config: Config) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
    """Return the precision of a run: what it asks for, or what suits its device.

    On an NVIDIA GPU that is `bf16-mixed` where bfloat16 is native (from Ampere on: A100, H100, RTX 30), else
    `16-mixed`, which uses the tensor cores of older ones (T4, V100); elsewhere `32-true`.

    Example:
        >>> precision_of(Config("mini", accelerator="cpu"))
        '32-true'
    """
    if config.precision != "auto":
        return config.precision
    if device_of(config).type != "cuda":
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"


def make_backward(
    fabric: Fabric, model: nn.Module, optimizer: torch.optim.Optimizer, config: Config
) -> Callable[[Tensor], None]:
    """Return what computes the gradients of a loss, scaled where the precision needs it, and clipped if so configured.

    Args:
        fabric: As `make_fabric` gives it.
        model: The network, as `fabric.setup` gives it.
        optimizer: The optimiser, likewise.
        config: The run.
    """

    def backward(loss: Tensor) -> None:
        fabric.backward(loss)
        if limit := config.clips_gradients_at:
            # What is not finite is left to the loss scaling, which skips the step, or to the check of the loss.
            fabric.clip_gradients(model, optimizer, max_norm=limit, error_if_nonfinite=False)

    return backward


def fabric_batches(fabric: Fabric, batches: DataLoader) -> DataLoader:
    """Share batches out among the processes of a run. They stay on the CPU: `Batch.to` moves what is needed elsewhere."""
    return cast(DataLoader, fabric.setup_dataloaders(batches, move_to_device=False))


def _keep_freed_memory() -> None:
    """Let the C library keep the memory of a batch for the next one; on Linux, CPU training gets a fifth faster.

    Otherwise it gives large blocks back after every batch, and the system fills each new one with zeros again.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def give_memory_back() -> None:
    """Give freed memory back to the system now and then: batches of many lengths leave gaps, which add up to gigabytes.

    Every 50 batches: a CRNN then stays near 4 GB instead of growing to ten, and is as fast.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def _half_behind_the_front_end(precision: Literal["bf16-mixed", "16-mixed"], device: str) -> MixedPrecision:
    """Return autocast that leaves the inputs of a network alone: Fabric's own rounds waveforms to 16 bits before any layer.

    The front end computes in float32 (`features.in_float32`), and autocast chooses for each layer behind it.
    """
    from lightning_fabric.plugins import MixedPrecision

    half = MixedPrecision(precision, device)
    half.convert_input = lambda data: data  # type: ignore[method-assign]
    return half
