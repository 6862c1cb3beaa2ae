"""The place of a run: one process writes at a time, and every file is complete or absent.

A folder is a path, or a URL that fsspec supports (``s3://bucket/run``); a URL is a `UPath`, which has the methods of a
path. Every file is written under a temporary name and then renamed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from ranklsim.pkpd.errors import BadInput, RanklsimError, RunFailed

LOCK = ".lock"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


def place(where: str | os.PathLike[str]) -> Path:
    """The folder that a path or a URL names.

    Parameters
    ----------
    where : path or URL
        Such as ``runs/modality`` or ``s3://bucket/run``.

    Raises
    ------
    BadInput
        If it is a URL that can't be used.
    """
    text = os.fspath(where) if not hasattr(where, "fs") else str(where)
    if "://" not in text:
        return Path(where)
    url = urlsplit(text)
    if url.scheme in ("file", "local"):
        return Path(unquote(url.netloc + url.path))
    try:
        url_path: Any = importlib.import_module("upath").UPath
    except ImportError:
        raise BadInput(f"{text}: URLs need more libraries; `pip install 'ranklsim[dask]'` brings them.") from None
    try:
        found: Path = url_path(text)
        found.fs.exists(found.path)  # type: ignore[attr-defined]
    except ImportError as error:
        raise BadInput(
            f"{text}: {url.scheme}:// needs another library ({error}); install it, or give a path."
        ) from None
    except (ValueError, TypeError) as error:
        known = f"is no URL that fsspec knows ({error})"
        raise BadInput(f"{text}: {known}; give a path, or a URL such as s3://bucket/run.") from None
    except Exception as error:  # whatever the store's own library raises
        raise BadInput(
            f"{text}: can't be reached ({_first_line(error)}); check the URL and your permissions."
        ) from None
    return found


def is_local(path: Path) -> bool:
    """Whether a place is a local path, not a URL.

    Parameters
    ----------
    path : Path
        From `place`.
    """
    return isinstance(path, Path)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the system says about writing to `path` into one sentence.

    Parameters
    ----------
    path : Path
        The file or folder that is written.

    Raises
    ------
    BadInput
        If writing there is not allowed.
    RunFailed
        If there is no space left, or the disk fails otherwise.
    """
    try:
        yield
    except RanklsimError:
        raise
    except OSError as error:
        raise _explain(error, path) from None
    except Exception as error:
        if is_local(path):
            raise
        raise RunFailed(f"{path}: can't be written ({_first_line(error)}); try again with --resume.") from None


def _explain(error: OSError, path: Path) -> RanklsimError:
    if error.errno in _NO_ROOM:
        return RunFailed(f"{path}: no space left on the disk; free some space, then continue with --resume.")
    if error.errno in _NOT_ALLOWED:
        return BadInput(f"{path}: writing here is not allowed; give another folder, or change its permissions.")
    if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
        return BadInput(f"{path}: no file can be made here; give another folder.")
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return BadInput(f"{path}: a file stands where a folder is needed; give another folder.")
    return RunFailed(f"{path}: can't be written ({error.strerror or error}); try again with --resume.")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


class Written(NamedTuple):
    """Content of a file."""

    sha256: str
    bytes: int
    rows: int = 0


class _Hashing:
    """A file open for writing that knows the hash and the size of what went into it."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.hash, self.size = file, hashlib.sha256(), 0

    def write(self, content: bytes | memoryview) -> int:
        self.hash.update(content)
        self.size += memoryview(content).nbytes
        return int(self.file.write(content))

    def flush(self) -> None:
        self.file.flush()

    def tell(self) -> int:
        return self.size

    def written(self, rows: int = 0) -> Written:
        return Written(self.hash.hexdigest(), self.size, rows)


@contextlib.contextmanager
def replacing(path: Path, *, lasting: bool = True) -> Iterator[_Hashing]:
    """A file open for writing that takes the name `path` when it is whole; on any fault nothing of it remains.

    It is on the disk before it has the name, so that it outlives a loss of power, unless `lasting` is false: then it
    outlives the end of this process only. Two processes may write the same file; the one that ends last has it.

    Parameters
    ----------
    path : Path
        The file; its folder exists.
    lasting : bool
        Whether the file must outlive a loss of power.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with explained(path):
        try:
            with temporary.open("wb") as file:
                yield _Hashing(file)
                if is_local(path):
                    file.flush()
                    if lasting:
                        os.fsync(file.fileno())
            if is_local(path):
                os.replace(temporary, path)
            else:
                temporary.fs.mv(temporary.path, path.path)  # type: ignore[attr-defined]
        except BaseException:
            with contextlib.suppress(Exception):
                temporary.unlink()
            raise


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, where missing.

    Parameters
    ----------
    path : Path
        Local, or behind a URL.
    """
    with explained(path):
        if is_local(path):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.fs.makedirs(path.path, exist_ok=True)  # type: ignore[attr-defined]


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Make a folder, and let no other process of this machine write to it meanwhile.

    The lock is the kernel's and goes with the process, however that ends: of the folder itself, on Windows of a file in
    it. Behind a URL, or on a file system that has no locks, there is none.

    Parameters
    ----------
    path : Path
        The folder.

    Raises
    ------
    BadInput
        If another process holds it.
    """
    make_folder(path)
    if not is_local(path):
        yield
        return
    mark = path / LOCK
    try:
        import fcntl

        handle = os.open(path, os.O_RDONLY)
        lock = partial(fcntl.flock, handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # Windows, where a folder can't be opened, and a lock that is held is no permission
        import msvcrt

        handle = os.open(mark, os.O_RDWR | os.O_CREAT)
        lock = partial(msvcrt.locking, handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    try:
        lock()
    except (BlockingIOError, PermissionError):
        os.close(handle)
        raise BadInput(f"{path}: another process is writing this run; wait until it ends, or stop it.") from None
    except OSError:
        pass  # the file system has no locks
    try:
        yield
    finally:
        os.close(handle)
        with contextlib.suppress(OSError):
            mark.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it, if there is one.

    Parameters
    ----------
    path : Path
        Local, or behind a URL.
    """
    if not path.is_dir():
        return
    if is_local(path):
        shutil.rmtree(path)
    else:
        path.fs.rm(path.path, recursive=True)  # type: ignore[attr-defined]


def upload(source: Path, target: Path) -> None:
    """Put a folder of this machine in the place of the one behind a URL.

    Parameters
    ----------
    source : Path
        A local folder.
    target : Path
        The folder behind a URL that it replaces.
    """
    with explained(target):
        remove_folder(target)
        target.fs.put(f"{source}/", f"{target.path}/", recursive=True)  # type: ignore[attr-defined]


def write_bytes(path: Path, content: bytes, *, lasting: bool = True) -> Written:
    """Write a file whole or not at all.

    Parameters
    ----------
    path : Path
        The file; its folder exists.
    content : bytes
        All that it shall hold.
    lasting : bool
        As of `replacing`.
    """
    with replacing(path, lasting=lasting) as file:
        file.write(content)
    return file.written()


def write_json(path: Path, content: Mapping[str, Any], *, lasting: bool = True) -> None:
    """Write a JSON file whole or not at all.

    Parameters
    ----------
    path : Path
        The file; its folder exists.
    content : mapping
        Values that `json` can write.
    lasting : bool
        As of `replacing`.
    """
    write_bytes(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode(), lasting=lasting)


def sha256(path: Path) -> str:
    """SHA-256 of a file (hexadecimal).

    Parameters
    ----------
    path : Path
        The file.
    """
    with path.open("rb") as file:
        seen = hashlib.sha256()
        while block := file.read(1 << 20):
            seen.update(block)
    return seen.hexdigest()
