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


def unusable(target: Path, force: bool) -> str:
    """Why a file can't be written, as a sentence; empty if it can.

    Parameters
    ----------
    target : Path
        The file.
    force : bool
        Whether a file that exists may be replaced.
    """
    near = next(place for place in (target.parent, *target.absolute().parents) if os.path.lexists(place))
    if target.is_dir():
        example = f"typical{target.suffix or '.csv'}"
        return f"{target} is a folder; give a file in it, such as {target / example}."
    if not near.is_dir():
        return f"{target}: {near} is a file; give another path."
    if not target.parent.is_dir():
        return f"{target}: the folder {target.parent} does not exist; make it, or give another path."
    if target.exists() and not force:
        return f"{target} exists; give another name, or --force to replace it."
    why = unwritable(target.parent)
    return f"{target}: {why}; give another path." if why else ""


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
