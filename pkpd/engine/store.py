"""Storage of compiled code between starts: written atomically and verified by hash, in a folder that is private.

A file holds bytes and the hash of them and of what they were made from. A file that is damaged, or was made from
something else, counts as absent: its content is made again, which is said once. Code is loaded from these files, so a
folder that others can write is not used. Where the folder can't be used or the disk is full, a private temporary folder
stands in for it until the process ends.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
import uuid
from functools import cache
from pathlib import Path
from typing import Any

KEPT_DAYS = 30
"""Days after its last use for which a kernel of another text is kept."""

_DIGEST = hashlib.sha256().digest_size
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@cache
def say(sentence: str) -> None:
    """A sentence to stderr, once in a process.

    Parameters
    ----------
    sentence : str
    """
    print(f"ranklsim: {sentence}", file=sys.stderr)


class Store:
    """A folder of sealed files.

    Parameters
    ----------
    base : Path
        Made if it is not there. The files stand in a folder ``kernels`` below it.
    """

    def __init__(self, base: Path) -> None:
        self.base = base = base.absolute()
        self._temporary: Path | None = None
        self._usable = True
        try:
            base.mkdir(parents=True, exist_ok=True)
            (base / "kernels").mkdir(mode=0o700, exist_ok=True)
            why = _why_unsafe(base)
        except OSError as fault:
            why = f"it can't be made ({fault.strerror})"
        if why:
            self._fall_back(f"the folder of compiled code {base} is not used: {why}")
            self._usable = False

    def read(self, name: str, made_from: str) -> bytes | None:
        """The bytes kept under a name; None if there are none, or others than were written.

        Parameters
        ----------
        name : str
            Path below the folder.
        made_from : str
            As when they were written.
        """
        for folder in self._folders():
            path = folder / name
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as fault:
                say(f"{path} can't be read ({fault.strerror}); what it holds is compiled again.")
                continue
            if content[:_DIGEST] == _seal(name, made_from, content[_DIGEST:]):
                return content[_DIGEST:]
            say(f"{path} is damaged; what it holds is compiled again.")
        return None

    def write(self, name: str, made_from: str, content: bytes) -> None:
        """Keep bytes under a name, whole or not at all.

        Parameters
        ----------
        name, made_from : str
            As in `read`.
        content : bytes
        """
        sealed = _seal(name, made_from, content) + content
        if self._usable:
            try:
                write_whole(self.base / "kernels" / name, sealed)
                return
            except OSError as fault:
                self._fall_back(f"compiled code can't be kept in {self.base} ({fault.strerror})")
        try:
            write_whole(self.temporary / name, sealed)
        except OSError as fault:
            say(f"compiled code can't be kept in {self.temporary} ({fault.strerror}); it is compiled at every start.")

    def used(self, kernel: str) -> None:
        """Note that a kernel is in use; remove those that have not been for `KEPT_DAYS`, and half-written files.

        Parameters
        ----------
        kernel : str
            Name of its folder.
        """
        if not self._usable:
            return
        now = time.time()
        try:
            for path in (self.base / "kernels").iterdir():
                if path.name == kernel:
                    os.utime(path)
                elif path.lstat().st_mtime < now - KEPT_DAYS * 86400:
                    shutil.rmtree(path, ignore_errors=True)
            for path in (self.base / "kernels" / kernel).glob("*.tmp"):  # of a process that was killed
                if path.lstat().st_mtime < now - 86400:
                    path.unlink()
        except OSError:
            return  # another process removes the same, or the folder is read-only: nothing depends on it

    @property
    def temporary(self) -> Path:
        """A folder of this process only, which is removed when the process ends."""
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="ranklsim-"))
            atexit.register(shutil.rmtree, self._temporary, ignore_errors=True)
        return self._temporary

    def _folders(self) -> list[Path]:
        known = [self.base / "kernels"] if self._usable else []
        return known if self._temporary is None else [*known, self._temporary]

    def _fall_back(self, why: str) -> None:
        say(f"{why}; a private temporary folder stands in for it. RANKLSIM_CACHE can name another folder.")


def _why_unsafe(base: Path) -> str:
    """Why code should not be loaded from a folder; empty if nothing speaks against it."""
    own = base / "kernels"
    if not hasattr(os, "getuid"):  # Windows: the folder of a user's own cache is closed to others by its access list
        return ""
    for path in (own, base.resolve(), base.resolve().parent):
        found = path.lstat()
        if path == own and not stat.S_ISDIR(found.st_mode):
            return f"{path} is no folder of its own"
        if found.st_uid not in (os.getuid(), 0):
            return f"{path} belongs to another user"
        sticky = bool(found.st_mode & stat.S_ISVTX) and path != own
        if found.st_mode & (_OTHERS if path == own else stat.S_IWOTH) and not sticky:
            return f"others can write to {path}"
    if own.lstat().st_mode & 0o077:
        with contextlib.suppress(OSError):  # on a read-only file system it stays readable, which does no harm
            own.chmod(0o700)
    return ""


def _seal(name: str, made_from: str, content: bytes) -> bytes:
    return hashlib.sha256(f"{name}\n{made_from}\n".encode() + content).digest()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there with all its bytes or not at all, also after a loss of power.

    Parameters
    ----------
    path : Path
        Its folder is made if it is missing.
    content : bytes
    """
    path.parent.mkdir(mode=0o700, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class KeptCode:
    """What numba asks of a cache of one function: its compiled overloads, kept in a store.

    Parameters
    ----------
    store : Store
    kernel : str
        Folder of the kernel in the store.
    function : str
    made_from : str
        Hash of all text that the function depends on.
    """

    cache_path = ""

    def __init__(self, store: Store, kernel: str, function: str, made_from: str) -> None:
        self._store, self._kernel, self._function, self._made_from = store, kernel, function, made_from

    def load_overload(self, signature: Any, context: Any) -> Any:
        """The function compiled for a signature, or None.

        Parameters
        ----------
        signature
            Of numba.
        context
            The target of numba.
        """
        import pickle

        from numba.core.compiler import CompileResult

        content = self._store.read(self._name(signature, context.codegen()), self._made_from)
        if content is None:
            return None
        context.refresh()
        return CompileResult._rebuild(context, *pickle.loads(content))

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep a function compiled for a signature.

        Parameters
        ----------
        signature
            Of numba.
        result
            A `CompileResult`.
        """
        from numba.core.serialize import dumps

        self._store.write(self._name(signature, result.library.codegen), self._made_from, dumps(result._reduce()))

    def flush(self) -> None:
        """Nothing is held back."""

    def _name(self, signature: Any, codegen: Any) -> str:
        """File of an overload: function, and hash of its types and of the processor."""
        about = hashlib.sha256(f"{signature} {codegen.magic_tuple()}".encode()).hexdigest()
        return f"{self._kernel}/{self._function}-{about[:16]}.code"
