"""The device of these tests: `COURSE_TEST_DEVICE`, which is `cuda` unless it says `cpu`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Read when CUDA starts: without it cuBLAS may add up in another order from one run to the next.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch


@pytest.fixture(scope="session", autouse=True)
def device() -> torch.device:
    """Where the networks run."""
    name = os.environ.get("COURSE_TEST_DEVICE", "cuda")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no GPU; COURSE_TEST_DEVICE=cpu runs these tests on the CPU")
    return torch.device(name)


@pytest.fixture
def gpu(device: torch.device) -> torch.device:
    """The GPU, for what a CPU cannot show."""
    if device.type != "cuda":
        pytest.skip("only a GPU shows this")
    return device


@pytest.fixture
def repeatable(device: torch.device) -> Iterator[None]:
    """Use algorithms that give the same bits every time, where there are any."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])
