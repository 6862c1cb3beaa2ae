"""Drugs as data: route, kinetics, binding, access to tissues, and other effects on bone.

An agent is one TOML file. Fifteen ship in ``data/agents``; a user's own agent is a file of the same form in the folder
of the trial that names it, and needs no code. Every number in a file stands with its unit, the range that a
reasonable opponent could claim, its status (measured, fitted or assumed) and its source:

    label        = "ABC-301"
    hypothetical = true              # no such drug has been tested in humans
    like         = "denosumab"       # take over kind, route, usual regimen and every number that is not given here
    KD_mRANKL    = { value = "0.05 nmol/L", low = 0.01, high = 0.5, status = "assumed", source = "our target" }
    KD_mRANKL    = { assay = "0.05 nM", like = "denosumab" }   # as a laboratory measures it; or kon and koff
    KD_sRANKL    = "none"            # in short: a number without range, assumed, with this file as its source

What an agent takes over by ``like`` counts as assumed if the agent is hypothetical, whatever it was for the other:
a measured clearance of denosumab is no measurement of ABC-301.
"""

from __future__ import annotations

import math
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple, overload

import pandas as pd

from ranklsim.pkpd.arguments import checked, text
from ranklsim.pkpd.arguments import folder as existing_folder
from ranklsim.pkpd.errors import BadInput, Caution, near, shown
from ranklsim.pkpd.limits import limit_of
from ranklsim.pkpd.reading import MOST_TOML_BYTES, Faults, Shape, Table, parse_toml, plain, read_content
from ranklsim.pkpd.results import Frame
from ranklsim.pkpd.tomltext import Key, quoted
from ranklsim.pkpd.units import parse_quantity, unit_of

KINDS = ("none", "binder", "bisphosphonate", "anabolic")
ROUTES = ("SC", "IV", "PO", "none")
STATUSES = ("measured", "fitted", "assumed")
SHIPPED = Path(__file__).parent / "data" / "agents"

FAR_FROM_USUAL = 200.0
"""A dose this many times larger or smaller than the usual one is warned of: 1,000 times is mg for ug."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_NAME_RULE = "begin with a letter, then use letters, digits, - and _."
_NOT_NAMES = ("nothing", "with", "every", "for")  # words of a regimen
_COLOR = re.compile(r"#[0-9A-Fa-f]{6}")
# For agents whose file gives no colour: dark, and distinct from those of the shipped agents (from Paul Tol's schemes).
_SPARE_COLORS = ("#332288", "#117733", "#AA4499", "#999933", "#661100", "#6699CC", "#AA4466", "#4477AA")
_MARKS = ("kind", "like", "KD_mRANKL", "KD_sRANKL")  # what tells an agent's file from a trial's


class Field(NamedTuple):
    """A number that agents of one kind have: its canonical unit, meaning and an example, and what it can be."""

    unit: str
    meaning: str
    example: str
    least: float = 0.0
    most: float = math.inf
    positive: bool = False  # zero makes no sense
    none: str = ""  # what the text "none" says, where that is allowed; the value is then infinite
    absent: float | None = None  # value where a file does not give it; every file has to give what has none


def _share(meaning: str, example: str, positive: bool = False) -> Field:
    return Field("1", meaning, example, most=1.0, positive=positive)


def _positive(unit: str, meaning: str, example: str) -> Field:
    return Field(unit, meaning, example, positive=True)


def _affinity(pool: str, short: str) -> Field:
    none = f"the drug does not bind {short}"
    return Field("nmol/L", f"equilibrium constant of binding {pool} RANKL", "0.003 nmol/L", positive=True, none=none)


def _reach(cell: str) -> Field:
    return _share(f"drug concentration at RANKL of {cell} over that in plasma", "1")


FIELDS: dict[str, dict[str, Field]] = {
    "none": {},
    "binder": {
        "F": _share("share of a dose that reaches the blood", "0.62", positive=True),
        "ka": _positive("1/day", "absorption from the injection site", "0.27 1/day"),
        "CL": _positive("L/day", "linear clearance", "0.094 L/day"),
        "Vmax": Field("nmol/day", "most that a saturable path of elimination takes", "0 nmol/day", absent=0.0),
        "Km": Field("nmol/L", "free drug at which it takes half of that", "1 nmol/L", positive=True, absent=1.0),
        "Vc": _positive("L", "central volume", "2.6 L"),
        "Q": Field("L/day", "flow between central and peripheral volume", "0.45 L/day"),
        "Vp": _positive("L", "peripheral volume", "1.7 L"),
        "molar_mass": _positive("kDa", "mass of one molecule", "147 kDa"),
        "KD_mRANKL": _affinity("membrane-bound", "mRANKL"),
        "KD_sRANKL": _affinity("soluble", "sRANKL"),
        "block_shedding": _share("share of the shedding of bound mRANKL that the drug hinders", "0"),
        "reach_osteocyte": _reach("osteocytes"),
        "reach_marrow": _reach("marrow adipogenic and stromal cells"),
        "reach_osteoblast": _reach("the osteoblast lineage on bone"),
        "reach_lymphocyte": _reach("lymphocytes"),
    },
    "bisphosphonate": {
        "F": _share("share of a dose that reaches the blood", "0.006", positive=True),
        "f_bone": _share("share of what reaches the blood that binds to bone at normal turnover", "0.5"),
        "max_kill": _positive("1", "relative rise of osteoclast death that no amount exceeds", "4"),
        "potency": Field("1/mg", "relative rise of osteoclast death per mg on the active surface", "0.9 1/mg"),
        "t_surface": _positive("day", "half-life on the active surface at normal turnover", "450 day"),
        "f_deep": _share("share of what leaves the surface that is buried, not lost", "0.5"),
        "t_deep": _positive("day", "half-life of buried drug at normal turnover", "10 yr"),
    },
    "anabolic": {
        "F": _share("share of a dose that reaches the blood", "0.95", positive=True),
        "gain": Field("1/mg", "effect level added per mg that reaches the blood", "5 1/mg"),
        "t_effect": _positive("day", "half-life of the effect level", "7 day"),
        "e_formation": Field(
            "1",
            "bone laid down at trabecular remodelling sites, relative rise per unit of effect",
            "1",
            least=-math.inf,
        ),
        "e_modelling": Field(
            "1", "modelling-based trabecular formation over resting turnover per unit of effect", "1", least=-math.inf
        ),
        "e_rankl": Field(
            "1", "change of ln RANKL synthesis per unit of effect at normal formation", "0.2", least=-math.inf
        ),
        "e_signal": Field("1", "change of ln signal at RANK per unit of effect, at once", "-0.5", least=-math.inf),
        "saturation": Field("1", "the effect is level x (1 + saturation) / (1 + saturation x level)", "0.5"),
        "t_rise": _positive("day", "half-life with which osteoblasts are recruited", "7 day"),
        "tolerance": Field("1", "trabecular formation is divided by 1 + tolerance x adaptation", "0.5"),
        "t_tolerance": _positive("day", "half-life with which adaptation nears what is recruited", "90 day"),
    },
}


class Number(NamedTuple):
    """One number of an agent and where it is from; value and range in the canonical `unit`.

    `low` and `high` are None where the file gives no range; `value` is infinite where it says "none". `origin` is the
    agent in whose file it stands, another one where it is taken over by ``like``. `assay` is the constant that a
    laboratory measures, None if none is known. A constant of binding that is given as an assay value is `factor` times
    the constant of the agent `like`, and follows that one when it changes.
    """

    field: str
    value: float
    unit: str
    low: float | None
    high: float | None
    status: str
    source: str
    doi: str
    origin: str
    assay: float | None = None
    like: str = ""
    factor: float = 1.0


REPLACED = "parameter file, in place of: "
"""Before the source of a number whose value comes from a parameter table."""


@dataclass(frozen=True, init=False)
class Agent:
    """A drug as data: ``Agent("abc-301", like="denosumab", KD_mRANKL={"assay": "0.05 nM", "like": "denosumab"})``.

    Parameters
    ----------
    name : str
    **given
        The keys of an agent's file (docs/agents.md). ``label`` is the name if it is not given, and ``hypothetical`` is
        true. The agent ``like`` is looked for in the working folder before the shipped ones.

    Raises
    ------
    BadInput
        If something is missing or wrong, with all faults at once.

    Attributes
    ----------
    name : str
        What trials and columns call it; a letter, then letters, digits, hyphens and underscores.
    label : str
        What figures and tables call it.
    kind : {"none", "binder", "bisphosphonate", "anabolic"}
        Which of `FIELDS` it has.
    route : {"SC", "IV", "PO", "none"}
        How it is given.
    hypothetical : bool
        True if no such drug has been tested in humans.
    description, reference_regimen, color : str
        In words; the usual dose and interval; ``#RRGGBB``.
    values : dict of str to float
        Every field of its kind in the canonical unit; a KD of "none" is infinite.
    provenance : tuple of Number
        The same numbers with range, status and source, in the order of `FIELDS`: rows for a data frame.
    path : Path
        The file it was read from. Agents that differ in nothing else are equal.
    """

    name: str
    label: str
    kind: str
    route: str
    hypothetical: bool
    description: str
    reference_regimen: str
    color: str
    values: dict[str, float]
    provenance: tuple[Number, ...]
    path: Path = field(compare=False)

    def __init__(self, name: str, **given: object) -> None:
        whole = "provenance" in given  # every attribute, as `replace` and the reader give them
        vars(self).update({"name": name} | given if whole else vars(_own(name, given)))

    def __str__(self) -> str:
        return describe(self)

    @cached_property
    def followed(self) -> list[tuple[str, str, float]]:
        """Names of parameter tables (``ORIGIN.FIELD``) that move a number: name, field, and by which factor.

        Later ones take precedence: a number of the agent's own over the one that it is derived from.
        """
        derived = [(f"{n.like}.{n.field}", n.field, n.factor) for n in self.provenance if n.like]
        taken = [(f"{n.origin}.{n.field}", n.field, 1.0) for n in self.provenance if n.origin != self.name]
        return [*derived, *taken, *((f"{self.name}.{n.field}", n.field, 1.0) for n in self.provenance)]

    @cached_property
    def numbers(self) -> set[str]:
        """Names of parameter tables that move a number of this agent."""
        return {name for name, _, _ in self.followed}

    def with_numbers(self, numbers: Mapping[str, float]) -> Agent:
        """The agent with other numbers, such as a fit gives.

        Parameters
        ----------
        numbers : mapping of str to float
            ``AGENT.FIELD`` to a value in the field's canonical unit. A number that this agent takes over from AGENT
            changes too; names of other agents are passed over.
        """
        changed = {field: factor * numbers[name] for name, field, factor in self.followed if name in numbers}
        provenance = tuple(
            number._replace(value=changed[number.field], source=REPLACED + number.source)
            if changed.get(number.field, number.value) != number.value
            else number
            for number in self.provenance
        )
        return replace(self, provenance=provenance, values=self.values | changed)

    def dose_fault(self, mg: float) -> str:
        """What to say of a dose that nobody can be given; empty if it is not one.

        Parameters
        ----------
        mg : float
        """
        most = limit_of("dose").high
        return "" if mg <= most else f"a dose of {mg:g} mg of {self.name} is impossible; give at most {most:g} mg."

    def far_from_usual(self, mg: float) -> str:
        """What to say of a dose that is so far from the usual one that its unit may be wrong; empty if it is not.

        Parameters
        ----------
        mg : float
        """
        usual = self._usual_mg
        if not usual or usual / FAR_FROM_USUAL <= mg <= usual * FAR_FROM_USUAL:
            return ""
        ratio = f"{mg / usual:,.0f} times" if mg > usual else f"1/{usual / mg:,.0f} of"
        return f"{mg:g} mg of {self.name} is {ratio} the usual {usual:g} mg ({self.reference_regimen}); check the unit."

    @cached_property
    def _usual_mg(self) -> float:
        """Dose of the reference regimen; 0 where none is given."""
        try:
            return parse_quantity(re.split(r"\s+every\b", self.reference_regimen)[0], "mg", where="")
        except BadInput:
            return 0.0


def _own(name: object, given: Mapping[str, object]) -> Agent:
    """An agent from the keys of its file."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _NOT_NAMES:
        raise BadInput(f"name = {shown(name)} is no name of an agent; {_NAME_RULE}")
    data = {"label": name, "hypothetical": True} | plain(given, f"agent {name}")
    label, like, base = f"agent {name}", data.get("like"), None
    if isinstance(like, str):
        base = load_agent(like, folder=Path.cwd(), where=label)
    return _Reader(Path(f"{name}.toml"), data, "", base, label).agent()


def load_agent(name: str, *, folder: Path | None = None, where: str = "") -> Agent:
    """Read an agent by name.

    Parameters
    ----------
    name : str
        Name of the agent, which is its file's name without ``.toml``.
    folder : Path, optional
        Where to look before the shipped agents: the folder of the trial. What is in neither is looked for in the
        working folder.
    where : str, optional
        File, line or option that names the agent, to begin the message with if there is no such agent.

    Returns
    -------
    Agent
        With everything that it takes over by ``like`` filled in.

    Raises
    ------
    BadInput
        If there is no such agent, with the closest name; if its file is at fault, with all faults at once.
    """
    path = _find(name, folder)
    if path is None:
        prefix = f"{where}: " if where else ""
        raise BadInput(f"{prefix}unknown agent '{name}'; {_suggestion(name, folder)}")
    return _load(path, folder, ())


def list_agents(folder: Path | None = None, *, leave_out: bool = False) -> list[Agent]:
    """All agents that a trial in `folder` can name: the shipped ones and those of the folder, placebo first.

    Other TOML files of the folder, such as trials, are passed over.

    Parameters
    ----------
    folder : Path, optional
        Folder of a user's own agents.
    leave_out : bool
        Whether an agent file that is at fault is left out with a warning (`Caution`), because nobody asked for it.

    Raises
    ------
    BadInput
        If an agent file of the folder is at fault.
    """
    found = []
    for name in agent_names(folder):
        try:
            found.append(load_agent(name, folder=folder))
        except BadInput as fault:
            if not leave_out:
                raise
            warnings.warn(f"{fault.messages[0]} The agent '{name}' is left out.", Caution, stacklevel=2)
    return found


@overload
def agents(name: None = None, *, folder: str | Path | None = None) -> pd.DataFrame: ...
@overload
def agents(name: str, *, folder: str | Path | None = None) -> Agent: ...
@checked(name=text, folder=existing_folder)
def agents(name: str | None = None, *, folder: str | Path | None = None) -> pd.DataFrame | Agent:
    """The agents that ship and those of a folder, or one of them.

    Parameters
    ----------
    name : str, optional
        Of an agent.
    folder : path, optional
        Where your own agent files are; the working folder if a name is given.

    Returns
    -------
    DataFrame or Agent
        The agent of that name; or one row for each agent: name, label, kind, route, hypothetical, reference_regimen,
        description.

    Raises
    ------
    BadInput
        If there is no such agent, or its file is at fault.
    """
    if name is not None:
        return load_agent(name, folder=Path.cwd() if folder is None else Path(folder), where="name")
    columns = ["name", "label", "kind", "route", "hypothetical", "reference_regimen", "description"]
    found = list_agents(None if folder is None else Path(folder))
    return Frame([[getattr(agent, column) for column in columns] for agent in found], columns=columns, table="agents")


def agent_names(folder: Path | None = None) -> list[str]:
    """Names of all agents that a trial in `folder` can name, sorted, placebo first.

    Parameters
    ----------
    folder : Path, optional
        Folder of a user's own agents.
    """
    names = {path.stem for path in SHIPPED.glob("*.toml")}
    if folder is not None:
        names |= {path.stem for path in Path(folder).glob("*.toml") if _is_agent_file(path)}
    return sorted(names, key=lambda name: (name != "placebo", name))


def has_agent(name: str, folder: Path | None = None) -> bool:
    """Whether there is an agent of that name, in `folder` or among those that ship.

    Parameters
    ----------
    name : str
    folder : Path, optional
    """
    return _find(name, folder) is not None


def describe(agent: Agent) -> str:
    """An agent in words and numbers, for a terminal: each field with unit, range, status, meaning and source.

    Parameters
    ----------
    agent : Agent
        The agent.
    """
    lines = [f"{agent.name}: {agent.label}"]
    if agent.kind == "none":
        lines.append("  no drug")
    else:
        tested = "hypothetical: no such drug has been tested in humans" if agent.hypothetical else "tested in humans"
        lines.append(f"  {agent.kind}, {agent.route}, {tested}")
    if agent.description:
        lines.append(f"  {agent.description}")
    if agent.reference_regimen:
        lines.append(f"  usual regimen: {agent.reference_regimen}")
    lines.append(f"  file: {agent.path}")
    if agent.provenance:
        rows = [("field", "value", "range", "status", "meaning, and source")]
        for number in agent.provenance:
            span = "" if number.low is None else f"{number.low:g} to {number.high:g}"
            meaning = FIELDS[agent.kind][number.field].meaning
            rows.append((number.field, _in_words(number), span, number.status, meaning))
            rows.append(("", "", "", "", f"  {number.source}" + (f"; doi:{number.doi}" if number.doi else "")))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines.append("")
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            lines.append("  ".join(["", *cells, row[4]]).rstrip())
    for caution in cautions(agent):
        lines += ["", f"  {caution}"]
    return "\n".join(lines)


def new_agent(
    name: str, like: str = "denosumab", *, folder: Path | None = None, assay: Mapping[str, str] | None = None
) -> str:
    """The text of a file for an agent of one's own, with a comment for each number that may be given.

    Parameters
    ----------
    name : str
    like : str
        The agent from which it takes over what its file does not give.
    folder : Path, optional
        Where `like` is looked for before the shipped agents.
    assay : mapping of str to str, optional
        Constants of binding as a laboratory measures them (``{"KD_mRANKL": "0.05 nM"}``), or "none".

    Raises
    ------
    BadInput
        If the name can't be used, there is no agent `like`, or a constant can't be used.
    """
    if not _NAME.fullmatch(name) or name in _NOT_NAMES:
        raise BadInput(f"'{name}' is no name of an agent; {_NAME_RULE}")
    if has_agent(name):
        raise BadInput(f"an agent '{name}' ships already; choose another name.")
    base = load_agent(like, folder=folder, where="like")
    lines = [
        f"# {name}: what it has in common with {base.name} is taken over; give what differs, each with its unit.",
        "# A range (low, high) is what a reasonable opponent could claim; intervals of answers are drawn over it.",
        f"label        = {quoted(name.upper())}",
        f"like         = {quoted(base.name)}",
        "hypothetical = true    # no such drug has been tested in humans",
        'description  = ""',
        "",
    ]
    constants = [number.field for number in base.provenance if FIELDS[base.kind][number.field].none]
    wrong = [each for each in assay or () if each not in constants]
    if wrong:
        raise BadInput(
            *(f"assay: '{each}' is no constant of binding of {base.name}; {near(each, constants)}" for each in wrong)
        )
    for each, constant in (assay or {}).items():
        own = '"none"' if constant == "none" else f"{{ assay = {quoted(constant)}, like = {quoted(base.name)} }}"
        lines.append(f"{each} = {own}")
    lines += [""] * bool(assay)
    for number in base.provenance:
        spec = FIELDS[base.kind][number.field]
        lines.append(f"# {number.field}: {spec.meaning}{_or_none(spec)}. {base.label}: {_in_words(number)}")
        if spec.none:
            lines.append(f'# {number.field} = {{ assay = "0.05 nM", like = {quoted(base.name)} }}   # of a laboratory')
        span = "" if number.low is None else f", low = {number.low:g}, high = {number.high:g}"
        value = quoted(_in_words(number))
        lines.append(f'# {number.field} = {{ value = {value}{span}, status = "assumed", source = "..." }}')
    made = "\n".join(lines) + "\n"
    _Reader(Path(f"{name}.toml"), parse_toml(f"{name}.toml", made.encode())[0], made, base).agent()
    return made


def cautions(agent: Agent) -> list[str]:
    """What is likely to be meant otherwise in an agent's file, one sentence each.

    Parameters
    ----------
    agent : Agent
    """
    found = []
    for number in agent.provenance:
        spec = FIELDS[agent.kind][number.field]
        if not spec.none or number.origin != agent.name or number.assay is not None or not agent.hypothetical:
            continue
        shipped = load_agent("denosumab")
        reference = next(n for n in shipped.provenance if n.field == number.field)
        if math.isfinite(number.value) and reference.assay is not None and reference.value != reference.assay:
            found.append(
                f"{number.field} of {agent.name} is taken as an effective constant in tissue, as denosumab's "
                f"{_in_words(reference)} is, whose assay value is "
                f"{_with_unit(f'{reference.assay:g}', reference.unit)}. If yours "
                f'is from an assay, write {number.field} = {{ assay = "{_in_words(number)}", like = "denosumab" }}.'
            )
    return found


def to_toml(agent: Agent) -> str:
    """An agent as the text of a file that loads to the same agent, with nothing left to take over from another.

    Parameters
    ----------
    agent : Agent
        As read by `load_agent`.

    Returns
    -------
    str
        TOML. Numbers are in canonical units and exact to the last bit.
    """
    lines = [
        f"name = {quoted(agent.name)}",
        f"label = {quoted(agent.label)}",
        f"kind = {quoted(agent.kind)}",
        f"route = {quoted(agent.route)}",
        f"hypothetical = {str(agent.hypothetical).lower()}",
        f"description = {quoted(agent.description)}",
        f"reference_regimen = {quoted(agent.reference_regimen)}",
        f"color = {quoted(agent.color)}",
        "",
    ]
    for number in agent.provenance:
        value = "none" if math.isinf(number.value) else _with_unit(repr(number.value), number.unit)
        entries = [f"value = {quoted(value)}"]
        if number.low is not None:
            entries += [f"low = {number.low!r}", f"high = {number.high!r}"]
        entries += [f"{entry} = {quoted(getattr(number, entry))}" for entry in ("status", "source", "doi")]
        if number.assay is not None:
            entries.append(f"assay = {quoted(_with_unit(repr(number.assay), number.unit))}")
        if number.like:
            entries += [f"like = {quoted(number.like)}", f"factor = {number.factor!r}"]
        if number.origin != agent.name:
            entries.append(f"origin = {quoted(number.origin)}")
        lines.append(f"{number.field} = {{ {', '.join(entries)} }}")
    return "\n".join(lines).rstrip() + "\n"


def _find(name: str, folder: Path | None, passed: Sequence[Path] = ()) -> Path | None:
    """File of an agent: in the folder, or shipped, or else in the working folder; those in `passed` do not count."""
    if not _NAME.fullmatch(name):
        return None
    own = Path(folder) / f"{name}.toml" if folder is not None else None
    if own is not None and own not in passed and own.is_file() and not _is_trial_file(own):
        return own
    shipped, here = SHIPPED / f"{name}.toml", Path.cwd() / f"{name}.toml"
    if shipped not in passed and shipped.is_file():
        return shipped
    return here if here not in passed and here.is_file() and _is_agent_file(here) else None


def _is_trial_file(path: Path) -> bool:
    """Whether a file is a trial that happens to have an agent's name; what can't be read is not."""
    try:
        return "arm" in _data(path)
    except BadInput:
        return False


def _is_agent_file(path: Path) -> bool:
    """Whether a file describes an agent, and not a trial: one that is not valid TOML counts if it looks like it."""
    if not _NAME.fullmatch(path.stem):
        return False
    try:
        data = _data(path)
    except BadInput:
        try:
            text = read_content(path, most=MOST_TOML_BYTES).decode("utf-8", errors="replace")
        except BadInput:
            return False
        return bool(re.search(rf"^\s*({'|'.join(_MARKS)})\s*=", text, re.MULTILINE))
    return "arm" not in data and any(mark in data for mark in _MARKS)


def _suggestion(name: str, folder: Path | None) -> str:
    names = agent_names(folder)
    return near(name, names, also=f"`ranklsim agents` lists all {len(names)}.")


def _content(path: Path) -> bytes:
    return read_content(path, what="TOML file", most=MOST_TOML_BYTES)


def _data(path: Path) -> Mapping[str, object]:
    return _parsed(path.name, _content(path))[0]


MOST_READ = 256


@lru_cache(maxsize=MOST_READ)
def _parsed(name: str, content: bytes) -> tuple[dict[str, object], str]:
    """`parse_toml`, once for each content: a run asks for the same agents by each of their parameters."""
    return parse_toml(name, content)


_READ: dict[tuple[Path, bytes, int], tuple[Agent, Agent | None]] = {}
"""Agents by file, content and the one that they are like, which stands beside, so that its number stays its own."""


def _load(path: Path, folder: Path | None, passed: tuple[Path, ...]) -> Agent:
    content = _content(path)
    data, text = _parsed(path.name, content)
    base = None
    if isinstance(like := data.get("like"), str):
        chain = (*passed, path)
        base_path = _find(like, folder, chain)
        if base_path is None:
            place = Faults(path.name, text).at(("like",))
            if _find(like, folder):
                names = " -> ".join(f"'{link.stem}'" for link in chain)
                raise BadInput(f"{place}: `like` leads in a circle, {names} -> '{like}'; one of them must stand alone.")
            raise BadInput(f"{place}: unknown agent '{like}'; {_suggestion(like, folder)}")
        base = _load(base_path, folder, chain)
    key = path, content, id(base)
    if key not in _READ:
        if len(_READ) >= MOST_READ:
            _READ.clear()
        _READ[key] = _Reader(path, data, text, base).agent(), base
    return _READ[key][0]


_TEXTS = {
    "name": '"abc-301"',
    "label": '"ABC-301"',
    "kind": '"binder"',
    "route": '"SC"',
    "hypothetical": "true if no such drug was tested in humans, else false",
    "description": '"An antibody against mRANKL"',
    "reference_regimen": '"60 mg every 6 mo"',
    "color": '"#0072B2"',
    "like": '"denosumab"',
}


class _Faults(Faults):
    """Faults of an agent's file, whose parts are its numbers."""

    def part(self, path: Key) -> str:
        return str(path[0]) if len(path) > 1 else ""


class _Reader:
    """Turns the data of one agent file into an `Agent`, or into all its faults at once."""

    def __init__(
        self, path: Path, data: dict[str, object], text: str, base: Agent | None, label: str | None = None
    ) -> None:
        self.path, self.base = path, base
        self.faults = _Faults(label or path.name, text, data)
        kind = base.kind if base else data.get("kind")
        every = {name: spec for fields in FIELDS.values() for name, spec in fields.items()}
        self.kind = kind if isinstance(kind, str) and kind in KINDS else "none"
        self.fields = FIELDS[self.kind]
        for key in [key for key in data if self.fields and key in every and key not in self.fields]:
            others = " and ".join(f'"{other}"' for other, fields in FIELDS.items() if key in fields)
            self.faults.add(
                (key,), f'{key} is a field of kind {others}, and this agent is of kind "{kind}"; remove it.'
            )
            self.faults.answered.add((key,))
        keys = _TEXTS | {name: f'"{spec.example}"' for name, spec in (self.fields or every).items()}
        needed = ("label", "hypothetical") if base else ("label", "hypothetical", "kind", "route")
        self.table = Table(self.faults, data, Shape(keys, needed, "field"))

    def agent(self) -> Agent:
        base, table = self.base, self.table
        name = table.text("name", self.path.stem)
        if name != self.path.stem:
            table.fault("name", f"name is '{name}' in a file called {self.path.name}; make the two the same.")
        elif name in _NOT_NAMES:
            table.fault("name", f"an agent cannot be called '{name}', a word of regimens; choose another name.")
        label = table.text("label", "")
        kind = table.choice("kind", KINDS, base.kind if base else "")
        if base and kind != base.kind:
            table.fault("kind", f'kind is "{kind}", but "{base.kind}" for \'{base.name}\'; leave out kind, or like.')
        route = table.choice("route", ROUTES, base.route if base else "")
        if kind and route and (route == "none") != (kind == "none"):
            table.fault("route", f'route is "{route}" for kind "{kind}"; "none" goes with "none", and only with it.')
        hypothetical = table.flag("hypothetical")
        description = table.text("description", "")
        regimen = table.text("reference_regimen", base.reference_regimen if base else "")
        color = table.text("color", _SPARE_COLORS[zlib.crc32(name.encode()) % len(_SPARE_COLORS)])
        if not _COLOR.fullmatch(color):
            table.fault("color", f"color is '{color}'; write red, green and blue, such as \"#0072B2\".")
        table.text("like", "")
        numbers = tuple(self._numbers(hypothetical))
        values = {number.field: number.value for number in numbers}
        if route == "IV" and values.get("F", 1.0) != 1.0:
            key = "F" if "F" in table else "route"
            table.fault(key, f"F is {values['F']:g}, but an IV dose reaches the blood in full; write 1.")
        self.faults.stop()
        return Agent(
            name=name, label=label, kind=kind, route=route, hypothetical=hypothetical, description=description,
            reference_regimen=regimen, color=color, values=values, provenance=numbers, path=self.path,
        )  # fmt: skip

    def _numbers(self, hypothetical: bool) -> Iterator[Number]:
        base = self.base if self.base and FIELDS[self.base.kind] is self.fields else None
        taken = {number.field: number for number in base.provenance} if base else {}
        for name, spec in self.fields.items():
            if name in self.table:
                if number := self._number(name, spec):
                    yield number
            elif name in taken and base:
                number = taken[name]
                if hypothetical and not number.source.startswith("taken over from "):
                    number = number._replace(source=f"taken over from {base.name}: {number.source}")
                yield number._replace(status="assumed") if hypothetical else number
            elif spec.absent is not None:
                source = f"{self.path.name}, which does not give it"
                yield Number(name, spec.absent, spec.unit, None, None, "assumed", source, "", self.path.stem)
            else:
                how = "as a number, such as" if spec.unit == "1" else "with its unit, such as"
                self.table.fault(name, f'{name} is missing; give it {how} "{spec.example}"{_or_none(spec)}.')

    def _number(self, name: str, spec: Field) -> Number | None:
        """Read one number; None if it has faults."""
        so_far = len(self.faults)
        given = self.table.data[name]
        if not isinstance(given, dict):
            value = self._value((name,), given, spec)
            source = f"{self.path.name}, which names no source"
            return None if value is None else Number(
                name, value, spec.unit, None, None, "assumed", source, "", self.path.stem
            )  # fmt: skip
        entries = {
            "value": f'"{spec.example}"{_or_none(spec)}', "low": "0.05", "high": "0.2",
            "status": '"measured", "fitted" or "assumed"', "source": '"none: our assumption"',
            "doi": '"10.1359/jbmr.081112"', "origin": '"denosumab"',
        }  # fmt: skip
        if spec.none:
            entries |= {
                "assay": '"0.05 nM"', "like": '"denosumab"', "factor": "1.0",
                "kon": '"2e5 1/(M*s)"', "koff": '"1e-5 1/s"',
            }  # fmt: skip
        measured = [key for key in ("assay", "kon", "koff") if spec.none and key in given]
        needed = () if measured and "value" not in given else ("value", "status", "source")
        table = Table(self.faults, given, Shape(entries, needed, "entry"), (name,))
        if measured and "value" not in given:
            return self._derived(name, spec, table, so_far)
        value = self._value((name, "value"), given.get("value"), spec) if "value" in table else None
        low, high = (self._limit(table, end, spec) for end in ("low", "high"))
        status, source, doi = table.choice("status", STATUSES, ""), table.text("source", ""), table.text("doi", "")
        origin = table.text("origin", self.path.stem)
        assay = table.quantity("assay", spec.unit, None, above=0)
        like, factor = table.text("like", ""), table.number("factor", 1.0, above=0)
        if measured and table.data.keys().isdisjoint(("factor", "origin")) and self.table.flag("hypothetical"):
            kinds = f"both a value, the effective constant in tissue, and {measured[0]}, what a laboratory measures"
            table.fault((), f"{name} has {kinds}; give one of them.")
        if like and "factor" not in table:
            table.fault("like", f"{name} has a value and is like {like}; give assay in place of value, or no like.")
        if ("low" in table) != ("high" in table):
            missing = "high" if "low" in table else "low"
            table.fault((), f"{name} has no {missing}; give both ends of its range, or neither.")
        if value is not None and low is not None and high is not None and not low <= value <= high:
            have, span = _with_unit(f"{value:g}", spec.unit), _with_unit(f"{low:g} to {high:g}", spec.unit)
            self.table.fault(name, f"{name} is {have}, outside its own range of {span}; correct one of them.")
        if len(self.faults) > so_far or value is None:
            return None
        return Number(name, value, spec.unit, low, high, status, source, doi, origin, assay, like, factor)

    def _derived(self, name: str, spec: Field, table: Table, so_far: int) -> Number | None:
        """A constant of binding from a laboratory's: in tissue it is what the agent `like` makes of its own."""
        if "assay" in table and ("kon" in table or "koff" in table):
            table.fault((), f"{name} has both an assay value and rates; give one of them.")
        elif ("kon" in table) != ("koff" in table):
            table.fault((), f"{name} has one rate; give both kon and koff, or assay.")
        if "low" in table or "high" in table:
            table.fault((), f"{name} is an assay value; leave out low and high, since its range is that of the ratio.")
        assay = table.quantity("assay", spec.unit, None, above=0)
        if assay is None and "kon" in table and "koff" in table:
            on, off = table.quantity("kon", "L/nmol/day", None, above=0), table.quantity("koff", "1/day", None, above=0)
            assay = off / on if on and off else None
        like = table.text("like", "") or (self.base.name if self.base else "")
        if like == self.path.stem:
            table.fault("like", f"{name} is like the agent itself; name another one, such as denosumab.")
        elif not like:
            table.fault("like", f'{name} has an assay value and no reference; give like = "denosumab".')
        if assay is None or len(self.faults) > so_far:
            return None
        other = self.faults.attempt(
            table.at("like"), lambda where: load_agent(like, folder=self.path.parent, where=where)
        )
        if other is None:
            return None
        reference = next((number for number in other.provenance if number.field == name), None)
        if reference is None or reference.assay is None or not math.isfinite(reference.value):
            table.fault("like", f"{like} has no assay value of {name} to compare with; denosumab has one.")
            return None
        factor = assay / reference.assay
        ratio = reference.value / reference.assay
        source = (
            f"assay value {_with_unit(f'{assay:.3g}', spec.unit)}, times {ratio:.3g}, the ratio of effective to assay "
            "constant "
            f"of {like}" + (f"; {said}" if (said := table.text("source", "")) else "")
        )
        status = table.choice("status", STATUSES, "assumed")
        return Number(
            name, factor * reference.value, spec.unit, None, None, status, source, table.text("doi", ""),
            self.path.stem, assay, reference.origin, factor,
        )  # fmt: skip

    def _value(self, keys: tuple[str, ...], given: object, spec: Field) -> float | None:
        if spec.none and given == "none":
            return math.inf
        value = self.table.parsed(keys, given, spec.unit)
        if value is None:
            return None
        if not spec.least <= value <= spec.most or (spec.positive and value == 0):
            wanted = "above 0" if spec.positive else f"at least {spec.least:g}"
            if math.isfinite(spec.most):
                wanted += f" and at most {spec.most:g}"
            have = _with_unit(f"{value:g}", spec.unit)
            self.table.fault((keys[0],), f"{keys[0]} is {have}; it must be {wanted}{_or_none(spec)}.")
            return value
        limit = limit_of(f"{self.kind}.{keys[0]}")
        if not limit.low <= value <= limit.high:
            have, span = _with_unit(f"{value:g}", spec.unit), _with_unit(f"{limit.low:g} to {limit.high:g}", spec.unit)
            self.table.fault((keys[0],), f"{keys[0]} is {have}; no drug lies outside {span}, so check number and unit.")
        return value

    def _limit(self, table: Table, end: str, spec: Field) -> float | None:
        """One end of a range; a number without unit is in the unit of the value."""
        if end not in table or "value" not in table:
            return None
        value, limit = table.data["value"], table.data[end]
        if value == "none":
            table.fault(end, f'"none" has no range; leave out {end}.')
            return None
        if isinstance(limit, (int, float)) and not isinstance(limit, bool):
            limit = _with_unit(repr(limit), unit_of(str(value)))
        return table.parsed((end,), limit, spec.unit)


def _or_none(spec: Field) -> str:
    return f', or "none" if {spec.none}' if spec.none else ""


def _in_words(number: Number) -> str:
    return "none" if math.isinf(number.value) else _with_unit(f"{number.value:g}", number.unit)


def _with_unit(number: str, unit: str) -> str:
    return number if unit == "1" else f"{number} {unit}"
