"""What the machine offers."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def processors() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1


def unwritable(folder: Path) -> str:
    """Why no file can be made in a folder, as the end of a sentence; empty if one can.

    Parameters
    ----------
    folder : Path
        It exists.
    """
    if not os.access(folder, os.W_OK):
        return f"no permission to write in {folder}"
    try:
        with tempfile.TemporaryFile(prefix=".ranklsim-", dir=folder):  # the permissions alone do not tell all
            return ""
    except OSError:
        return f"no file can be made in {folder}"
