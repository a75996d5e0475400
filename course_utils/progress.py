"""Progress bars, shown only where somebody is watching."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm


def bar(
    items: Iterable[Any] | None = None,
    what: str = "",
    *,
    unit: str,
    progress: bool | None,
    total: int | None = None,
    initial: int = 0,
    leave: bool = False,
) -> tqdm:
    """Return a progress bar.

    In a notebook a bar is an output like any other: it would be stored, and a second run, which finds its data prepared,
    would not show it again and differ. So None shows none there.

    Args:
        items: What to go through; None for a bar that is updated by hand.
        what: What is being done.
        unit: The unit of what is counted; B, for bytes, is shown in kB and MB.
        progress: Whether to show it; None only where the output is a terminal.
        total: How many there are, if `items` does not say.
        initial: How many are done already.
        leave: Keep the bar when all is done.

    Returns:
        A bar of tqdm, to iterate over or to update.
    """
    is_hidden = not sys.stderr.isatty() if progress is None else not progress
    return tqdm(items, what, total, leave, initial=initial, unit=unit, unit_scale=unit == "B", disable=is_hidden)
