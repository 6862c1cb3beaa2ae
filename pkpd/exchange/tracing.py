"""The text of ``pkpd/biology``, run on SymPy symbols so that what it computes on the way keeps its name.

Every assignment of the text is made to note its name before the text runs. So the page of equations and the files for
other tools show the names that the text gives, and no equation is written twice.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import sympy as sp

from ranklsim.pkpd import biology
from ranklsim.pkpd.biology.skeleton import TEMPLATES

BIOLOGY = Path(biology.__file__).parent
PARTS = "pharmacokinetics bisphosphonates anabolics ligand cells skeleton markers calcium model".split()
INDICES = ("c", "b", "k", "source", "site", "step")
"""Names in the text that say which of several is meant: compartment, template, agent, source, site of BMD, step."""


class Noting(ast.NodeTransformer):
    """Makes every assignment of a text note its name: calls of ``_keep`` and ``_item`` with the indices in force."""

    def __init__(self) -> None:
        self.indices: list[str] = []  # of the function and the loops around

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Follow the text into a function.

        Parameters
        ----------
        node : ast.FunctionDef
        """
        return self._within(node, [argument.arg for argument in node.args.args])

    def visit_For(self, node: ast.For) -> ast.AST:
        """Follow the text into a loop.

        Parameters
        ----------
        node : ast.For
        """
        return self._within(node, _names(node.target))

    def visit_DictComp(self, node: ast.DictComp) -> ast.AST:
        """Follow the text into a table that is made in a loop.

        Parameters
        ----------
        node : ast.DictComp
        """
        return self._within(node, [name for loop in node.generators for name in _names(loop.target)])

    def visit_Assign(self, node: ast.Assign) -> ast.Assign:
        """Wrap what is assigned to a name, or to an entry of a table.

        Parameters
        ----------
        node : ast.Assign
        """
        target, value = node.targets[0], node.value
        if isinstance(target, ast.Name) and isinstance(value, ast.DictComp):
            loops = [name for loop in value.generators for name in _names(loop.target)]
            self.indices += loops
            value.value = self._item(target.id, value.key, self.visit(value.value))
            del self.indices[len(self.indices) - len(loops) :]
            return node
        node.value = value = self.visit(node.value)
        if isinstance(target, ast.Name) and isinstance(value, ast.Dict):
            pairs = [(key, part) for key, part in zip(value.keys, value.values, strict=True) if key]
            value.values = [self._item(target.id, key, part) for key, part in pairs]
        elif isinstance(target, ast.Name):
            node.value = call("_keep", ast.Constant(target.id), value, self._now())
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            parts = zip(target.elts, value.elts, strict=True)
            value.elts = [self.visit_Assign(ast.Assign([one], part)).value for one, part in parts]
        elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
            node.value = self._item(target.value.id, target.slice, value)
        return node

    def _within(self, node: ast.AST, names: list[str]) -> ast.AST:
        self.indices += names
        found = self.generic_visit(node)
        del self.indices[len(self.indices) - len(names) :]
        return found

    def _now(self) -> ast.expr:
        """The indices in force as an expression of the text."""
        names = [name for name in dict.fromkeys(self.indices) if name in INDICES]
        return ast.List([ast.Name(name, ast.Load()) for name in names], ast.Load())

    def _item(self, of: str, key: ast.expr, value: ast.expr) -> ast.Call:
        return call("_item", ast.Constant(of), key, value, self._now())


def _names(target: ast.expr) -> list[str]:
    return [node.id for node in ast.walk(target) if isinstance(node, ast.Name)]


def call(name: str, *args: ast.expr) -> ast.Call:
    """A call in a text.

    Parameters
    ----------
    name : str
        Of the function.
    *args : ast.expr
    """
    return ast.Call(ast.Name(name, ast.Load()), list(args), [])


def run_text(module: str, noting: ast.NodeTransformer, space: dict[str, Any]) -> dict[str, Any]:
    """Run a file of biology whose functions note what they compute.

    Parameters
    ----------
    module : str
        Name of the file.
    noting : NodeTransformer
        What changes the text: `Noting`, or a class that inherits from it.
    space : dict
        Names that the text finds, such as ``_keep``.

    Returns
    -------
    dict
        The names of the file.
    """
    tree = ast.parse((BIOLOGY / f"{module}.py").read_text(encoding="utf-8"))
    tree.body = [noting.visit(n) if isinstance(n, ast.FunctionDef | ast.ClassDef) else n for n in tree.body]
    space = {"__name__": module} | space
    exec(compile(ast.fix_missing_locations(tree), f"{module}.py", "exec"), space)
    return space


class Notes:
    """What the whole text computes, step by step, with every loop run in full.

    Parameters
    ----------
    symbol : callable
        The symbol of a name.
    """

    def __init__(self, symbol: Callable[[str], sp.Symbol]) -> None:
        self.symbol = symbol
        self.found: dict[str, sp.Expr] = {}
        self.reserved: set[str] = set()

    def keep(self, name: str, value: Any, indices: list[Any]) -> Any:
        """Note a step and go on with its symbol; what is no formula goes on as it is.

        Parameters
        ----------
        name : str
            As the text has it; the indices in use are appended.
        value
            What is assigned.
        indices : list
            In force where it is assigned.
        """
        if not isinstance(value, sp.Expr) or value.is_Atom:
            return value
        told = [str(i) for i in indices if isinstance(i, str | int)]
        base = "_".join([name, *(i for i in told if i not in name.split("_"))])
        tried, number = base, 1
        while tried in self.reserved or self.found.setdefault(tried, value) != value:  # the name is another's
            number += 1
            tried = f"{base}_{number}"
        return self.symbol(tried)

    def item(self, of: str, key: object, value: Any, indices: list[Any]) -> Any:
        """As `keep`, for an entry of a table. Rates and outputs are told by who asks for them.

        Parameters
        ----------
        of : str
            Name of the table.
        key
            Of the entry.
        value, indices
            As of `keep`.
        """
        if of == "change" or (of == "out" and not str(key).startswith(("open", "held", "on_"))):
            return value
        parts = [str(part) for part in (key if isinstance(key, tuple) else (key,))]
        own = of in ("constants", "points", "out")
        return self.keep(
            "_".join(parts if own else [of, *parts]), value, [] if own or parts[0] in TEMPLATES else indices
        )

    def model(self) -> Any:
        """The class `Model`, whose methods note what they compute."""
        functions = {"_keep": self.keep, "_item": self.item}
        spaces = {module: run_text(module, Noting(), functions) for module in PARTS}
        for space in spaces.values():
            space |= {name: SimpleNamespace(**part) for name, part in spaces.items() if name in space}
            space |= {
                name: spaces[value.__module__.rpartition(".")[2]][name]
                for name, value in list(space.items())
                if getattr(value, "__module__", "").startswith("ranklsim.pkpd.biology.")
                and value.__module__.rpartition(".")[2] in spaces
            }
        return spaces["model"]["Model"]
