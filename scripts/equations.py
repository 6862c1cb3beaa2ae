"""The equations of the model as a page, docs/equations.md, and the symbols at the head of each file of biology.

    .venv/bin/python scripts/equations.py

The text of ``pkpd/biology`` itself is run, on SymPy symbols. Before that, every assignment is made to note its name, so
that an intermediate keeps the name that the text gives it. A loop over sources, compartments, templates or agents runs
once, for an index. So the page shows what the files hold, and no equation is written twice.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any

import sympy as sp
from sympy.printing.latex import LatexPrinter

from ranklsim.pkpd.agents import FIELDS
from ranklsim.pkpd.biology.ligand import SOURCES
from ranklsim.pkpd.biology.model import Model
from ranklsim.pkpd.biology.skeleton import NAMES
from ranklsim.pkpd.biology.values import Slots, Values
from ranklsim.pkpd.exchange.tracing import BIOLOGY, Noting, call, run_text
from ranklsim.pkpd.parameters import load_parameters

PAGE = Path(__file__).parent.parent / "docs" / "equations.md"
HEADING = "Parameters read here, with unit and meaning"
TABLE = load_parameters()
STATES = Model(Slots(1, 1, 1)).states
AGENT = {f"{field}_1": what for fields in FIELDS.values() for field, what in fields.items()}

PLACES = {"j": SOURCES, "c": ("T", "C"), "b": ("T", "C", "R"), "k": ("1",)}
"""What an index stands for: sources, compartments, templates of bone, agents of a kind."""
WORDS = {
    "osteocyte": ("osteocytes", "source j"),
    "marrow": ("marrow adipogenic and stromal cells", "source j"),
    "osteoblast": ("osteoblasts and lining cells", "source j"),
    "lymphocyte": ("lymphocytes", "source j"),
    "T": ("trabecular bone", "compartment c"),
    "C": ("cortical bone", "compartment c"),
}
"""How the table calls a source or compartment, and how its meaning reads for an index."""


class Index(str):
    """An index that stands for all its values, also where the text counts agents."""

    def __sub__(self, _: object) -> Index:
        return self

    __add__ = __sub__  # type: ignore[assignment]


J, C, B, K = Index("j"), Index("c"), Index("b"), Index("k")


def symbol(name: str) -> sp.Symbol:
    """The symbol of a name; ``kb`` and its like are ``k_b``."""
    return sp.Symbol(re.sub(r"^(k|dl|ph)b$", r"\1_b", name), positive=True)


class Names(Values):
    """Values in which every name is a symbol; notes which were read. An agent's names bear the index k."""

    def __init__(self, read: dict[str, None], suffix: str = "") -> None:
        super().__init__()
        self.__dict__ |= {"read": read, "suffix": suffix}

    def __missing__(self, name: str) -> sp.Symbol:
        found = symbol(name + self.__dict__["suffix"])
        self.__dict__["read"][found.name] = None
        return found

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]


class Over(sp.Function):
    """A sum or product of a formula over an index: formula, index, kind."""


def _over(kind: str, parts: Iterable[Any], index: str) -> Any:
    found = list(parts)
    if len(found) > 1:  # a sum of named terms
        return sp.Add(*found)
    return Over(found[0], sp.Symbol({"source": "j", "s": "j"}.get(index, index)), sp.Symbol(kind))


class Equations:
    """Equations of one function in the order in which it computes them, by name."""

    def __init__(self) -> None:
        self.found: dict[str, sp.Expr] = {}

    def keep(self, name: str, value: Any) -> Any:
        """Note an intermediate and go on with its symbol; what is no formula goes on as it is."""
        if not isinstance(value, sp.Expr) or value.is_Symbol or value.is_number:
            return value
        summed = {str(over.args[1]) for over in value.atoms(Over)}
        own = {part for s in value.free_symbols for part in s.name.split("_")[1:] if part in PLACES} - summed
        name = "_".join([name, *sorted(own - set(name.split("_")))])
        if members(name, [*STATES, *TABLE.frame.index]):
            raise ValueError(f"{name} is a state or a parameter; give what is computed a name of its own")
        if self.found.setdefault(name, value) != value:
            raise ValueError(f"{name} is computed in two ways; give one of them a name of its own")
        return symbol(name)

    def item(self, of: str, key: object, value: Any) -> Any:
        """As `keep`, for an entry of a table. Rates and outputs are told by who asks for them."""
        if of in ("change", "balance", "out") and not (of == "out" and str(key).startswith(("open", "held", "free"))):
            return value
        parts = [str(part) for part in (key if isinstance(key, tuple) else (key,))]
        places = {*PLACES, *(place for some in PLACES.values() for place in some)}
        name = "_".join([of, *parts] if isinstance(key, tuple) or parts[0] in places else parts)
        if of in ("constants", "laid", "added") and isinstance(value, sp.Symbol) and value.name != name:
            self.found[name] = value
            return symbol(name)
        return self.keep(name, value)


class _Noting(Noting):
    """Makes every sum note its index, too."""

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in ("sum", "prod"):
            if isinstance(node.args[0], ast.GeneratorExp):
                index = ast.unparse(node.args[0].generators[0].target)
                return call("_over", ast.Constant(node.func.id), node.args[0], ast.Constant(index))
        return node


class Text:
    """A file of biology that can be run on symbols.

    Parameters
    ----------
    name : str
        Of the module.
    given : mapping
        Names of the module that stand for something else here.
    """

    def __init__(self, name: str, given: Mapping[str, Any]) -> None:
        self.equations, self.depth = Equations(), 0
        self.space: dict[str, Any] = run_text(
            name,
            _Noting(),
            {
                "_keep": lambda name, value, _: self.equations.keep(name, value),
                "_item": lambda of, key, value, _: self.equations.item(of, key, value),
                "_over": _over,
                "range": lambda *_: [K],
            },
        )
        units = {"LN2": sp.log(2), "E": sp.E, "DAYS_PER_YEAR": symbol("year")}
        self.space |= {"SOURCES": (J,), "TEMPLATES": {B: C}} | units | given
        for inner, function in list(self.space.items()):
            if isinstance(function, FunctionType) and function.__module__ == name:
                self.space[inner] = self._named(inner.strip("_"), function)

    def _named(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose result keeps its name where another function of the file calls it."""

        def call(*args: Any) -> Any:
            self.depth += 1
            try:
                found = function(*args)
            finally:
                self.depth -= 1
            if not self.depth:
                return found
            return self.equations.keep("_".join([name, *(arg for arg in args if isinstance(arg, str))]), found)

        return call

    def run(self, function: str, *args: Any) -> tuple[Any, dict[str, sp.Expr]]:
        """What a function returns, and the equations on the way to it."""
        self.equations = Equations()
        call = self.space.get(function) or getattr(self._model(), function)
        return call(*args), self.equations.found

    def _model(self) -> Any:
        """The assembled model, without states of its own, since each part tells its rates."""
        model = object.__new__(self.space["Model"])
        model.slots, model.states = SimpleNamespace(binders=1, bisphosphonates=1, anabolics=1), {}
        for name in self.space.get("_without", ()):
            setattr(model, name, lambda *_: ())
        return model


# ------------------------------------------------------------------------------------------------------------- names
def members(name: str, of: Iterable[str]) -> list[str]:
    """Names of a collection that a name with indices stands for."""
    pattern = "_".join(
        f"(?:{'|'.join(PLACES[part])})" if part in PLACES else re.escape(part) for part in name.split("_")
    )
    if re.fullmatch(r"(k|dl|ph)_b", name):
        pattern = name.removesuffix("_b") + "[TCR]"
    return [one for one in of if re.fullmatch(pattern, one)]


class _Printer(LatexPrinter):
    """States slanted, parameters upright, what is computed sans serif."""

    def _print_Symbol(self, expr: sp.Symbol, style: str = "plain") -> str:
        return named(expr.name)

    def _print_Float(self, expr: sp.Float) -> str:
        return f"{float(expr):g}"

    def _print_Over(self, expr: Over, exp: str | None = None) -> str:
        body, index, kind = expr.args
        inside = self._print(body)
        return rf"\{kind}_{{{index}}} " + (rf"\left({inside}\right)" if body.is_Add else inside)

    def _print_Function(self, expr: sp.Function, exp: str | None = None) -> str:
        if not expr.func.__name__.startswith("signal"):
            return str(super()._print_Function(expr, exp))
        return rf"{named(expr.func.__name__)}\left({self._print(expr.args[0])}\right)"

    def _needs_mul_brackets(self, expr: Any, first: bool = False, last: bool = False) -> bool:
        return (isinstance(expr, Over) and not last) or super()._needs_mul_brackets(expr, first=first, last=last)

    def _needs_add_brackets(self, expr: Any) -> bool:
        return isinstance(expr, Over) or super()._needs_add_brackets(expr)


def named(name: str) -> str:
    """A name in LaTeX: what follows its first underscore is its index."""
    base, *rest = name.split("_")
    font = "mathit" if members(name, STATES) else "mathrm" if members(name, [*TABLE.frame.index, *AGENT]) else "mathsf"
    parts = [part if part in PLACES else rf"\mathrm{{{part}}}" for part in rest]
    return rf"\{font}{{{base}}}" + (f"_{{{','.join(parts)}}}" if parts else "")


def formula(left: str, right: Any) -> str:
    """One equation as a block of the page."""
    printer = _Printer({"ln_notation": True, "mul_symbol": "dot", "order": "none"})
    return f"$$\n{left} = {printer.doprint(sp.sympify(right))}\n$$\n"


INTRODUCTION = """# The equations of the model

This page is generated from the text of `pkpd/biology` by `scripts/equations.py`; do not edit it by hand. Each section
is one file. Time is in days. *Slanted* names are states, upright names are parameters, sans serif names are computed;
what follows the first underscore of a name in the code is an index here (`kint_k` reads "kint, index k").

| index | stands for |
| --- | --- |
| j | cellular source of RANKL: osteocyte, marrow, osteoblast, lymphocyte |
| c | compartment of bone: T trabecular, C cortical |
| b | template of bone: T and C of spine and hip, R cortical bone of the one-third radius; compartment C works on R |
| k | agent of a kind: a drug that binds RANKL, a bisphosphonate, a bone-forming agent |

`year` is 365.25 days. A state without drug starts at the value in the first table; values, units and status of
parameters stand below the equations that use them. Numbers of an agent stand in its file (`ranklsim agents show NAME`).
Free drug is the root of the mass balance of total drug, found by Newton steps (`binding.py`).

## The flow of cause

```mermaid
flowchart LR
  subgraph drug_k [drugs that bind RANKL]
    depot --> drug
    drug <--> tissue
  end
  subgraph ligand [RANKL by source]
    mRANKL -- shedding --> sRANKL
  end
  drug -- occupies --> mRANKL
  drug -- occupies --> sRANKL
  drug -- time on RANKL --> exposure
  mRANKL --> signal([signal at RANK])
  sRANKL --> signal
  OPG([OPG]) -- blocks --> signal
  supplement -- lowers --> signal
  subgraph cells [bone cells, T and C]
    waiting --> sites --> OC --> matrix1 --> matrix2 --> OB
    OC -- osteomorphs --> waiting
    OB -- lowers --> drift
  end
  signal -- activates --> waiting
  signal -- makes and keeps --> OC
  drift -- OPG or RANKL --> signal
  subgraph bone [bone by age of its mineral, templates T, C, R]
    osteoid --> young --> middle --> mature
    modelled
  end
  OB -- formation --> osteoid
  OC -- resorption --> mature
  OC -- resorption --> middle
  OC -- resorption --> young
  modelled -- adds --> osteoid
  subgraph bisphosphonate [bisphosphonates]
    blood --> surface <--> buried
    surface --> resistance
  end
  surface -- kills --> OC
  subgraph anabolic [bone-forming agents]
    level --> adaptation
  end
  level --> recruited --> adaptation
  recruited -- more matrix --> OB
  recruited -- modelling --> modelled
  level -- less signal --> signal
  level -- RANKL --> mRANKL
  OC --> TRAP
  OB --> late_OB
  OB --> lining
  OC -- releases --> calcium
  osteoid -- takes up --> calcium
  calcium -- PTH --> calcitriol -- gut --> calcium
```
"""


# ------------------------------------------------------------------------------------------------------------ sections
@dataclass(frozen=True)
class Step:
    """One function of a file: heading on the page, arguments, and what its result is called.

    `result` is "rates", "values" (of a dict), "zero", or the name of the one value.
    """

    function: str
    heading: str
    args: tuple[Any, ...]
    result: str = "values"


@dataclass(frozen=True)
class Section:
    """A file of biology on the page."""

    module: str
    title: str
    steps: tuple[Step, ...]
    given: Mapping[str, Any]


def sections(read: dict[str, None]) -> list[Section]:
    """The files in the order of cause; what is read of the parameters is noted in `read`."""
    x, p, agent = Names({}), Names(read), Names(read, "_k")
    slots, free, bound = SimpleNamespace(binders=1, bisphosphonates=1, anabolics=1), {K: symbol("free_k")}, Names({})
    v = symbol
    state = {"TEMPLATES": {"T": "T", "C": "C"}, "SITES": {"LS": ("T", "C")}}
    none: Callable[..., dict[str, Any]] = lambda *_: {}  # noqa: E731
    parts = {
        "ligand": SimpleNamespace(
            signal=lambda x, p, bound, c, step: sp.Function(f"signal_{c}")(v(step)),
            binding=lambda *_: bound,
            rates=none,
        ),
        "cells": SimpleNamespace(
            whole_body=lambda x, p, name: p.turn_T * x[f"{name}_T"] + (1 - p.turn_T) * x[f"{name}_C"], rates=none
        ),
        "calcium": SimpleNamespace(
            spared=lambda *_: v("spared"), relative_PTH=lambda *_: v("relative_PTH"), rates=none
        ),
        "anabolics": SimpleNamespace(
            matrix=lambda *_: v("matrix"), modelling=lambda *_: v("modelling"), synthesis=lambda *_: v("synthesis"),
            restraint=lambda *_: v("restraint"), rates=none,
        ),
        "bisphosphonates": SimpleNamespace(kill=lambda *_: v("kill"), rates=none),
        "pharmacokinetics": SimpleNamespace(rates=none),
        "markers": SimpleNamespace(rates=none, serum=none),
        "skeleton": SimpleNamespace(
            rates=none, bone_mineral=none, volume=lambda x, b: v(f"volume_{b}"),
        ),
        "TEMPLATES": {"T": "T", "C": "C"},
        "list": lambda found: found,
    }  # fmt: skip
    return [
        Section("pharmacokinetics", "Drugs that bind RANKL", (
            Step("individual", "A patient's constants", (p, slots)),
            Step("dose", "A dose under the skin (amount in mg)", (agent, v("amount"), "SC"), "dose"),
            Step("dose", "A dose into the vein (amount in mg)", (agent, v("amount"), "IV"), "dose"),
            Step("rates", "Rates of change", (x, p, bound, slots), "rates"),
        ), {}),
        Section("ligand", "RANKL, OPG and the signal at RANK", (
            Step("individual", "A patient's constants", (p, slots)),
            Step("free_equation", "Free drug: the root of", (x, p, free, slots), "zero"),
            Step("binding", "Binding at quasi-equilibrium", (x, p, free, slots)),
            Step("signal", "Signal at RANK as making and keeping of osteoclasts hear it", (x, p, bound, C), "signal_c"),
            Step("signal", "Signal at RANK as activation hears it", (x, p, bound, C, "act"), "signal_c"),
            Step("rates", "Rates of change", (x, p, bound, v("synthesis"), slots), "rates"),
            Step("potency", "Potency of one free sRANKL molecule over one free mRANKL molecule", (p,), "potency"),
        ), {}),
        Section("cells", "Bone cells", (
            Step("rates", "Rates of change", (x, p, C, v("activation_c"), v("survival_c"), v("kill")), "rates"),
        ), {}),
        Section("bisphosphonates", "Bisphosphonates", (
            Step("dose", "A dose (amount in mg)", (agent, v("amount"), "IV"), "dose"),
            Step("kill", "Osteoclast death over normal", (x, p, slots), "kill"),
            Step("rates", "Rates of change", (x, p, v("osteoclasts"), v("formation"), slots), "rates"),
        ), {}),
        Section("anabolics", "Bone-forming agents", (
            Step("individual", "A patient's constants", (p, slots)),
            Step("dose", "A dose (amount in mg)", (agent, v("amount"), "SC"), "dose"),
            Step("matrix", "Bone laid down by a trabecular osteoblast over normal", (x, p, v("room"), slots), "matrix"),
            Step("modelling", "Modelling-based formation that agents add", (x, p, v("room"), slots), "modelling"),
            Step("restraint", "What the signal at RANK is multiplied by", (x, p, slots), "restraint"),
            Step("synthesis", "RANKL synthesis over normal", (x, p, v("formation"), slots), "synthesis"),
            Step("rates", "Rates of change", (x, p, slots), "rates"),
        ), {}),
        Section("skeleton", "Bone by age of its mineral", (
            Step("individual", "A patient's constants and untreated start", (p,)),
            Step("rates", "Rates of change", (x, p, B, v("OC_c"), v("laid_c"), v("added_c")), "rates"),
        ), {}),
        Section("skeleton", "Areal BMD at the lumbar spine", (
            Step("bone_mineral", "The other sites have no artefact; the 1/3 radius has template R in place of C",
                 (x, p, v("t"))),
            Step("t_score", "T-score", (p, "LS", v("BMD_LS")), "T_LS"),
        ), state),
        Section("markers", "Turnover markers", (
            Step("rates", "Rates of change", (x, p, v("osteoclasts"), v("formation")), "rates"),
            Step("serum", "Serum levels", (x, p, v("osteoclasts"), v("formation"))),
        ), {}),
        Section("calcium", "Serum calcium and PTH", (
            Step("individual", "A patient's constants", (p,)),
            Step("rates", "Rates of change", (x, p, v("resorption"), v("mineralisation")), "rates"),
            Step("spared", "Signal at RANK over that without calcium and vitamin D", (x, p), "spared"),
        ), {}),
        Section("model", "The parts together", (
            Step("_calcium_traffic", "Whole-body resorption and mineralisation of osteoid", (x, p), "none"),
        ), parts),
        Section("model", "What the parts hear of each other, and what can be known of a patient", (
            Step("rates", "Inputs of the parts", (x, p, free), "none"),
            Step("outputs", "Outputs (beside those of markers and skeleton)", (x, p, v("t"), free), "values"),
        ), parts | {"COMPARTMENTS": (C,), "_without": ("_calcium_traffic",)}),
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------- page
def _equations(text: Text, step: Step) -> list[str]:
    """Blocks of the page for one function: what it computes on the way, then what it returns."""
    result, found = text.run(step.function, *step.args)
    blocks = [formula(named(name), value) for name, value in found.items()]
    if step.result == "rates":
        return blocks + [formula(rf"\frac{{d\,{named(name)}}}{{dt}}", value) for name, value in result.items()]
    if step.result == "dose":
        state, added = result
        return [*blocks, formula(rf"\Delta {named(f'{state}_k')}", added)]
    if step.result == "zero":
        return blocks + [formula("0", value) for value in result]
    if step.result == "values":
        return blocks + [formula(named(str(k)), v) for k, v in result.items() if sp.sympify(v) != symbol(str(k))]
    return blocks if step.result == "none" else [*blocks, formula(_called(step.result, step.args), result)]


def _called(name: str, args: tuple[Any, ...]) -> str:
    """Name of a result; the signal is one of a step."""
    return named(name) + (rf"\left({named('act')}\right)" if "act" in args else "")


def symbols_of(module: str) -> list[str]:
    """Names (with indices) of the parameters that a file reads, in the order of the table, then those of agents."""
    read: dict[str, None] = {}
    for section in sections(read):
        if section.module == module:
            for step in section.steps:
                Text(module, section.given).run(step.function, *step.args)
    order = list(TABLE.frame.index)
    wanted = dict.fromkeys([*read, *(re.sub(r"_LS$", f"_{site}", name) for name in read for site in NAMES)])
    rows = {name: members(name, order) for name in wanted}
    listed = sorted((name for name in rows if rows[name]), key=lambda name: order.index(rows[name][0]))
    return listed + [name for name in read if members(name, AGENT)]


def facts(name: str) -> list[tuple[str, str, str]]:
    """Symbol, unit and meaning of a name: one line where its members differ by source or compartment only."""
    if found := members(name, TABLE.frame.index):
        rows = [(symbol, str(TABLE.row(symbol)["unit"]), str(TABLE.row(symbol)["meaning"])) for symbol in found]
    else:
        found = members(name, AGENT)
        rows = [(field.removesuffix("_1") + "_k", AGENT[field].unit, AGENT[field].meaning) for field in found]
    general = set()
    for row in rows:
        meaning = row[2].replace("the osteoblast lineage on bone", "source j")
        for part in row[0].split("_")[1:]:
            if part in WORDS and WORDS[part][1][-1] in name.split("_"):
                meaning = meaning.replace(*WORDS[part])
        general.add((name, row[1], meaning))
    return rows if len(rows) == 1 or len(general) > 1 else list(general)


def head(module: str) -> str:
    """What the docstring of a file says about the parameters it reads; empty if it reads none."""
    rows = [row for name in symbols_of(module) for row in facts(name)]
    wide = [max(len(row[column]) for row in rows) + 2 for column in (0, 1)]
    lines = [f"{HEADING}:", ""]
    for name, unit, meaning in rows:
        start = f"    {name:<{wide[0]}}{unit:<{wide[1]}}"
        lines += textwrap.wrap(start + meaning, 120, subsequent_indent=" " * len(start))
    return "\n".join(lines)


def with_head(module: str) -> str:
    """Text of a file of biology with the block of symbols in its docstring as it should be."""
    text = (BIOLOGY / f"{module}.py").read_text(encoding="utf-8")
    docstring = text.split('"""')[1]
    prose, _, references = docstring.partition("\nReferences\n")
    prose = prose.partition(HEADING)[0].rstrip() + "\n\n" + head(module) + "\n"
    return text.replace(docstring, prose + (f"\nReferences\n{references}" if references else ""), 1)


def _table(columns: str, rows: Iterable[Iterable[str]]) -> list[str]:
    names = columns.split(", ")
    cells = [" | ".join(cell.replace("|", "/") for cell in row) for row in rows]
    return [f"| {' | '.join(names)} |", "|" + " --- |" * len(names), *(f"| {row} |" for row in cells), ""]


def _state_rows() -> list[tuple[str, str, str, str]]:
    """Every state of the model with its untreated start, which is the same for each agent of a kind."""
    printer = _Printer({"ln_notation": True, "mul_symbol": "dot", "order": "none"})
    start = Model(Slots(1, 1, 1)).start(Names({}))
    return [
        (f"`{re.sub('_1$', '_k', name)}`", unit, meaning, f"${printer.doprint(sp.sympify(start[name]))}$")
        for name, (unit, meaning) in STATES.items()
    ]


def _symbol_rows(module: str) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name in symbols_of(module):
        for one in members(name, TABLE.frame.index):
            row = TABLE.row(one)
            source = row["source"] + (f", doi:{row['doi']}" if row["doi"] else "")
            rows.append((f"`{one}`", f"{row['value']:g}", row["unit"], row["meaning"], row["status"], source))
        for one in members(name, AGENT):
            field = one.removesuffix("_1")
            rows.append(
                (f"`{field}`", "", AGENT[one].unit, AGENT[one].meaning, "of the agent", "`ranklsim agents show NAME`")
            )
    return rows


def page() -> str:
    """The text of docs/equations.md."""
    lines = [INTRODUCTION, "## States and their untreated start", ""]
    lines += _table("state, unit, meaning, start", _state_rows())
    told: set[str] = set()
    for section in sections({}):
        lines += [f"## {section.title}", ""]
        if section.module not in told:
            docstring = (
                ast.get_docstring(ast.parse((BIOLOGY / f"{section.module}.py").read_text(encoding="utf-8"))) or ""
            )
            lines += [f"`pkpd/biology/{section.module}.py`: {docstring.partition(chr(10))[0]}", ""]
        text = Text(section.module, section.given)
        for step in section.steps:
            lines += [f"**{step.heading}** (`{step.function.strip('_')}`):", "", *_equations(text, step)]
        if section.module not in told:
            lines += _table("symbol, value, unit, meaning, status, source", _symbol_rows(section.module))
        told.add(section.module)
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Write the page, and the symbols into the docstrings."""
    for module in dict.fromkeys(section.module for section in sections({})):
        (BIOLOGY / f"{module}.py").write_text(with_head(module), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
