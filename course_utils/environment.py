"""What this machine has installed: torch, and torchaudio if it fits; a GPU; free disk.

Nothing here imports torch before it has looked at the package metadata, so that a broken installation can be
described instead of ending in a loader's traceback.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
from dataclasses import dataclass
from types import ModuleType

from course_utils.files import cache_folder

TORCH = 'pip install "torch>=2.8"'
NEEDED_DISK = 2e9  # bytes: `mini`, the decoded copy of the full data set, and some runs


@dataclass(frozen=True)
class Finding:
    """One line of `python -m course_utils check`.

    Attributes:
        name: What was looked at.
        state: `ok`, `note` (works, but worth knowing) or `fault` (something will fail).
        says: What was found.
        remedy: What to do about it; empty when there is nothing to do.
    """

    name: str
    state: str
    says: str
    remedy: str = ""


def version(package: str) -> str | None:
    """Return the installed version of a package, or None, without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_torchaudio(torch_version: str, torchaudio_version: str | None) -> Finding:
    """Say whether this torchaudio works beside this torch, from their numbers alone.

    The package does not need it. Three lessons compare with it where it works: both must have the same major and minor
    version, and the same build (`+cpu`, `+cu130`) where both name one; torchaudio has no release after 2.11.
    """
    name, remedy = "torchaudio", "nothing needs it: the lessons leave a comparison out"
    if torchaudio_version is None:
        return Finding(name, "note", "not installed", remedy)
    says = f"torchaudio {torchaudio_version} beside torch {torch_version}"
    if _minor(torch_version) != _minor(torchaudio_version):
        return Finding(name, "note", f"{says}: these two do not work together; the minor versions must match", remedy)
    builds = [v.partition("+")[2] for v in (torch_version, torchaudio_version)]
    if builds[0] != builds[1] and all(builds):
        return Finding(name, "note", f"{says}: one is built for {builds[0]}, the other for {builds[1]}", remedy)
    return Finding(name, "ok", torchaudio_version)


def need_torch() -> ModuleType:
    """Import and return torch.

    Raises:
        ImportError: If torch is missing or fails to load, with the command that repairs it.
    """
    try:
        return importlib.import_module("torch")
    except (ImportError, OSError, RuntimeError) as error:
        raise ImportError(f"torch {version('torch')} does not load: {error}. To repair it: {TORCH}") from error


def torchaudio() -> ModuleType | None:
    """Import and return torchaudio, which lessons compare with; None if it is not installed, or does not fit torch."""
    if check_torchaudio(version("torch") or "", version("torchaudio")).state != "ok":
        return None
    try:
        return importlib.import_module("torchaudio")
    except (ImportError, OSError, RuntimeError):
        return None


def findings() -> list[Finding]:
    """Look at everything that is known to go wrong on a student's machine."""
    return [_python(), *_torch(), _widgets(), _gpu(), _disk()]


def _minor(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\d+", text)[:2])


def _python() -> Finding:
    return Finding("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _torch() -> list[Finding]:
    found = version("torch")
    if found is None:
        return [Finding("torch", "fault", "not installed", TORCH)]
    try:
        need_torch()
    except ImportError as error:
        says, _, remedy = str(error).partition(" To repair it: ")
        return [Finding("torch", "fault", says, remedy)]
    return [Finding("torch", "ok", found), check_torchaudio(found, version("torchaudio"))]


def _widgets() -> Finding:
    found = version("ipywidgets")
    if found is None:
        return Finding(
            "ipywidgets", "note", "not installed: no sliders, and progress bars as text", "pip install ipywidgets"
        )
    return Finding("ipywidgets", "ok", found)


def _gpu() -> Finding:
    try:
        torch = need_torch()
    except ImportError:
        return Finding("GPU", "note", "unknown, because torch does not load", TORCH)
    if torch.cuda.is_available():
        return Finding("GPU", "ok", torch.cuda.get_device_name(0))
    if torch.backends.mps.is_available():
        return Finding("GPU", "ok", "Apple's, through MPS")
    remedy = "the lessons stay small without one; on Colab: Runtime → Change runtime type → GPU"
    return Finding("GPU", "note", f"none; {os.cpu_count()} CPU cores", remedy)


def _disk() -> Finding:
    folder = cache_folder()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    says = f"{free / 1e9:.1f} GB free below {folder}"
    if free < NEEDED_DISK:
        remedy = (
            f"the course wants {NEEDED_DISK / 1e9:.0f} GB: free some, or set COURSE_CACHE to a folder on a larger disk"
        )
        return Finding("disk", "fault", says, remedy)
    return Finding("disk", "ok", says)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory is full: of the GPU, in PyTorch on the CPU, or in NumPy."""
    says = str(error).lower()
    of_torch = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(one in says for one in of_torch))
