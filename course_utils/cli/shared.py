"""What all commands share: the application that they belong to, and errors in one sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NoReturn

import typer

from course_utils import environment
from course_utils.configuration import ConfigurationError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The command line, `python -m course_utils COMMAND`; every command has `--help`.",
)


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Turn errors that have a remedy into one sentence and exit code 2."""
    try:
        yield
    except (ImportError, OSError) as error:
        fail(_broken_torch(error) or error)
    except ConfigurationError as error:
        fail(error)
    except ValueError as error:  # DatasetError, AudioError, SplitError and the like: bad input, named
        if type(error).__module__.startswith("course_utils") or type(error) is ValueError:
            fail(error)
        raise
    except (RuntimeError, MemoryError) as error:
        if not environment.is_out_of_memory(error):
            raise
        where = "the GPU" if "cuda" in str(error).lower() or "mps" in str(error).lower() else "this machine"
        fail(
            f"the memory of {where} is full: use a smaller --batch-size or --width, shorter slots, frames or windows, or "
            "another --accelerator"
        )
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        raise typer.Exit(130) from None


def _broken_torch(error: ImportError | OSError) -> ImportError | None:
    """Return what is wrong with torch, if that may be behind an error; errors of the system's loader have no number."""
    if isinstance(error, ImportError) or error.errno is None:
        try:
            environment.need_torch()
        except ImportError as broken:
            return broken
    return None


def fail(error: object) -> NoReturn:
    """Print an error, and end with exit code 2."""
    typer.echo(f"error: {error}", err=True)
    raise typer.Exit(2) from None
