"""Reading [midd] of a trial's file: what a person says about the question, the model's part in it, and its criteria.

The elements are those of ICH M15 (2026): question of interest, context of use, model influence, consequence of a wrong
decision, model risk, model impact, technical criteria, appropriateness. Ratings are typed, never computed. Every
element may be missing; the documents then say so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ranklsim.cohorts.endpoints import Endpoint, Estimand
from ranklsim.pkpd.errors import near
from ranklsim.pkpd.reading import Shape, Table

RATINGS = ("low", "medium", "high")
TEXTS = ("question", "context", "appropriateness", "conclusion")
RATED = ("influence", "consequence", "risk", "impact")
OF_ENDPOINT = ("estimate", "low", "high", "effect", "effect_low", "effect_high", "p", "parameter_low", "parameter_high")
OF_ESTIMAND = ("estimate", "low", "high", "truth", "bias")
RULE = re.compile(r"(<=|>=|<|>|=)\s*([+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)")

MIDD = Shape(
    {name: '"Which dose keeps 90 % of the gain?"' for name in TEXTS}
    | {name: '{ rating = "medium", reason = "a trial will confirm it" }' for name in RATED}
    | {"criterion": "one or more tables [[midd.criterion]]"}
)
RATING = Shape({"rating": '"medium"', "reason": '"a trial will confirm it"'})
CRITERION = Shape(
    {
        "name": '"Spine gain over placebo"',
        "endpoint": '"Lumbar spine BMD over 36 months"',
        "estimand": '"Spine gain if all had stayed"',
        "requirement": '"PT-02"',
        "arm": '"denosumab"',
        "what": '"effect_low"',
        "rule": '"> 0"',
        "reason": '"an effect of this size prevents fractures"',
    },
    needed=("name", "reason"),
)


@dataclass(frozen=True)
class Rating:
    """A rating with its reason; either may be empty."""

    rating: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Criterion:
    """A technical criterion: a result and the rule by which it is accepted.

    `requirement` is one of `ranklsim qualify` or a group of them; `endpoint` or `estimand` name a result of an `arm`.
    """

    name: str
    reason: str
    endpoint: str = ""
    estimand: str = ""
    requirement: str = ""
    arm: str = ""
    what: str = ""
    rule: str = ""

    def met(self, value: float) -> bool:
        """Whether a value obeys the rule; NaN obeys none.

        Parameters
        ----------
        value : float
            In the unit of the result.
        """
        found = RULE.fullmatch(self.rule)
        limit = float(found[2]) if found else float("nan")
        sign = found[1] if found else "="
        return {"<=": value <= limit, ">=": value >= limit, "<": value < limit, ">": value > limit,
                "=": value == limit}[sign]  # fmt: skip


@dataclass(frozen=True)
class Midd:
    """What [midd] says; an element that is missing is empty."""

    question: str = ""
    context: str = ""
    appropriateness: str = ""
    conclusion: str = ""
    influence: Rating = Rating()
    consequence: Rating = Rating()
    risk: Rating = Rating()
    impact: Rating = Rating()
    criteria: list[Criterion] = field(default_factory=list)


def read_midd(
    root: Table, arms: Sequence[str], endpoints: Sequence[Endpoint], estimands: Sequence[Estimand]
) -> Midd | None:
    """The table [midd]; None without it.

    Parameters
    ----------
    root : Table
        The trial's file.
    arms : sequence of str
        Names of the arms.
    endpoints, estimands : sequence
        Those without fault.
    """
    table = root.table("midd", MIDD)
    if table is None:
        return None

    def rating(name: str) -> Rating:
        own = table.table(name, RATING)
        return Rating() if own is None else Rating(own.choice("rating", RATINGS, ""), own.text("reason", "").strip())

    def words(name: str) -> str:
        return table.text(name, "").strip()

    known = {"endpoint": [e.name for e in endpoints], "estimand": [e.name for e in estimands]}
    criteria = [_criterion(one, arms, known) for one in table.tables("criterion", CRITERION)]
    names = [one.name for one in criteria]
    for index, name in enumerate(names):
        if name in names[:index]:
            table.fault(("criterion", index, "name"), f"criterion '{name}' is there twice; give each its own name.")
    return Midd(
        question=words("question"),
        context=words("context"),
        appropriateness=words("appropriateness"),
        conclusion=words("conclusion"),
        influence=rating("influence"),
        consequence=rating("consequence"),
        risk=rating("risk"),
        impact=rating("impact"),
        criteria=criteria,
    )


def _criterion(table: Table, arms: Sequence[str], known: dict[str, list[str]]) -> Criterion:
    said = {key: table.text(key, "").strip() for key in CRITERION.keys}
    given = [kind for kind in ("endpoint", "estimand", "requirement") if said[kind]]
    if len(given) != 1 and not table.faults.touch(table.path):
        table.fault((), "give one of endpoint, estimand and requirement: the result that the criterion is about.")
    if given == ["requirement"]:
        if not re.fullmatch(r"[A-Z]{2}(-\d\d)?", said["requirement"]):
            table.fault("requirement", f"requirement '{said['requirement']}' is none; give one such as PT-02, or PT.")
        for key in ("arm", "what", "rule"):
            if said[key]:
                table.fault(key, f"a requirement passes or fails by its own rule; leave {key} out.")
    elif len(given) == 1:
        (kind,) = given
        if said[kind] not in known[kind] and known[kind]:
            table.fault(kind, f"unknown {kind} '{said[kind]}'; {near(said[kind], known[kind])}")
        if said["arm"] not in arms and arms:
            table.fault("arm", f"unknown arm '{said['arm']}'; {near(said['arm'], arms)}")
        possible = OF_ENDPOINT if kind == "endpoint" else OF_ESTIMAND
        if said["what"] not in possible:
            table.fault("what", f"what = '{said['what']}' is no result of an {kind}; {near(said['what'], possible)}")
        if not RULE.fullmatch(said["rule"]):
            table.fault("rule", f"rule '{said['rule']}' can't be read; give a sign and a number, such as \"> 3\".")
    return Criterion(**said)
