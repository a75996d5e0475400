"""What this machine has installed: the pair torch and torchaudio, a GPU, free disk.

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

from course_utils.files import cache_folder, cached, in_words

PAIR = 'pip install "torch>=2.8,<2.12" "torchaudio>=2.8,<2.12"'
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


def check_pair(torch_version: str | None, torchaudio_version: str | None) -> Finding:
    """Say whether these versions of torch and torchaudio work together, from their numbers alone.

    Both must have the same major and minor version, and the same build (`+cpu`, `+cu130`) where both name one;
    torchaudio has no release after 2.11.
    """
    name = "torch and torchaudio"
    if torch_version is None or torchaudio_version is None:
        missing = " and ".join(
            n for n, v in (("torch", torch_version), ("torchaudio", torchaudio_version)) if v is None
        )
        return Finding(name, "fault", f"{missing} not installed", PAIR)
    says = f"torch {torch_version}, torchaudio {torchaudio_version}"
    if _minor(torch_version) != _minor(torchaudio_version):
        return Finding(name, "fault", f"{says}: these two do not work together; the minor versions must match", PAIR)
    builds = [v.partition("+")[2] for v in (torch_version, torchaudio_version)]
    if builds[0] != builds[1] and all(builds):
        return Finding(name, "fault", f"{says}: one is built for {builds[0]}, the other for {builds[1]}", PAIR)
    return Finding(name, "ok", says)


def need_torch() -> ModuleType:
    """Import and return torch.

    Raises:
        ImportError: If torch is missing or fails to load, with the command that repairs it.
    """
    return _need("torch")


def need_torchaudio() -> ModuleType:
    """Import and return torchaudio.

    Raises:
        ImportError: If torch and torchaudio are no pair or one fails to load, with the command that repairs it.
    """
    pair = check_pair(version("torch"), version("torchaudio"))
    if pair.state == "fault":
        raise ImportError(f"{pair.says}. To repair it: {pair.remedy}")
    return _need("torchaudio")


def findings() -> list[Finding]:
    """Look at everything that is known to go wrong on a student's machine."""
    pair = check_pair(version("torch"), version("torchaudio"))
    return [_python(), pair, _torch_loads(), _widgets(), _gpu(), _disk(), _files()]


def _need(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        found = f"torch {version('torch')}, torchaudio {version('torchaudio')}"
        raise ImportError(f"{name} does not load ({found}): {error}. To repair it: {PAIR}") from error


def _minor(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\d+", text)[:2])


def _python() -> Finding:
    return Finding("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _torch_loads() -> Finding:
    try:
        need_torch()
        need_torchaudio()
    except ImportError as error:
        says, _, remedy = str(error).partition(" To repair it: ")
        return Finding("torch loads", "fault", says, remedy)
    return Finding("torch loads", "ok", "both import")


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
        return Finding("GPU", "note", "cannot be asked: torch does not load", PAIR)
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


def _files() -> Finding:
    name, folder = "cache folder", cache_folder()
    try:
        kinds, _ = cached()
    except OSError as error:
        return Finding(name, "fault", str(error), "set COURSE_CACHE to a folder that you may read and write")
    says = f"{folder}; what the lessons write lies below it: "
    if not kinds:
        return Finding(name, "ok", f"{says}nothing yet")
    says += f"{in_words(sum(kind.size for kind in kinds))} ("
    says += "; ".join(f"{in_words(kind.size)} {kind.name}" for kind in kinds) + ")"
    return Finding(name, "ok", says, "to empty it: python -m course_utils clean, or make clean-data")


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory is full: of the GPU, in PyTorch on the CPU, or in NumPy."""
    says = str(error).lower()
    of_torch = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(one in says for one in of_torch))
