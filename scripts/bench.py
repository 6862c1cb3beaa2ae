"""How fast the engine is, beside other solvers on the same equations, and how near to what the processor can do.

    .venv/bin/python scripts/bench.py                    10,000 and 100,000 patients: some minutes, 3 GB
    .venv/bin/python scripts/bench.py --patients 500     500 and 5,000 patients: about a minute

Prints tables and writes build/bench.json. The trial is `modality` (6 years). All solvers share the compiled rates and,
but for LSODA, the compiled Jacobian; the others take one patient at a time, as they are made for. One core means
processor seconds of this process; two cores mean seconds on the clock, so leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import references
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ranklsim.cohorts.conduct.allocation import allocate, strata_of
from ranklsim.cohorts.conduct.doses import as_doses, planned
from ranklsim.cohorts.conduct.patients import draw
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.cohorts.running import execution
from ranklsim.pkpd import simulation
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.biology.skeleton import NAMES
from ranklsim.pkpd.biology.values import Slots
from ranklsim.pkpd.engine import compiler, lanes, rodas
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.simulation import MARKERS, Doses, simulate
from ranklsim.pkpd.units import DAYS_PER_MONTH, DAYS_PER_YEAR
from ranklsim.reports.explore.course import Asked, course
from ranklsim.reports.replicate import sample
from ranklsim.reports.replicate.run import replicate

OUT = Path(__file__).resolve().parent.parent / "build" / "bench.json"
TABLE = load_parameters()
CHECKED = 24  # patients whom the other solvers integrate
TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6)
SOLVERS = {"engine": None, "CVODE": references.integrate, "LSODA": partial(references.integrate, method="LSODA")}
ONE_BINDER = Slots(1, 0, 0)  # all that a patient of `modality` needs


def problem(patients: int) -> dict[str, Any]:
    """Arguments of `simulate` for the first patients of `modality`."""
    trial = load_trial("modality")
    number = np.arange(1, patients + 1)
    people = draw(trial, TABLE, number)
    arms, _ = allocate(trial, strata_of(trial, people.covariates), {})
    agents = [TABLE.apply(load_agent(agent)) for agent in trial.agent_names()]
    doses = as_doses(planned(trial, number, arms), agents)
    times = np.asarray(trial.visits.months, dtype=float) * DAYS_PER_MONTH
    return {"parameters": TABLE, "persons": people.persons, "agents": agents, "doses": doses, "times": times}


def first_of(given: dict[str, Any], n: int) -> dict[str, Any]:
    """The same problem with fewer patients."""
    doses = given["doses"]
    mine = doses.patient < n
    few = Doses(*(getattr(doses, name)[mine] for name in ("patient", "time", "agent", "amount")))
    return given | {"persons": given["persons"].iloc[:n], "doses": few}


def per_year(seconds: float, given: dict[str, Any]) -> float:
    """Milliseconds a patient-year."""
    return 1e3 * seconds / (len(given["persons"]) * given["times"][-1] / DAYS_PER_YEAR)


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.process_time, repeats: int = 1) -> float:
    """The shortest of some repeats."""
    found = []
    for _ in range(repeats):
        begin = clock()
        work()
        found.append(clock() - begin)
    return min(found)


def misfit(found: dict[str, Any], right: dict[str, Any]) -> float:
    """Largest error over what is allowed: BMD 0.001 points, markers 0.05 % of baseline, drug 0.1 %."""
    worst = 0.0
    for names, allowed in (([f"BMD_{site}" for site in NAMES], 0.001), (MARKERS, 0.05)):
        for name in names:
            gap = 100 * np.abs(found[name] - right[name]) / right[name][:, :1]
            worst = max(worst, float(gap.max()) / allowed)
    for name, level in right.items():
        if name.startswith("C_"):
            worst = max(worst, float((np.abs(found[name] - level) / (0.001 * level + 1e-6)).max()))
    return worst


def compare(given: dict[str, Any]) -> dict[str, Any]:
    """Cost and error of each solver at each tolerance, and the ratios of cost."""
    few, many = first_of(given, CHECKED), first_of(given, min(2000, len(given["persons"])))
    right = simulate(**few, rtol=1e-10, atol=1e-12, integrator=references.integrate)
    rows = []
    for name, integrator in SOLVERS.items():
        for rtol in TOLERANCES:
            error = misfit(simulate(**few, rtol=rtol, atol=rtol / 100, integrator=integrator), right)
            mine = many if name == "engine" else few

            def work(mine: Any = mine, rtol: float = rtol, integrator: Any = integrator) -> object:
                return simulate(**mine, rtol=rtol, atol=rtol / 100, integrator=integrator)

            cost = per_year(seconds(work, repeats=5 if name == "engine" else 3), mine)
            rows.append({"solver": name, "rtol": rtol, "ms_per_patient_year": cost, "error_over_allowed": error})
            print(f"  {name:8s} rtol {rtol:.0e}  {cost:8.4f} ms/patient-year   error {error:8.3f} of what is allowed")
    cost_of = {(row["solver"], row["rtol"]): row["ms_per_patient_year"] for row in rows}
    cheapest = {
        name: min(row["ms_per_patient_year"] for row in rows if row["solver"] == name and row["error_over_allowed"] < 1)
        for name in SOLVERS
    }
    ratios = {}
    for name in ("LSODA", "CVODE"):
        ratios[name] = {f"at rtol {rtol:.0e}": cost_of[name, rtol] / cost_of["engine", rtol] for rtol in TOLERANCES}
        ratios[name]["each at its cheapest within what is allowed"] = cheapest[name] / cheapest["engine"]
        for what, ratio in ratios[name].items():
            print(f"  {name} costs {ratio:.0f} times the engine, {what}")
    return {"rows": rows, "ratios": ratios}


def scaling(given: dict[str, Any]) -> dict[str, float]:
    """One and two cores, and ten times the patients."""
    n = len(given["persons"])
    fine = {"rtol": execution.RTOL, "atol": execution.RTOL / 100}
    one, two = (
        seconds(lambda w=workers: simulate(**given, **fine, workers=w), time.perf_counter, 3)  # type: ignore[misc]
        for workers in (1, 2)
    )
    cpu = seconds(lambda: simulate(**given, **fine))
    together = seconds(lambda: simulate(**given, **fine, workers=2))
    more = problem(10 * n)
    tenfold = seconds(lambda: simulate(**more, **fine))
    found = {
        "patients": n, "ms_per_patient_year": per_year(cpu, given), "two_cores_over_one": one / two,
        "processor_seconds_of_two_threads_over_one": together / cpu,
        "ms_per_patient_year_of_ten_times_as_many": per_year(tenfold, more),
    }  # fmt: skip
    print(f"  {n} patients {found['ms_per_patient_year']:.4f}, {10 * n} patients "
          f"{found['ms_per_patient_year_of_ten_times_as_many']:.4f} ms/patient-year on one core "
          f"(rtol {fine['rtol']:g}); two cores over one: {found['two_cores_over_one']:.2f} on the "
          f"clock, {together / cpu:.2f} in processor seconds")  # fmt: skip
    return found


def end_to_end(patients: int) -> dict[str, float]:
    """A run without report on one core, and what of it is not the integrator (with the reading of its outputs)."""
    inside = 0.0

    def timed(plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal inside
            begin = time.process_time()
            try:
                return plain(*arguments)
            finally:
                inside += time.process_time() - begin

        return call

    group = simulation._Group
    plain = group.integrated, group.outputs
    group.integrated, group.outputs = map(timed, plain)  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder:
            trial = replace(load_trial("modality"), uncertainty_draws=0)
            whole = seconds(lambda: execution.run(trial, Path(folder) / "run", patients=patients, workers=1))
    finally:
        group.integrated, group.outputs = plain  # type: ignore[method-assign]
    found = {"patients": patients, "seconds": whole, "share_outside_the_integrator": 1 - inside / whole}
    print(f"  {patients} patients in {whole:.1f} s, {100 * (1 - inside / whole):.0f} % of it outside the integrator")
    return found


def limit(given: dict[str, Any]) -> dict[str, float]:
    """How far a step is from the processor's peak.

    Operations are counted in the vector code of a step, with one Newton step for free drug and a division as one; the
    peak is what chains of fused products and sums do in this process. So it is a lower bound of the time.
    """
    program = compiler._program(ONE_BINDER)
    module = ir.Module()
    lanes.functions(module, program.bodies, "step", "bench")
    count = {}
    for function in module.functions:
        text = str(function)
        count[function.name.removeprefix("bench_")] = len(re.findall(r"= f(?:mul|add|sub|div)\b", text))
    n, stages = len(program.states), rodas.STAGES
    mixing = n * sum(2 * s + 2 * len(rodas.A[s]) for s in range(1, stages))
    each = {"rates": stages * count["rates"], "factor": count["factor"], "solve": stages * count["solve"],
            "mixing": mixing + 8 * n}  # fmt: skip
    group = _group(given)
    times, m = given["times"], len(given["persons"])
    states, status = np.empty((m, len(times), n)), np.zeros(m, dtype=np.int64)
    steps = 0

    def work() -> None:
        nonlocal steps
        steps, _ = group.kernel.integrate(
            group.start, group.p, group.steep, group.low, group.high, group.first, group.time, group.state, group.added,
            times, execution.RTOL, execution.RTOL / 100, simulation.MAX_STEPS, states, status, np.zeros((m, 3)),
        )  # fmt: skip

    work()
    cost = seconds(work, repeats=3) / steps
    peak = _peak()
    flops = sum(each.values())
    found = {
        "steps_per_patient_year": steps / (m * times[-1] / DAYS_PER_YEAR), "operations_per_step": flops,
        "nanoseconds_per_step": 1e9 * cost, "gigaflops": flops / cost / 1e9, "peak_gigaflops": peak / 1e9,
        "share_of_peak": flops / cost / peak, **{f"operations_{name}": value for name, value in each.items()},
    }  # fmt: skip
    print(f"  {found['steps_per_patient_year']:.0f} steps a patient-year, {flops} operations and "
          f"{found['nanoseconds_per_step']:.0f} ns a step: {found['gigaflops']:.1f} of {found['peak_gigaflops']:.1f} "
          f"Gflop/s, {100 * found['share_of_peak']:.0f} % of the peak")  # fmt: skip
    return found


def _group(given: dict[str, Any]) -> Any:
    met = simulation._Meetings(given["agents"], given["doses"], len(given["persons"]))
    ((slots, rows),) = met.groups()
    return simulation._Group(TABLE, given["persons"], met, slots, rows, {}, compiler.compiled(slots))


def _peak() -> float:
    """Operations a second of independent chains of fused products and sums on vectors."""
    chains, turns = 12, 2_000_000

    def body(to: lanes.Emitter, call: Any) -> None:
        b = to.builder
        before, loop, after = b.block, b.append_basic_block("loop"), b.append_basic_block("after")
        b.branch(loop)
        b.position_at_end(loop)
        i = b.phi(lanes.INT)
        held = [b.phi(lanes.VECTOR) for _ in range(chains)]
        new = [to.fma(v, lanes.constant(0.999), lanes.constant(1e-3)) for v in held]
        following = b.add(i, ir.Constant(lanes.INT, 1))
        i.add_incoming(ir.Constant(lanes.INT, 0), before)
        i.add_incoming(following, b.block)
        for k, (v, w) in enumerate(zip(held, new, strict=True)):
            v.add_incoming(lanes.constant(float(k)), before)
            v.add_incoming(w, b.block)
        b.cbranch(b.icmp_signed("<", following, ir.Constant(lanes.INT, turns)), loop, after)
        b.position_at_end(after)
        for k, w in enumerate(new):
            to.store(w, k)

    @intrinsic
    def chain(typingctx: Any, workspace: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            base = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            builder.call(lanes.functions(builder.module, {"chain": body}, "chain", "bench"), [base, base])
            return context.get_dummy_value()

        return types.void(workspace), code

    @njit
    def run(workspace: Any) -> None:
        chain(workspace)

    raw = np.zeros(chains * lanes.LANES + 8)
    shift = (-raw.ctypes.data // 8) % 8
    workspace = raw[shift : shift + chains * lanes.LANES]
    run(workspace)
    return 2 * chains * lanes.LANES * turns / seconds(lambda: run(workspace), repeats=3)


def starts() -> dict[str, float]:
    """Seconds of a first and of a second start, over those of importing ranklsim, to a typical patient's course."""
    code = (
        "import time; import numpy as np, pandas as pd; from ranklsim.pkpd.simulation import *; "
        "from ranklsim.pkpd.parameters import load_parameters; t = time.perf_counter(); "
        "d = Doses(np.zeros(1, int), np.zeros(1), np.zeros(1, int), np.full(1, 60.0)); "
        "simulate(load_parameters(), pd.DataFrame(index=[0]), [load_agent('denosumab')], d, np.array([0.0, 30.0])); "
        "print(time.perf_counter() - t)"
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"RANKLSIM_CACHE": folder}
        first, second = (
            float(subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout)
            for _ in range(2)
        )
    print(f"  first start {first:.1f} s, second start {second:.1f} s")
    return {"first_seconds": first, "second_seconds": second}


ASKED = {"primary": 5.0, "all": 20.0}
"""Minutes in which two quiet processors are to make 10,000 studies of 200 patients, null included, by endpoints."""


def replicated() -> dict[str, Any]:
    """Processor time of a study of `freedom` with 200 patients and its null, with true values (the first 1,000 studies
    of a vector) and without, and the minutes that 10,000 of them take on two processors over those asked for."""
    found: dict[str, Any] = {}
    known = sample.TRUE_OF
    for which, asked in ASKED.items():
        each = {}
        for name, of in (("with_truth_ms", known), ("without_truth_ms", 0)):
            sample.TRUE_OF = of
            times = []
            for count in (10, 60 if which == "primary" else 30):  # what a run costs besides its studies drops out
                start = time.process_time()
                replicate("freedom", replicates=count, patients=200, endpoints=which, workers=1)
                times.append((count, time.process_time() - start))
            (few, short), (many, long) = times
            each[name] = 1e3 * (long - short) / (many - few)
        sample.TRUE_OF = known
        minutes = (1_000 * each["with_truth_ms"] + 9_000 * each["without_truth_ms"]) / 2 / 60_000
        found[which] = each | {"minutes_for_10000": minutes, "ratio_to_asked": minutes / asked}
        words = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in found[which].items())
        print(f"  endpoints {which}: {words}")
    return found


EARLIER = "0b26361"
"""The commit that the report's time is compared with, in an environment of its own."""

ASKED = {"modality": 5 / 12, "report of 40,000": 12 / 32}
"""What was asked of `ranklsim run modality` with its report and of the report of 40,000 patients, as a share of the
time at `EARLIER`: 5 of 12 seconds, and 12 of 32."""


def earlier() -> Path | None:
    """The program at the commit `EARLIER`, set up by its own Makefile in build/; None in a clone without it."""
    place = OUT.parent / EARLIER
    program, root = place / ".venv" / "bin" / "ranklsim", str(OUT.parent.parent)
    if not program.exists():
        shutil.rmtree(place, ignore_errors=True)  # what an interrupted attempt has left
        for words in (
            ["git", "clone", "--quiet", "--no-checkout", root, str(place)],
            ["git", "-C", str(place), "checkout", "--quiet", EARLIER],
            ["make", "-C", str(place), "setup"],
        ):
            if subprocess.run(words, capture_output=True).returncode:
                return None
    return program


def reported() -> dict[str, Any]:
    """Seconds on the clock of `ranklsim run modality` with its report and of the report of 40,000 patients, in turns
    with those of the commit `EARLIER`; and of the run without its report."""
    programs = {"now": Path(sys.executable).with_name("ranklsim")}
    if before := earlier():
        programs["before"] = before
    clock: dict[tuple[str, str], float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, words, times in (
            ("modality, first time", ("run", "modality", "-o", "{}", "--force"), 1),
            ("modality without its report", ("run", "modality", "-o", "{}", "--force", "--no-report"), 3),
            ("modality", ("run", "modality", "-o", "{}", "--force"), 5),
            ("40,000", ("run", "modality", "-o", "{}", "--force", "--no-report", "--patients", "40000"), 1),
            ("report of 40,000", ("report", "{}"), 2),
        ):
            for _, (when, program) in itertools.product(range(times), programs.items()):
                own = [word.format(f"{folder}/{when}") for word in words]
                start = time.perf_counter()
                subprocess.run([str(program), *own], check=True, capture_output=True)
                spent = time.perf_counter() - start
                clock[when, name] = min(clock.get((when, name), np.inf), spent)
    found: dict[str, Any] = {f"{name}, seconds {when}": spent for (when, name), spent in clock.items()}
    print(f"  modality without its report: {clock['now', 'modality without its report']:.1f} s")
    for name, share in ASKED.items():
        now, then = clock["now", name], clock.get(("before", name), np.nan)
        found[f"{name}, over commit {EARLIER}"] = now / then
        beside = f"{now / then:.2f} of commit {EARLIER}, {share:.2f} asked" if before else f"no commit {EARLIER} here"
        print(f"  {name}: {now:.1f} s, {beside}")
    return found


def explored() -> dict[str, Any]:
    """An answer of `ranklsim explore` never given before: seconds on the clock over the half second asked."""
    places = iter(range(1, 10_000))
    drugs = ("denosumab", "mrankl-selective", "srankl-selective", "placebo")

    def dose() -> object:
        return course(Asked(f"denosumab {60 + next(places) / 1000}mg every 6mo for 36mo", 60.0))

    def parameter() -> list[object]:
        moved = (("sig", 0.1 + next(places) / 100_000),)
        texts = [f"{drug}{' 60mg' * (drug != 'placebo')} every 6mo for 36mo" for drug in drugs]
        with ThreadPoolExecutor(len(texts)) as pool:
            return list(pool.map(lambda text: course(Asked(text, 60.0, moved)), texts))

    found = {}
    for name, work in {"a dose": dose, "a parameter, four regimens": parameter}.items():
        work()
        found[name] = seconds(work, time.perf_counter, repeats=10) / 0.5
        print(f"  {name}: {500 * found[name]:.0f} ms")
    return found


def machine() -> dict[str, Any]:
    """What this ran on."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        text = info.read_text(encoding="utf-8")
        name = re.search(r"model name\s*: (.*)", text)[1]  # type: ignore[index]
        name += ", AVX-512" if "avx512f" in text else ", AVX2" if "avx2" in text else ""
    return {"processor": name, "processors": os.cpu_count(), "system": platform.system(),
            "load": os.getloadavg()[0], "python": platform.python_version()}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=10_000, metavar="N", help="patients; ten times as many too")
    n = parser.parse_args().patients
    if n < CHECKED:
        parser.error(f"--patients {n} is too few; give {CHECKED} or more")
    found: dict[str, Any] = {"machine": machine()}
    print(", ".join(f"{key} {value}" for key, value in found["machine"].items()))
    given = problem(n)
    simulate(**first_of(given, CHECKED))  # compiled before anything is timed
    for title, part in {
        "Solvers on the same equations, one core": lambda: compare(given),
        "Cores and patients": lambda: scaling(given),
        "`ranklsim run modality`, one core, without report": lambda: [end_to_end(many) for many in (n, 5 * n)],
        "Arithmetic": lambda: limit(first_of(given, min(n, 2000))),
        "Starts": starts,
        "`ranklsim replicate freedom --patients 200`": replicated,
        "`ranklsim run modality` and its report": reported,
        "`ranklsim explore`, two processors": explored,
    }.items():
        print(title)
        found[title] = part()
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(OUT)


if __name__ == "__main__":
    main()
