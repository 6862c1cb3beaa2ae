"""From the model's one text to fast code: sparse Jacobian and straight-line kernel, generated, compiled and cached.

`Model.rates` is run once on SymPy symbols. Free drug, the root of an equation without closed form, stays a symbol:
the kernel solves it (`binding.free_drug`), and the Jacobian uses the implicit function theorem. Common subexpressions
are shared. The module is written to the user's cache folder under a hash of all text that it depends on, so a second
start only loads it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from threading import Lock
from types import ModuleType

import platformdirs

from ranklsim.pkpd import ligand
from ranklsim.pkpd.model import Model
from ranklsim.pkpd.values import Slots, Values

_SOURCE = Path(__file__).parent
_TEXT = "values pharmacokinetics bisphosphonates anabolics ligand binding cells skeleton markers calcium model"


def compiled(slots: Slots, tell: Callable[[str], None] | None = None) -> ModuleType:
    """Load the generated module for `slots`, generating it first where this text has not been seen yet.

    Parameters
    ----------
    slots : Slots
    tell : callable, optional
        Called with a sentence when the module is not there yet and must be generated and compiled.

    Returns
    -------
    module
        With ``PARAMETERS`` (order of the parameter vector), ``rates(x, p, out, work)``, ``jacobian(x, p, out, work)``
        and ``integrate`` of `integrator`.
    """
    if tell and not _path(slots).exists():
        tell(f"Compiling the model for up to {slots.binders} binder(s), {slots.bisphosphonates} bisphosphonate(s) and "
             f"{slots.anabolics} anabolic(s): about 10 seconds, once on this machine.")  # fmt: skip
    return _load(slots)


@lru_cache(maxsize=1)
def _folder() -> Path:
    """Where generated modules live: ``RANKLSIM_CACHE``, the user's cache folder, or one for this process alone."""
    folder = Path(os.environ.get("RANKLSIM_CACHE") or platformdirs.user_cache_dir("ranklsim"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return Path(tempfile.mkdtemp(prefix="ranklsim-"))


def _path(slots: Slots) -> Path:
    return _folder() / f"kernel_{slots.binders}_{slots.bisphosphonates}_{slots.anabolics}_{_fingerprint()}.py"


_LOADING = Lock()


def _load(slots: Slots) -> ModuleType:
    path = _path(slots)
    with _LOADING:
        module = sys.modules.get(f"ranklsim_{path.stem}")
        if module is None:
            if not path.exists():
                _write(path, generate(slots))
            spec = importlib.util.spec_from_file_location(f"ranklsim_{path.stem}", path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            sys.modules[spec.name] = module
    return module


def _write(path: Path, text: str) -> None:
    """Write whole or not at all, so that two processes may generate the same module."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)


@lru_cache(maxsize=1)
def _fingerprint() -> str:
    """Hash of the model's text and of what turns it into code."""
    import numba
    import sympy

    seen = hashlib.blake2b(digest_size=8)
    for part in [*_TEXT.split(), "compiler", "integrator"]:
        seen.update((_SOURCE / f"{part}.py").read_bytes())
    seen.update(f"{sympy.__version__} {numba.__version__} {sys.version}".encode())
    return seen.hexdigest()


def generate(slots: Slots) -> str:
    """Python text of the compiled module for `slots`."""
    import sympy as sp

    model = Model(slots)
    states = list(model.states)
    n, binders = len(states), slots.binders
    x = Values({name: sp.Symbol(f"x_{name}") for name in states})
    p = _Recorder()
    free = [sp.Symbol(f"free_{k + 1}") for k in range(binders)]
    rates = [sp.sympify(rate) for rate in model.rates(x, p, free).values()]
    balance = [sp.sympify(term) for term in ligand.free_equation(x, p, free, slots)]
    parameters = sorted(p.seen)

    lines = [
        "from math import log",
        "",
        "from numba import njit",
        "import numpy as np",
        "from ranklsim.pkpd.binding import free_drug",
        "",
    ]
    lines += [f"STATES = {tuple(states)!r}", f"PARAMETERS = {tuple(parameters)!r}", f"BINDERS = {binders}", ""]
    used = {symbol.name for term in rates + balance for symbol in term.free_symbols}
    read = [f"    x_{name} = x[{i}]" for i, name in enumerate(states) if f"x_{name}" in used]
    read += [f"    p_{name} = p[{i}]" for i, name in enumerate(parameters)]
    sources = len(ligand.SOURCES)
    lines += [f"WORK = {max(1, binders * (binders + 2) + 3 * binders + sources * (binders + 1))}  # scratch space", ""]
    lines += [
        "@njit(cache=True, nogil=True, error_model='numpy')",
        "def rates(x, p, out, work):",
        *read,
        *_free_lines(binders),
    ]
    lines += [*_assign([(f"out[{i}]", rate) for i, rate in enumerate(rates)]), ""]

    symbols = list(x.values())
    entries = [
        (f"out[{i}, {j}]", rate.diff(symbol))
        for i, rate in enumerate(rates)
        for j, symbol in enumerate(symbols)
        if rate.has(symbol) and rate.diff(symbol) != 0
    ]
    by_free = [
        (f"df[{i}, {k}]", rate.diff(f)) for i, rate in enumerate(rates) for k, f in enumerate(free) if rate.has(f)
    ]
    balance_x = [
        (f"bx[{k}, {j}]", term.diff(symbol))
        for k, term in enumerate(balance)
        for j, symbol in enumerate(symbols)
        if term.has(symbol)
    ]
    balance_f = [(f"bf[{k}, {i}]", term.diff(f)) for k, term in enumerate(balance) for i, f in enumerate(free)]
    lines += [
        "@njit(cache=True, nogil=True, error_model='numpy')",
        "def jacobian(x, p, out, work):",
        *read,
        *_free_lines(binders),
        "    out[:, :] = 0.0",
    ]
    lines += [f"    df = np.zeros(({n}, {binders}))", f"    bx = np.zeros(({binders}, {n}))"]
    lines += [f"    bf = np.zeros(({binders}, {binders}))"]
    lines += _assign(entries + by_free + balance_x + balance_f)
    if binders:  # free drug moves with the states as its balance demands
        lines += ["    out -= df @ np.linalg.solve(bf, bx)"]
    integrator = (_SOURCE / "integrator.py").read_text(encoding="utf-8")
    body = integrator.split("# --- generated module continues here ---\n", 1)[1]
    return "\n".join(lines) + "\n\n" + body


class _Recorder(Values):
    """Stands in for a patient's constants while tracing: makes a symbol of every name that is read."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __getitem__(self, name: str) -> object:
        import sympy as sp

        self.seen.add(name)
        return sp.Symbol(f"p_{name}")

    def __getattr__(self, name: str) -> object:
        return self[name]


def _free_lines(binders: int) -> list[str]:
    """Code that solves the binding equilibrium in the scratch array and names free drug."""
    if not binders:
        return []
    m = len(ligand.SOURCES)
    cut, lines = 0, []
    for name, shape in {
        "total": (binders,), "free": (binders,), "asol": (binders,), "pool": (m,), "am": (binders, m),
        "solve": (binders, binders + 2),
    }.items():  # fmt: skip
        size = shape[0] * (shape[1] if len(shape) > 1 else 1)
        view = f"work[{cut}:{cut + size}]" + (f".reshape({shape})" if len(shape) > 1 else "")
        lines.append(f"    {name} = {view}")
        cut += size
    lines += [f"    pool[{j}] = x_mRANKL_{source}" for j, source in enumerate(ligand.SOURCES)]
    for k in range(binders):
        lines += [f"    total[{k}] = x_drug_{k + 1}", f"    asol[{k}] = p_as_{k + 1}"]
        lines += [f"    am[{k}, {j}] = p_am_{source}_{k + 1}" for j, source in enumerate(ligand.SOURCES)]
    lines.append("    free_drug(total, pool, x_sRANKL, am, asol, free, solve)")
    lines += [f"    free_{k + 1} = free[{k}]" for k in range(binders)]
    return lines


def _assign(targets: list[tuple[str, object]]) -> list[str]:
    """Straight-line assignments with common subexpressions named once."""
    import sympy as sp
    from sympy.printing.pycode import PythonCodePrinter

    printer = PythonCodePrinter({"fully_qualified_modules": False})
    shared, reduced = sp.cse([value for _, value in targets], symbols=sp.numbered_symbols("c"), order="none")
    lines = [f"    {symbol} = {printer.doprint(value)}" for symbol, value in shared]
    return lines + [f"    {name} = {printer.doprint(value)}" for (name, _), value in zip(targets, reduced, strict=True)]
