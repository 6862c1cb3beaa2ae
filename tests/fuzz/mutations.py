"""Valid input of every format, and what a slip, a tool or a spiteful hand makes of it.

A `Case` is a command with its files. `cases` draws them for a verb: a valid command is taken, and one of its files or
options is changed: keys deleted, doubled, swapped or misspelt, values of other types, extreme numbers, odd characters,
rows in another order, bytes cut off or flipped.
"""

from __future__ import annotations

import base64
import csv
import datetime
import io
import json
import shlex
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from helpers import trial_text
from hypothesis import strategies as st

from ranklsim.cohorts.people.population_file import POPULATIONS
from ranklsim.cohorts.protocol.trial import TRIALS
from ranklsim.pkpd.agents import load_agent, to_toml
from ranklsim.reports.design.question import SHIPPED as QUESTIONS

Draw = Callable[[st.SearchStrategy[Any]], Any]

ODD_TEXT = (
    "", " ", "x", "a" * 300, "é", "骨密度 50 %", "𝛼", "\u202eevil", "a\x00b", "\x1b[31m", "\u2028", "a\nb",
    "../../etc/passwd", "/etc/passwd", "=1+1", "<script>", "{{7*7}}", "%s", "$HOME", "nan", "inf", "-1 mg", "0 mg",
    "1e300 mg", "1e-300 mg", "60", "60 mg", "6 mo", "1e9 yr", "-6 mo", "12 parsec", "60 mg mg", "1,5 mg", "١٢ mo",
    "true", "none", "CON", "a" * 5000,
)  # fmt: skip
ODD_NUMBERS = (
    0, -1, 1, 2, 3, 0.5, 1e-12, 1e-320, 1e12, 1e300, -1e300, 2**31, 2**63 - 1, 2**63, 10**30, float("nan"),
    float("inf"), -float("inf"), 1200, 99999, -0.0,
)  # fmt: skip
ODD_VALUES = (*ODD_TEXT, *ODD_NUMBERS, True, False, [], {}, [[]], [1, "a"], {"a": 1}, [[1]], datetime.date(2020, 1, 1))


ASKED = "asked"
"""In place of a verb: the words are what a browser asks of the server of `ranklsim explore`."""


@dataclass
class Case:
    """A command of ``ranklsim`` and the files that lie in its folder."""

    words: list[str]
    files: dict[str, bytes] = field(default_factory=dict)

    def to_json(self, known: dict[str, bytes]) -> str:
        """As text of a case file; of a file that is as in `known` only the name is kept."""
        files: dict[str, Any] = {}
        for name, content in self.files.items():
            if known.get(name) == content:
                files[name] = None
                continue
            try:
                files[name] = {"text": content.decode("utf-8")}
            except UnicodeDecodeError:
                files[name] = {"base64": base64.b64encode(content).decode()}
        return json.dumps({"words": self.words, "files": files}, indent=1, ensure_ascii=True) + "\n"

    @staticmethod
    def of_json(text: str, known: dict[str, bytes]) -> Case:
        """A case from the text of its file and the files that it shares."""
        said = json.loads(text)
        files = {}
        for name, content in said["files"].items():
            if content is None:
                files[name] = known[name]
            else:
                files[name] = content["text"].encode() if "text" in content else base64.b64decode(content["base64"])
        return Case(said["words"], files)

    def write(self, folder: Path) -> None:
        """Put the files into a folder."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


# --- what is valid ---


def _small(text: str) -> bytes:
    data = tomllib.loads(text)
    data |= {"uncertainty_draws": 2, "twins": 4}
    data["population"]["patients"] = 2 * len(data["arm"])
    return toml(data)


def _women() -> bytes:
    rows = [
        [f"A{k:02}", 62 + k % 19, 14 + k % 16, 50 + 2 * (k % 13), 150 + k % 17, 58 + k % 40, 14 + k % 18,
         -1.5 - 0.1 * (k % 17), -1.0 - 0.1 * (k % 19), ("yes", "no")[k % 3 > 0], 0.3 + 0.03 * (k % 15)]
        for k in range(30)
    ]  # fmt: skip
    heading = "id,age,years_since_menopause,weight,height,eGFR,vitamin_D,T_LS,T_TH,prevalent_fracture,CTX".split(",")
    return _csv([heading, *rows])


def _csv(rows: list[list[object]], separator: str = ",") -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


def toml(data: dict[str, Any]) -> bytes:
    """A table as TOML, with every value on one line."""
    return "".join(f"{_key(key)} = {_value(value)}\n" for key, value in data.items()).encode("utf-8", "surrogatepass")


def _key(key: object) -> str:
    return json.dumps(str(key), ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return _key(value) if isinstance(value, str) else str(value)


POPULATION = b"""title = "Women of our clinic"
table = "patients.csv"
like = "postmenopausal-osteoporosis"
ignore = ["id"]
smoothing = 0.3
[[target]]
covariate = "age"
mean = 70.5
unit = "yr"
status = "assumed"
source = "protocol"
"""
ARMS = b"""[[arm]]
id = "placebo"
study = "S"
label = "Placebo"
regimen = "placebo every 6mo x2"
follow_up = "24 mo"
[[arm]]
id = "active"
study = "S"
label = "Denosumab"
covariates = { age = "64 yr", weight = "66 kg", T_LS = -2.2 }
regimen = "denosumab 60mg every 6mo x2"
follow_up = "24 mo"
n = 58
"""
OBSERVATIONS = b"""study,arm,control,endpoint,site_or_marker,month_from,month,value,unit,statistic,spread,spread_type,\
spread_low,spread_high,n,phase,curve,source,doi,verification,note
S,active,,percent_change,LS,,12,5.1,%,ls_mean,,CI95,4.4,5.8,58,on,c,Doe,10.1/a,read,
S,active,placebo,difference_to_control,TH,,12,3.1,%,ls_mean,0.5,SE,,,55,on,,Doe,10.1/a,read,
S,active,,percent_of_baseline,CTX,,6,25,%,median,,IQR,15,40,50,on,,Doe,10.1/a,recalled,
S,active,,concentration,denosumab,,6,0.4,ug/mL,mean,0.1,SD,,,50,on,,Doe,10.1/a,read,
S,active,,change_between,LS,12,24,-4.0,%,ls_mean,0.6,SE,,,50,off,,Doe,10.1/a,recalled,
"""
EVIDENCE = {"ev/arms.toml": ARMS, "ev/observations.csv": OBSERVATIONS}
PARAMETERS = b"symbol,value,unit\nkT,0.22,1/yr\nsig,0.2,\ndenosumab.CL,0.1,\ntW.cv,0.3,\n"
TRIAL = trial_text(
    uncertainty_draws=2,
    population={"patients": 4},
    conduct={"dropout": "5 %/yr", "fractures": True},
).encode()
MINE = (
    to_toml(load_agent("denosumab"))
    .replace('"denosumab"', '"mine"')
    .replace('label = "mine"', 'label = "Mine"')
    .encode()
)
WITH_MINE = TRIAL.replace(b'agent = "denosumab"', b'agent = "mine"')
FIT = b"""title = "Small"
seed = 3
starts = 1
options = { max_nfev = 2 }
evidence = "ev"
[[parameter]]
name = "kT"
start = 0.3
low = 0.1
prior = { mean = 0.25, sd = 1.0 }
[[exclude]]
endpoint = "change_between"
reason = "to keep it small"
[[scenario]]
fixed = { mix = 0.2 }
weight = 0.5
"""
QUESTION = sorted(QUESTIONS.glob("*.toml"))[0].read_bytes()
VECTORS = b"kT,sig\n0.2,0.2\n0.22,0.25\n0.25,0.3\n0.27,0.2\n"
INTERVALS = b"symbol,low,high\nkT,0.15,0.3\nsig,0.1,0.3\n"


def shared(run: dict[str, bytes]) -> dict[str, bytes]:
    """The files of a run, twice, as commands find them.

    Parameters
    ----------
    run : dict of str to bytes
        By name.
    """
    return {f"{folder}/{name}": content for folder in ("done", "other") for name, content in run.items()}


def commands(run: dict[str, bytes]) -> dict[str, list[Case]]:
    """Valid commands by verb.

    Parameters
    ----------
    run : dict of str to bytes
        Files of a finished run.
    """
    trials = {path.stem: _small(path.read_text("utf-8")) for path in TRIALS.glob("*.toml")}
    both = shared(run)
    one = {name: content for name, content in both.items() if name.startswith("done/")}
    clinic = {"clinic.toml": POPULATION, "patients.csv": _women()}
    parquet = {"clinic.toml": POPULATION.replace(b"patients.csv", b"p.parquet"), "p.parquet": _parquet(_women())}
    lines: dict[str, list[tuple[str, dict[str, bytes]]]] = {
        "run": [
            *(("t.toml -o out --no-report", {"t.toml": text}) for text in (TRIAL, *trials.values())),
            ("t.toml -o out --no-report", {"t.toml": WITH_MINE, "mine.toml": MINE}),
            ("t.toml -o out --patients 4 --seed 3 --layers residual", {"t.toml": TRIAL}),
        ],
        "simulate": [
            (
                "--agent denosumab --dose 60mg --every 6mo --doses 2 --follow 6mo --at 0.5,3 --set age=63 "
                "--parameters p.csv -o x.csv",
                {"p.csv": PARAMETERS},
            ),
            ("--regimen 'denosumab 60mg every 6mo x2, nothing 6mo, zoledronate 5mg x1' -o x.csv", {}),
            ("--agent mine.toml --dose 60mg -o x.csv", {"mine.toml": MINE}),
        ],
        "agents": [("show mine.toml", {"mine.toml": MINE})],
        "trials": [("show modality", {})],
        "parameters": [("show kT", {}), ("--group cells --status fitted", {})],
        "populations": [
            ("check clinic.toml", clinic),
            ("check clinic.toml", parquet),
            *(("check mine.toml", {"mine.toml": path.read_bytes()}) for path in POPULATIONS.glob("*.toml")),
        ],
        "evidence": [("check ev", EVIDENCE), ("list ev", EVIDENCE)],
        "validate": [("--evidence ev --patients 0 -o out", EVIDENCE)],
        "fit": [("s.toml --no-profile -o out", {"s.toml": FIT, **EVIDENCE})],
        "sensitivity": [
            (
                "t.toml --ensemble v.csv --intervals i.csv --samples 8 --keep 2 "
                "--trajectories 2 --only kT,sig,tW -o out",
                {"t.toml": TRIAL, "v.csv": VECTORS, "i.csv": INTERVALS},
            )
        ],
        "replicate": [("t.toml --replicates 2 --patients 4,8 --vectors 1 -o out", {"t.toml": TRIAL})],
        "design": [
            ("q.toml --draws 10 -o out", {"q.toml": QUESTION}),
            (
                '--dose-for "90 % of denosumab\'s BMD_LS at 36 mo" --agent mrankl-selective --every 6mo '
                "--draws 10 -o out",
                {},
            ),
        ],
        "explore": [
            ("'denosumab 60mg every 6mo for 12mo' 'mrankl-selective 60mg every 6mo x2' --draws 3 --export x.html", {}),
            ("'denosumab 60mg every 6mo x2' --draws 3 --port 0 --host 127.0.0.1", {}),
            ("placebo --draws 3 --vary kT --export x.html", {}),
        ],
        ASKED: [
            ("course 'r=denosumab 60mg every 6mo x4' m=60 set=sig:0.2 set=kT:0.22", {}),
            ("cohort 'r=denosumab 60mg every 6mo x4, zoledronate 5mg x1' m=48 at=36 pop=low-bone-mass", {}),
            ("difference 'r=mrankl-selective 30mg every 3mo x4' 'against=denosumab 60mg every 6mo x2' m=24", {}),
        ],
        "genetics": [("-o g.csv --parameters p.csv", {"p.csv": PARAMETERS})],
        "report": [("done --format docx,rtf", one)],
        "cdisc": [("done -o out --first-day 2001-02-03", one)],
        "compare": [("done other -o out", both)],
        "bundle": [("done -o one.zip", one)],
    }
    return {verb: [Case([verb, *shlex.split(line)], files) for line, files in of] for verb, of in lines.items()}


def _parquet(table: bytes) -> bytes:
    out = io.BytesIO()
    pd.read_csv(io.BytesIO(table)).to_parquet(out)
    return out.getvalue()


# --- what becomes of it ---


def cases(valid: list[Case]) -> st.SearchStrategy[Case]:
    """Changed commands: a file of one, or its words, after one to three mutations.

    Parameters
    ----------
    valid : list of Case
    """

    @st.composite
    def changed(draw: Draw) -> Case:
        case = draw(st.sampled_from(valid))
        case = Case(list(case.words), dict(case.files))
        for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
            names = sorted(case.files)
            how = draw(st.sampled_from(["content"] * 9 + ["words"] * 3 + ["lost"])) if names else "words"
            if how == "content":
                name = draw(st.sampled_from(names))
                case.files[name] = draw(content(name, case.files[name]))
            elif how == "lost":
                del case.files[draw(st.sampled_from(names))]
            else:
                case.words = draw(words(case.words))
        return case

    return changed()


@st.composite
def words(draw: Draw, given: list[str]) -> list[str]:
    """Words of a command, one of them changed; the verb stays, and so does where a result goes."""
    changed = list(given)
    fixed = (
        {0}
        | {k + 1 for k, word in enumerate(given[:-1]) if word in ("-o", "--export")}
        | {k for k, w in enumerate(given) if w in ("-o", "--export")}
    )
    places = [k for k in range(len(given)) if k not in fixed]
    named = [k for k in places if "=" in given[k]] if given[0] == ASKED else []
    if named and draw(st.booleans()):  # a value, and not its name too
        place = draw(st.sampled_from(named))
        name, _, value = given[place].partition("=")
        odd = st.sampled_from([str(value) for value in (*ODD_TEXT, *ODD_NUMBERS)])
        changed[place] = f"{name}={draw(st.one_of(odd, _misspelt(value), st.text(max_size=30)))}"
        return changed
    if not places:
        return changed
    place = draw(st.sampled_from(places))
    how = draw(st.sampled_from(["value", "delete", "double", "swap", "letters"]))
    if how == "value":
        odd = str(draw(st.sampled_from([*ODD_TEXT, *ODD_NUMBERS])))
        changed[place] = odd.replace("\x00", "")  # no command line can hold that
    elif how == "delete":
        del changed[place]
    elif how == "double":
        changed.insert(place, changed[place])
    elif how == "swap":
        other = draw(st.sampled_from(places))
        changed[place], changed[other] = changed[other], changed[place]
    else:
        changed[place] = draw(_misspelt(changed[place]))
    return changed


@st.composite
def _misspelt(draw: Draw, word: str) -> str:
    at = draw(st.integers(0, max(0, len(word) - 1)))
    return draw(st.sampled_from([word[:at] + word[at + 1 :], word[:at] + "x" + word[at:], word.swapcase(), word + " "]))


def content(name: str, now: bytes) -> st.SearchStrategy[bytes]:
    """Another content of a file, by its format or as bytes.

    Parameters
    ----------
    name : str
    now : bytes
    """
    by_format = {"toml": _of_toml, "csv": _of_csv, "json": _of_json}.get(name.rpartition(".")[2])
    return st.one_of(*([by_format(now)] * 6 if by_format else []), _of_text(now), _of_bytes(now))


@st.composite
def _of_toml(draw: Draw, now: bytes) -> bytes:
    try:
        data = tomllib.loads(now.decode("utf-8"))
    except (ValueError, RecursionError):
        return draw(_of_text(now))
    return toml(draw(_tree(data)))


@st.composite
def _of_json(draw: Draw, now: bytes) -> bytes:
    try:
        data = json.loads(now)
        return json.dumps(draw(_tree(data)), default=str).encode()
    except (ValueError, RecursionError):
        return draw(_of_text(now))


@st.composite
def _tree(draw: Draw, data: dict[str, Any]) -> dict[str, Any]:
    """A tree of tables and lists with one place changed."""
    places: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, below in items:
            places.append((node, key))
            collect(below)

    data = json.loads(json.dumps(data, default=str))
    if not isinstance(data, dict):
        return {}
    collect(data)
    if not places:
        return data
    node, key = draw(st.sampled_from(places))
    how = draw(
        st.sampled_from(["value", "value", "value", "delete", "swap", "wrap", "more", "misspelt", "double", "scale"])
    )
    if how == "value":
        node[key] = draw(st.sampled_from(ODD_VALUES))
    elif how == "delete":
        del node[key]
    elif how == "swap":
        other, place = draw(st.sampled_from(places))
        node[key], other[place] = json.loads(json.dumps(other[place])), json.loads(json.dumps(node[key]))
    elif how == "wrap":
        node[key] = draw(st.sampled_from([[node[key]], {"value": node[key]}]))
    elif how == "scale" and isinstance(node[key], int | float):
        node[key] = node[key] * draw(st.sampled_from([-1, 0, 10, 1000, 1e-3, 1e6]))
    elif how == "double" and isinstance(node, list):
        node.insert(key, node[key])
    elif isinstance(node, dict):
        name = (
            draw(_misspelt(str(key)))
            if how == "misspelt"
            else draw(st.sampled_from([t for t in ODD_TEXT if "\x00" not in t]))
        )
        node[name] = node.pop(key) if how == "misspelt" else node[key]
    return data


@st.composite
def _of_csv(draw: Draw, now: bytes) -> bytes:
    lines = io.StringIO(now.decode("utf-8", "replace"), newline="")  # as they are: a lone CR ends a line too
    rows: list[list[object]] = [list(row) for row in csv.reader(lines) if row]
    if not rows:
        return now
    how = draw(st.sampled_from(["cell", "cell", "cell", "row", "column", "order", "heading", "separator", "ragged"]))
    at = draw(st.integers(0, len(rows) - 1))
    width = len(rows[0])
    if how == "cell":
        place = draw(st.integers(0, len(rows[at]) - 1))
        rows[at][place] = draw(st.sampled_from([*ODD_TEXT, *ODD_NUMBERS]))
    elif how == "row":
        rows = [*rows[:at], *rows[at + 1 :]] if draw(st.booleans()) else [*rows[: at + 1], *rows[at:]]
    elif how == "column":
        place, keep = draw(st.integers(0, width - 1)), draw(st.booleans())
        rows = [row[:place] + (row[place : place + 1] * 2 if keep else []) + row[place + 1 :] for row in rows]
    elif how == "order":
        rows = draw(st.permutations(rows))
    elif how == "heading":
        place = draw(st.integers(0, width - 1))
        rows[0][place] = draw(_misspelt(str(rows[0][place])))
    elif how == "ragged":
        rows[at] = [*rows[at], *draw(st.lists(st.sampled_from(ODD_TEXT), max_size=3))][
            : draw(st.integers(0, width + 3))
        ]
    return _csv(rows, draw(st.sampled_from([";", "\t", "|", " "])) if how == "separator" else ",")


@st.composite
def _of_text(draw: Draw, now: bytes) -> bytes:
    """Lines cut, doubled or swapped, another encoding or other line ends."""
    lines = now.split(b"\n")
    how = draw(st.sampled_from(["delete", "double", "swap", "cut", "encoding", "ends", "insert"]))
    one, two = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
    if how == "delete":
        del lines[one]
    elif how == "double":
        lines.insert(two, lines[one])
    elif how == "swap":
        lines[one], lines[two] = lines[two], lines[one]
    elif how == "cut":
        return now[: draw(st.integers(0, len(now)))]
    elif how == "encoding":
        to = draw(st.sampled_from(["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "latin-1"]))
        return now.decode("utf-8", "replace").encode(to, "replace")
    elif how == "ends":
        return now.replace(b"\n", draw(st.sampled_from([b"\r\n", b"\r", b"\n\n", b"", b"\x0b"])))
    else:
        lines.insert(one, draw(st.sampled_from(ODD_TEXT)).encode("utf-8", "replace"))
    return b"\n".join(lines)


@st.composite
def _of_bytes(draw: Draw, now: bytes) -> bytes:
    """Some bytes flipped, cut out or put in."""
    changed = bytearray(now)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(changed)))
        how = draw(st.sampled_from(["flip", "cut", "insert", "empty"]))
        if how == "flip" and at < len(changed):
            changed[at] = draw(st.integers(0, 255))
        elif how == "cut":
            del changed[at : at + draw(st.integers(1, 50))]
        elif how == "insert":
            changed[at:at] = draw(st.binary(max_size=8))
        elif how == "empty":
            return b""
    return bytes(changed)
