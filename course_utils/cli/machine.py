"""Commands about this machine and its data: check, data, clean."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import typer

from course_utils import environment, files
from course_utils.cli.options import Json
from course_utils.cli.shared import app, fail, plain_errors
from course_utils.configuration import ConfigurationError


@app.command()
def check(as_json: Json = False) -> None:
    """Check this machine (versions, GPU, disk, data), and say what to do about each."""
    found = [*environment.findings(), _cache_finding(), *_data_findings()]
    if as_json:
        typer.echo(files.as_json([dataclasses.asdict(finding) for finding in found]))
    else:
        signs = {"ok": "ok   ", "note": "note ", "fault": "FAULT"}
        for finding in found:
            typer.echo(f"{signs[finding.state]} {finding.name}: {finding.says}")
            if finding.remedy:
                typer.echo(f"      → {finding.remedy}")
    if any(finding.state == "fault" for finding in found):
        raise typer.Exit(1)


@app.command()
def data(
    name: Annotated[str, typer.Argument(help="mini, urbansound8k or measured.")],
    root: Annotated[Path | None, typer.Option(help="The folder to hold it; the course's own if not given.")] = None,
    clips: Annotated[int | None, typer.Option(min=1, help="Stop after this many clips (urbansound8k).")] = None,
) -> None:
    """Make `mini`, or download UrbanSound8K, whole or in part; then say what is there.

    `measured` is the 2,148 clips of UrbanSound8K that the course's results were measured on: it downloads all of it, and
    selects them.
    """
    with plain_errors():
        from course_utils import datasets
        from course_utils.datasets import mini, urbansound8k

        if name not in datasets.NAMES:
            raise datasets.DatasetError(f"no data set {name!r}; there are {', '.join(datasets.NAMES)}")
        if clips is not None and name != "urbansound8k":
            raise datasets.DatasetError(f"--clips is only for urbansound8k; {name} always comes whole")
        place = root or datasets.default_root(name)
        if name == "mini":
            folder = mini.build(place)
        elif clips is None:
            folder = urbansound8k.download(place)
        else:
            folder = urbansound8k.stream(place, clips)
        found = datasets.open_folder(folder, name)
        found = datasets.select_measured(found) if name == "measured" else found
        typer.echo(f"{found.describe()}\n  in {folder}")


@app.command()
def clean(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Empty the course's cache folder: delete what the course has put there, and nothing else.

    It says what is there, with sizes, and asks before it deletes each kind.
    """
    with plain_errors():
        kinds, others = files.cached(_kinds())
        typer.echo(f"in {files.cache_folder()}:")
        for kind in kinds:
            typer.echo(f"{files.in_words(kind.size):>10s}  {kind.name}")
        if others:
            names = [path.relative_to(files.cache_folder()).as_posix() for path in others]
            more = f" and {len(names) - 10} more" if len(names) > 10 else ""
            typer.echo(f"left alone, because the course did not make it: {', '.join(names[:10])}{more}")
        if not kinds:
            typer.echo("nothing to delete")
        elif not yes and not _is_terminal():
            raise ConfigurationError("there is no terminal to ask in; to delete all of this, pass --yes")
        for kind in kinds:
            size = files.in_words(kind.size)
            if yes or typer.confirm(f"Delete {size} {kind.name}?"):
                try:
                    files.delete_cached(kind)
                except OSError as error:
                    fail(f"{error}; close the notebooks that use it, and run this again")
                typer.echo(f"deleted: {size} {kind.name}")


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _cache_finding() -> environment.Finding:
    name, folder = "cache folder", files.cache_folder()
    try:
        kinds, _ = files.cached(_kinds())
    except OSError as error:
        remedy = "set COURSE_CACHE to a folder that you may read and write"
        return environment.Finding(name, "fault", str(error), remedy)
    says = f"{folder}; what the lessons write is below it: "
    if not kinds:
        return environment.Finding(name, "ok", f"{says}nothing yet")
    each = "; ".join(f"{files.in_words(kind.size)} {kind.name}" for kind in kinds)
    says += f"{files.in_words(sum(kind.size for kind in kinds))} ({each})"
    return environment.Finding(name, "ok", says, "to empty it: python -m course_utils clean, or make clean-data")


def _kinds() -> list[files.Kind]:
    from course_utils import datasets

    return [*datasets.kinds(), files.SCRATCH]


def _data_findings() -> list[environment.Finding]:
    try:
        from course_utils import datasets
        from course_utils.datasets.urbansound8k import HOW_TO_GET_IT
    except ImportError as error:
        return [environment.Finding("data", "fault", str(error), environment.TORCH)]
    found = []
    for name in ("mini", "urbansound8k"):
        place, remedy = datasets.default_root(name), "made at first use" if name == "mini" else HOW_TO_GET_IT
        if not place.is_dir():
            found.append(environment.Finding(f"data, {name}", "note", f"not in {place}", remedy))
            continue
        try:
            found.append(environment.Finding(f"data, {name}", "ok", datasets.open_folder(place, name).describe()))
        except (ValueError, OSError) as error:
            remedy = f"delete {place}; it is made again" if name == "mini" else remedy
            found.append(environment.Finding(f"data, {name}", "note", f"not finished: {error}", remedy))
    return found
