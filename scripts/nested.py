"""Check the sampler of a fit against nested sampling on ten parameters: docs/calibration.md has the figures.

.venv/bin/python -m pip install nautilus-sampler    # in an environment of its own: it is no dependency of ranklsim
.venv/bin/python scripts/nested.py

Nested sampling comes to the same posterior from the other side: it shrinks the whole prior, begins at no estimate and
uses no gradient. The sampler is nautilus (Lange JU. MNRAS 2023;525:3181-94. doi:10.1093/mnras/stad2441), which takes
many vectors at once. It needs ten to thirty minutes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from ranklsim.pkpd.fitting.fit import fit, make_problem
from ranklsim.pkpd.fitting.spec import load_spec

SPEC = """title = "Ten parameters of target, cells and skeleton"
method = "posterior"
studies = true
[[include]]
arm = ["freedom-denosumab", "freedom-placebo", "defend-denosumab", "defend-placebo", "phase2-60", "phase2-14-60"]
[[exclude]]
endpoint = ["time_of_nadir", "retained_gain"]
reason = "these need a curve of their own"
"""
FREE = "M0 kdeg n Kd tW mix gU c0 kT f_TH".split()
FLAT = ("mix", "gU", "c0")  # fitted as they are; the others as their logarithm
SHARES = (0.05, 0.5, 0.95)
IMPOSSIBLE = -1e10
BATCH = 400


def main() -> None:
    """Draw by both, and print quantiles and evidence side by side."""
    from nautilus import Sampler

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ten.toml"
        lines = [f'[[parameter]]\nname = "{name}"\n' + 'transform = "none"\n' * (name in FLAT) for name in FREE]
        path.write_text(SPEC + "".join(lines), encoding="utf-8")
        spec = load_spec(path)
    problem = make_problem(spec)
    ours = fit(spec, problem=problem).posterior
    assert ours is not None
    own_count, problem.evaluations = problem.evaluations, 0
    low, high = (np.array([getattr(p, end) for p in spec.parameters]) for end in ("low", "high"))

    def log_likelihood(theta: np.ndarray) -> np.ndarray:
        squares = np.square(problem.residuals_of(theta)).sum(axis=1)
        return np.where(np.isfinite(squares), -0.5 * squares, IMPOSSIBLE)

    nested = Sampler(
        lambda unit: low + (high - low) * unit, log_likelihood, n_dim=len(low), n_live=1000, vectorized=True,
        pass_dict=False, n_batch=BATCH, seed=3,
    )  # fmt: skip
    nested.run(n_eff=5000)
    theta, log_weight, _ = nested.posterior()
    drawn = np.random.default_rng(1).choice(len(theta), 20_000, p=np.exp(log_weight))
    rows = []
    for k, p in enumerate(spec.parameters):
        both = (np.quantile(some[:, k], SHARES) for some in (ours.theta, theta[drawn]))
        said = (" ".join(f"{p.natural(float(x)):.3g}" for x in quantiles) for quantiles in both)
        rows.append((p.name, *said))
    print(pd.DataFrame(rows, columns=["parameter", "sampler of a fit", "nested"]).to_string(index=False))
    print(f"ln evidence {ours.log_evidence:.2f} and {nested.log_z:.2f}")
    print(f"worth {ours.effective:.0f} and {nested.n_eff:.0f} draws; {own_count} and {problem.evaluations} vectors")


if __name__ == "__main__":
    main()
