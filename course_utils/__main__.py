"""Run the command line: `python -m course_utils COMMAND`."""

import io
import logging
import sys
from typing import cast

from course_utils.cli import app
from course_utils.lessons import commands  # noqa: F401  adds those of the course


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        cast(io.TextIOWrapper, stream).reconfigure(
            errors="backslashreplace"
        )  # for a terminal that cannot show arrows, and names that are not text
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    app(prog_name="python -m course_utils")


if __name__ == "__main__":
    main()
