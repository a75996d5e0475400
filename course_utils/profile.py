"""How large a lesson runs, and on what: lesson size or full size, which data set, which device.

`COURSE_SIZE=full` runs the same cells with the full networks, `COURSE_DATA=FOLDER` on another data set.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal


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
    def is_full(self) -> bool:
        """Whether the full networks are wanted."""
        return self.size == "full"

    def pick(self, lesson: float, full: float) -> float:
        """Return the first value at lesson size, and the second at full size."""
        return full if self.is_full else lesson


def current() -> Profile:
    """Read the setting from the environment variables `COURSE_SIZE` and `COURSE_DATA`, and say it.

    Raises:
        ValueError: If `COURSE_SIZE` is neither `lesson` nor `full`.
    """
    size, data = os.environ.get("COURSE_SIZE", "lesson"), os.environ.get("COURSE_DATA", "mini")
    if size not in ("lesson", "full"):
        raise ValueError(f"COURSE_SIZE is 'lesson' or 'full', not {size!r}")
    print(f"size: {size}, data: {data}")
    return Profile(size, data)
