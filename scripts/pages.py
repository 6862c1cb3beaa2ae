"""Blocks of a page that a script makes, each between two marks."""

from __future__ import annotations

import re
from collections.abc import Iterable


def put(text: str, name: str, script: str, block: str) -> str:
    """The text of a page with another block between the marks of that name.

    Parameters
    ----------
    text : str
    name, script : str
        As in ``<!-- NAME: scripts/SCRIPT.py -->`` and ``<!-- end of NAME -->``.
    block : str

    Raises
    ------
    SystemExit
        If these marks are not there exactly once.
    """
    begin, end = f"<!-- {name}: scripts/{script}.py -->", f"<!-- end of {name} -->"
    renewed, times = re.subn(f"{begin}.*?{end}", lambda _: f"{begin}\n{block}\n{end}", text, flags=re.DOTALL)
    if times != 1:
        raise SystemExit(f"The page holds {begin} ... {end} {times} times; it must be there once.")
    return renewed


def table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown.

    Parameters
    ----------
    head : iterable
    rows : iterable of iterable
    """
    head = list(head)
    body = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in body)
