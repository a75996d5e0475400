"""The command line, `python -m course_utils COMMAND`: a module for each group of commands."""

from course_utils.cli import machine, many, runs
from course_utils.cli.shared import app

__all__ = ["app", "machine", "many", "runs"]
