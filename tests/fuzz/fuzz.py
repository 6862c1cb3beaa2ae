"""Run the command line on changed input until the time is over; what goes wrong is shrunk to a case file.

    python tests/fuzz/fuzz.py SECONDS [--seed S] [--examples N] [VERB ...]

Each input must end in bounded time and in one of two ways. Either the exit code is 0 and every line on stderr is a
sentence of ours. Or it is 1 or 2, with at least one sentence on stderr, nothing on stdout and no new file. A traceback,
an internal error and a warning of another library are faults. The input is written to a file before it is run, so that
one that ends the process is not lost. Faults become files in ``tests/fuzz/cases``, which `test_cases.py` runs for ever.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import mutations  # noqa: E402
from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from hypothesis import seed as seeded  # noqa: E402

from ranklsim.cohorts.running import execution  # noqa: E402
from ranklsim.cohorts.validation import bands  # noqa: E402
from ranklsim.pkpd import simulation  # noqa: E402
from ranklsim.pkpd.fitting import fit  # noqa: E402
from ranklsim.pkpd.mice import genetics  # noqa: E402
from ranklsim.reports.cli import main as cli  # noqa: E402
from ranklsim.reports.design import run as design  # noqa: E402
from ranklsim.reports.explore import export, serve  # noqa: E402
from ranklsim.reports.replicate import run as replicate  # noqa: E402
from ranklsim.reports.sensitivity import run as sensitivity  # noqa: E402

CASES = HERE / "cases"
BOUND = 20  # seconds of processor time for reading and refusing; what was accepted may take longer to simulate
PATIENCE = 40  # seconds for what was accepted; then it is left
AT_ONCE = 25  # examples of a verb before the next has its turn; in the first round
DEADLY = 150  # seconds after which the process is ended
_SENTENCE = re.compile(r"[.?:]$")


class Slow(BaseException):
    """The time is over."""


class Fault(AssertionError):
    """What the command line must not do."""


class Accepted:
    """Notes that input was accepted, at the first thing that is done with it; long analyses end there."""

    def __init__(self) -> None:
        self.yes = False

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the functions that do the work."""
        places: list[tuple[Any, str, bool]] = [
            (execution, "_work", False),
            (simulation, "simulate", False),
            (fit, "fit", False),
            (genetics, "_predict", False),
            (bands, "bands", False),
            (replicate, "_work", True),
            (sensitivity, "analyse", True),
            (design, "search", True),
            (export, "course", True),
            (serve.Server, "serve_forever", True),
        ]
        real = [(module, name, getattr(module, name)) for module, name, _ in places]
        for (module, name, ends), (_, _, function) in zip(places, real, strict=True):
            setattr(module, name, self._noting(function, ends))
        try:
            yield
        finally:
            for module, name, function in real:
                setattr(module, name, function)

    def _noting(self, function: Callable[..., Any], ends: bool) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            self.yes = True
            if ends:
                raise Slow
            return function(*given, **more)

        return call


def outcome(case: mutations.Case) -> str:
    """Run a command in an empty folder with its files; how it ended.

    Parameters
    ----------
    case : Case

    Returns
    -------
    str
        "done", "refused" (2), "failed" (1), or "accepted" where a simulation was still at work after `PATIENCE`.

    Raises
    ------
    Fault
        If anything is not as promised.
    """
    accepted, out, err = Accepted(), io.StringIO(), io.StringIO()
    before = os.getcwd()
    code: int | None = None
    over = False

    def late(*_: object) -> None:
        nonlocal over
        if not accepted.yes or time.process_time() - begun > PATIENCE:
            over = True
            raise Slow  # again after a second, should it be lost in a callback

    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        case.write(Path(folder))
        os.chdir(folder)
        there = _listing()
        begun = time.process_time()
        signal.signal(signal.SIGPROF, late)
        signal.setitimer(signal.ITIMER_PROF, BOUND, 1)
        try:
            with (
                warnings.catch_warnings(record=True) as caught,
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
                accepted.watching(),
            ):
                warnings.simplefilter("always")
                code = (asked if case.words[0] == mutations.ASKED else cli.main)(list(case.words))
        except Slow:
            pass
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            left = _listing() - there
            os.chdir(before)
    if code is None or over:
        if not accepted.yes:
            raise Fault(f"no answer after {BOUND} s")
        return "accepted"
    said = [line for line in err.getvalue().splitlines() if line.strip()]
    if caught:
        raise Fault(f"a warning of another library: {caught[0].category.__name__}: {caught[0].message}")
    if code not in (0, 1, 2):
        raise Fault(f"exit code {code}")
    for line in [] if said and said[0].startswith("Usage: ") else said:  # a verb without words prints its help
        if "Traceback" in line or "internal error" in line:
            raise Fault(line)
        if not _SENTENCE.search(line) or not line.isprintable():
            raise Fault(f"not a sentence: {line!r}")
    if code and not said:
        raise Fault(f"exit code {code} without a word")
    kept = code == 1 and accepted.yes  # work is kept for --resume; a fit that does not converge names its page
    if code and out.getvalue() and not kept:
        raise Fault(f"exit code {code}, and on stdout: {out.getvalue()[:200]!r}")
    if code and left and not kept:
        raise Fault(f"exit code {code}, and left behind: {sorted(left)[:5]}")
    return {0: "done", 1: "failed", 2: "refused"}[code]


def asked(words: list[str]) -> int:
    """Ask the server of the explorer as a browser does; it answers the page itself afterwards.

    Parameters
    ----------
    words : list of str
        `mutations.ASKED`, the path and what follows the ``?``, each NAME=VALUE.

    Returns
    -------
    int
        As a command's exit code: 0, 1 or 2; the status of HTTP where it is none that is promised.
    """
    quoted = ["=".join(urllib.parse.quote_plus(part, errors="surrogatepass") for part in word.split("=", 1))
              for word in words[2:]]  # fmt: skip
    path = f"/{urllib.parse.quote(''.join(words[1:2]))}?{'&'.join(quoted)}"
    with serve.open_server("127.0.0.1", 0, "page", 3) as server:
        thread = threading.Thread(target=SERVE, args=(server,))
        thread.start()
        try:
            status, text = _reply(server, path)
            if _reply(server, "/") != (200, "page"):
                raise Fault("the server does not live on")
        finally:
            server.shutdown()
            thread.join()
    if status == 200:
        print(text)
        return 0
    if status in (400, 403, 404, 422):
        print(*json.loads(text)["faults"], sep="\n", file=sys.stderr)
        return 1 if status == 422 else 2
    return status


SERVE = serve.Server.serve_forever


def _reply(server: serve.Server, path: str) -> tuple[int, str]:
    link = http.client.HTTPConnection(*server.server_address[:2], timeout=BOUND)
    try:
        link.request("GET", path)
        reply = link.getresponse()
        return reply.status, reply.read().decode()
    finally:
        link.close()


def _listing() -> set[str]:
    return {str(path) for path in Path().rglob("*")}


def finished_run() -> dict[str, bytes]:
    """Files of a small finished run with its report, by name; made once for each source tree."""
    with tempfile.TemporaryDirectory(prefix="fuzz-run-") as folder:
        trial = Path(folder) / "t.toml"
        trial.write_bytes(mutations.TRIAL)
        with contextlib.redirect_stdout(io.StringIO()):
            assert cli.main(["run", str(trial), "-o", f"{folder}/run", "--no-report"]) == 0
        root = Path(folder) / "run"
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def search(seconds: float, seed: int, verbs: list[str], examples: int, tally: Path, current: Path) -> int:
    """Draw changed commands in turn; write what goes wrong. Returns how many faults were found."""
    run = finished_run()
    known = mutations.shared(run)
    valid = mutations.commands(run)
    for verb, some in valid.items():
        for case in some:
            if (how := outcome(case)) not in ("done", "accepted") and verb != "fit":
                raise SystemExit(f"a valid command of {verb} is {how}: {case.words}")
    counts: dict[str, Counter[str]] = {verb: Counter() for verb in verbs or valid}
    seen: set[str] = set()
    found, turn, end = 0, 0, time.monotonic() + seconds
    done: set[str] = set()
    while time.monotonic() < end and len(done) < len(counts):
        turn += 1
        for verb, count in counts.items():
            if time.monotonic() >= end:
                break
            if verb in done or sum(count.values()) >= examples:
                done.add(verb)
                continue
            before, most = sum(count.values()), AT_ONCE * min(turn, 8)
            found += _some(verb, valid[verb], known, count, current, seed * 100_003 + turn, most, seen)
            if sum(count.values()) == before:
                done.add(verb)  # nothing new is drawn any more
            whole = tally.with_suffix(".tmp")
            whole.write_text(json.dumps(counts), encoding="utf-8")
            os.replace(whole, tally)
    current.unlink(missing_ok=True)
    return found


def _some(
    verb: str,
    valid: list[mutations.Case],
    known: dict[str, bytes],
    count: Counter[str],
    current: Path,
    seed: int,
    examples: int,
    seen: set[str],
) -> bool:
    """Some examples of a verb not `seen` before; whether one was at fault, which is then kept in its shortest form."""
    last: list[mutations.Case] = []
    wrong: dict[str, str] = {}

    @seeded(seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(mutations.cases(valid))
    def once(case: mutations.Case) -> None:
        text = case.to_json(known)
        if text not in seen:  # an input counts once
            seen.add(text)
            current.write_text(text, encoding="utf-8")
            try:
                count[outcome(case)] += 1
            except Fault as fault:
                count["fault"] += 1
                wrong[text] = str(fault)
        if text in wrong:  # raised in one place, by which Hypothesis knows a fault again
            last[:] = [case]
            raise Fault(wrong[text])

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            once()
    except Fault as fault:
        _keep(verb, last[0], known, str(fault))
        return True
    return False


def _keep(verb: str, case: mutations.Case, known: dict[str, bytes], why: str) -> None:
    text = case.to_json(known)
    CASES.mkdir(exist_ok=True)
    path = CASES / f"{verb}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
    path.write_text(text, encoding="utf-8")
    print(f"{path.relative_to(HERE)}: {' '.join(case.words)}: {why}", file=sys.stderr, flush=True)


def main() -> int:
    """Search in a process that may die, begin again after what ended it, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float)
    parser.add_argument("verbs", nargs="*")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--examples", type=int, default=10**9, help="inputs of each verb at most")
    parser.add_argument("--child", type=Path)
    asked = parser.parse_intermixed_args()
    if asked.child:
        return search(
            asked.seconds, asked.seed, asked.verbs, asked.examples, asked.child / "tally", asked.child / "current"
        )
    counts: dict[str, Counter[str]] = {}
    found, begun, seed = 0, time.monotonic(), asked.seed
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        while (left := asked.seconds - (time.monotonic() - begun)) > 0:
            words = [str(left), *asked.verbs, "--seed", str(seed), "--examples", str(asked.examples), "--child", folder]
            child = subprocess.Popen([sys.executable, __file__, *words])
            current = Path(folder) / "current"
            while child.poll() is None:
                time.sleep(0.5)
                stamps = [path.stat().st_mtime for path in (current, Path(folder) / "tally") if path.exists()]
                stamp = max(stamps, default=time.time())
                if time.time() - stamp > DEADLY:
                    child.kill()
            if (tally := Path(folder) / "tally").exists():
                for verb, count in json.loads(tally.read_text("utf-8")).items():
                    counts.setdefault(verb, Counter()).update(count)
                tally.unlink()
            if 0 < child.returncode <= 100 and current.exists():
                print("the search itself failed, which is told above", file=sys.stderr)
                return 2
            if current.exists():  # it did not come to its end
                case = json.loads(current.read_text("utf-8"))
                CASES.mkdir(exist_ok=True)
                path = CASES / f"{case['words'][0]}-died-{seed}.json"
                path.write_bytes(current.read_bytes())
                current.unlink()
                print(f"{path.relative_to(HERE)}: the process ended or hung", file=sys.stderr)
                found, seed = found + 1, seed + 1
                continue
            if child.returncode > 100 or child.returncode < 0:
                return 1
            found += child.returncode
            break
    kinds = ("done", "accepted", "failed", "refused", "fault")
    print(f"seed {asked.seed}\n{'verb':<14}{'inputs':>8}" + "".join(f"{kind:>10}" for kind in kinds))
    total: Counter[str] = Counter()
    for verb, count in counts.items():
        total.update(count)
        print(f"{verb:<14}{sum(count.values()):>8}" + "".join(f"{count[kind]:>10}" for kind in kinds))
    print(f"{'all':<14}{sum(total.values()):>8}" + "".join(f"{total[kind]:>10}" for kind in kinds))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
