"""How large a lesson runs, and on what: lesson size or full size, which data set, which device.

`COURSE_SIZE=full` runs the same cells with the full networks, `COURSE_DATA=FOLDER` on another data set.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast


@dataclass(frozen=True)
class Profile:
    """The setting of a lesson.

    Attributes:
        size: `lesson` (seconds on two CPU cores) or `full` (the paper's networks, for a GPU).
        data: `mini`, `urbansound8k`, or a folder.
    """

    size: Literal["lesson", "full"]
    data: str

    @property
    def accelerator(self) -> str:
        """Where networks are trained: at lesson size on the CPU, even beside a GPU; at full size on what there is.

        A lesson's network is too small for a GPU to gain anything, and on the CPU a lesson ends the same way everywhere.
        """
        return "auto" if self.is_full else "cpu"

    @property
    def is_full(self) -> bool:
        """Whether the full networks are wanted."""
        return self.size == "full"

    def pick(self, lesson: float, full: float) -> float:
        """Return the first value at lesson size, and the second at full size."""
        return full if self.is_full else lesson


def current() -> Profile:
    """Read the setting from the environment variables `COURSE_SIZE` and `COURSE_DATA`, and print it.

    Raises:
        ValueError: If `COURSE_SIZE` is neither `lesson` nor `full`, or the clips of a folder do not have one label each.
    """
    from course_utils import datasets  # needs what lessons need; the rest of this module does not

    size, data = os.environ.get("COURSE_SIZE", "lesson"), os.environ.get("COURSE_DATA", "mini")
    if size not in ("lesson", "full"):
        raise ValueError(f"COURSE_SIZE is 'lesson' or 'full', not {size!r}")
    if Path(data).expanduser().is_dir() and "labels" in datasets.open_folder(data).clips:
        raise ValueError(
            f"COURSE_DATA: some clips in {data} have no label or several, and the lessons need one per clip; for clips with "
            "several labels, see B1, section 2"
        )
    where = "on a GPU if there is one" if size == "full" else "on the CPU, as a GPU gains nothing at this size"
    print(f"size: {size}, data: {data}, training {where}")
    return Profile(cast(Literal["lesson", "full"], size), data)
