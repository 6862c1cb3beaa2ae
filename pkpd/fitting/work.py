"""Finished parts of long work on disk, so that it goes on after an interruption: whole, or as if not there."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from ranklsim.pkpd.engine.store import write_whole


def keep(path: Path, content: object) -> None:
    """Write what JSON can hold, with its hash; `kept` reads it.

    Parameters
    ----------
    path : Path
    content : object
    """
    _write(path, json.dumps(content).encode())


def kept(path: Path) -> Any:
    """What was written by `keep`; None if the file is not there, or not as it was written.

    Parameters
    ----------
    path : Path
    """
    content = _read(path)
    return None if content is None else json.loads(content)


def keep_arrays(path: Path, **arrays: Any) -> None:
    """Write arrays by name, with their hash; `kept_arrays` reads them.

    Parameters
    ----------
    path : Path
    **arrays : array
    """
    out = io.BytesIO()
    np.savez(out, **arrays)
    _write(path, out.getvalue())


def kept_arrays(path: Path) -> dict[str, Any] | None:
    """Arrays written by `keep_arrays`; None if the file is not there, or not as it was written.

    Parameters
    ----------
    path : Path
    """
    content = _read(path)
    if content is None:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as found:
        return dict(found)


def _write(path: Path, content: bytes) -> None:
    write_whole(path, _hash(content) + b"\n" + content)


def _read(path: Path) -> bytes | None:
    if not path.is_file():
        return None
    said, _, content = path.read_bytes().partition(b"\n")
    return content if said == _hash(content) else None


def _hash(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).hexdigest().encode()
