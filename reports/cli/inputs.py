"""Verbs that list, show and check inputs: trials, agents, parameters, populations, evidence, variants."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import click

from ranklsim.pkpd.errors import counted
from ranklsim.reports.cli import shared


@shared.listing("trials", "List trials, or print the file of one.")
def _trials() -> None:
    """List the shipped trials. `trials show NAME` prints the file of one, as a start for your own."""
    from ranklsim import api

    shown = api.trials()
    shared.print_table(shown[["name", "arms", "patients", "months", "title"]].to_dict("records"))


@_trials.command("show")
@click.argument("name")
def _show_trial(name: str) -> None:
    """Print the file of the trial NAME."""
    from ranklsim.cohorts.protocol.trial import load_trial

    click.echo(load_trial(name).source_text.rstrip("\n"))


@shared.listing("questions", "List design questions, or print the file of one.")
def _questions() -> None:
    """List the shipped questions of `ranklsim design`. `questions show NAME` prints the file of one."""
    from ranklsim import api

    shared.print_table(api.questions()[["name", "factors", "title"]].to_dict("records"))


@_questions.command("show")
@click.argument("name")
def _show_question(name: str) -> None:
    """Print the file of the question NAME."""
    from ranklsim.reports.design.question import load_question

    click.echo(load_question(name).text.rstrip("\n"))


@shared.listing("agents", "List agents, or explain one.")
def _agents() -> None:
    """List the shipped agents. `agents show NAME` explains one, or your own file; `agents new NAME` writes such a "
    "file."""
    from ranklsim import api

    shown = api.agents()
    shared.print_table(
        shown[["name", "kind", "route", "hypothetical", "reference_regimen", "label"]].to_dict("records")
    )


@_agents.command("show")
@click.argument("name")
def _show_agent(name: str) -> None:
    """Explain the agent NAME: every value with its unit, range, status and source."""
    from ranklsim.pkpd.agents import describe, load_agent

    stem, folder = shared.own_file(name)
    click.echo(describe(load_agent(stem, folder=folder)).rstrip("\n"))


@_agents.command("new")
@click.argument("name")
@click.option("--like", default="denosumab", show_default=True, help="The agent from which all else is taken over.")
@shared.option(
    "--assay",
    shared.ASSAY,
    "FIELD=VALUE",
    'A constant of binding as a laboratory measures it: KD_mRANKL="0.05 nM", or KD_sRANKL=none. Can be repeated.',
    multiple=True,
)
@shared.FORCE
def _new_agent(name: str, like: str, assay: Sequence[tuple[str, str]], force: bool) -> None:
    """Write NAME.toml into this folder: an agent of your own, with a comment for each number that may be given."""
    from ranklsim.pkpd.agents import new_agent

    target = Path(f"{name}.toml")
    text = new_agent(name, like, folder=Path.cwd(), assay=dict(assay))
    with shared.new_files([target], force) as (path,):
        path.write_text(text, encoding="utf-8", newline="")
    click.echo(target)


@shared.listing("parameters", "List the parameters of the model, or explain some.")
@shared.option("--group", str, "GROUP", "List one group only, such as pk, ligand, cells.")
@shared.option("--status", str, "STATUS", "List one status only: measured, fitted or assumed.")
def _parameters(group: str | None, status: str | None) -> None:
    """List the parameters of the model: value, unit, range, status. `parameters show SYMBOL` explains one."""
    from ranklsim import api

    shared.print_table(
        {
            "symbol": row["symbol"],
            "value": f"{row['value']:g}",
            "unit": row["unit"],
            "range": f"{row['low']:g} to {row['high']:g}",
            "status": row["status"],
            "meaning": row["meaning"],
        }
        for row in api.parameters(group=group, status=status).to_dict("records")
    )


@_parameters.command("show")
@click.argument("symbols", metavar="SYMBOL...", nargs=-1, required=True)
@shared.AGENTS
def _show_parameters(symbols: Sequence[str], folder: Path | None) -> None:
    """Explain parameters, also those of an agent (denosumab.CL): meaning, range, variability, status and source."""
    from ranklsim.pkpd.parameters import load_parameters

    table = load_parameters(folder=folder or Path.cwd())
    rows = [table.row(symbol) for symbol in symbols]  # all are known before the first is printed
    for number, (symbol, row) in enumerate(zip(symbols, rows, strict=True)):
        spread = "none" if row["cv"] == 0 else f"{row['distribution']}, {row['cv']:g}"
        facts = {
            "meaning": row["meaning"],
            "value": f"{row['value']:g} {row['unit']}".removesuffix(" 1"),
            "range": f"{row['low']:g} to {row['high']:g}",
            "drawn": f"{row['prior']} over the range" if row["prior"] != "fixed" else "fixed",
            "between patients": spread,
            "status": row["status"],
            "source": ", ".join(part for part in (row["source"], row["doi"] and f"doi:{row['doi']}") if part),
            "note": row["note"],
            "group": row["group"],
        }
        for limit in table.shared_limits(symbol):
            facts[f"together{' ' * sum(name.startswith('together') for name in facts)}"] = limit
        click.echo(("\n" if number else "") + symbol)
        if symbol == "sig":
            from ranklsim.reports.csr.appendix import potency_in_words

            facts["potency"] = potency_in_words(table.values)
        for name, text in facts.items():
            if text:
                click.echo(textwrap.fill(f"  {name:<17} {text}", shared.width(), subsequent_indent=" " * 20))


@shared.listing("populations", "List populations, or check one of your own.")
def _populations() -> None:
    """List the shipped populations. `populations show NAME` prints the file of one, as a start for your own.

    docs/populations.md describes the format and how to resample a table of covariates.
    """
    from ranklsim import api

    shared.print_table(api.populations().to_dict("records"))


@_populations.command("show")
@click.argument("name")
def _show_population(name: str) -> None:
    """Print the file of the population NAME."""
    from ranklsim.cohorts.people.population_file import load_population

    population = load_population(name)
    click.echo(population.files[f"{name}.toml"].decode().rstrip("\n"))


@_populations.command("check", epilog=f"Example: `ranklsim populations check my-women.toml`. {shared.EXIT_CODES}")
@click.argument("name")
def _check_population(name: str) -> None:
    """Check the population NAME, or the file NAME.toml: compare each target with the patients enrolled.

    The command reports every error in the file with its line.
    """
    from ranklsim.cohorts.people.population_file import load_population
    from ranklsim.reports.analyses.baseline import targets
    from ranklsim.reports.layout.tables import num
    from ranklsim.reports.layout.wording import within

    population = load_population(*shared.own_file(name))
    found = targets(population.enrolled, population.published())
    shared.print_table(
        [
            {
                "figure": f"{row['covariate']}{within(row['range_low'], row['range_high'], '')} {row['statistic']}",
                "target": num(row["value"], 3),
                "achieved": num(row["achieved"], 3),
                "tolerance": num(row["tolerance"], 3),
                "within": "yes" if row["within"] else "no",
                "status": row["status"],
            }
            for row in found.to_dict("records")
        ]
    )
    click.echo(population.method)


@click.group("evidence", short_help="List published study arms, or check a folder of figures.")
def _evidence() -> None:
    """Published figures, or your own, as a folder with arms.toml and observations.csv.

    docs/evidence.md describes the format.
    """


@_evidence.command("check", epilog=f"Example: `ranklsim evidence check my-evidence`. {shared.EXIT_CODES}")
@click.argument("folder", metavar="DIR", type=shared.FILE)
def _check_evidence(folder: Path) -> None:
    """Check the evidence in DIR and count its figures. Every error is reported with file, line and column."""
    from ranklsim.pkpd.evidence.records import load_evidence

    found = load_evidence(folder)
    seen = found.observations
    studies = len({arm.study for arm in found.arms.values()})
    idle = [name for name in found.arms if not seen[["arm", "control"]].eq(name).any(axis=None)]
    click.echo(
        f"{folder}: {counted(len(found.arms), 'arm')} of {counted(studies, 'study')}, {counted(len(seen), 'figure')}."
    )
    counts = seen.groupby(["endpoint", "site_or_marker", "phase"], sort=True).agg(
        figures=("value", "size"),
        arms=("arm", "nunique"),
        recalled=("verification", lambda v: int((v == "recalled").sum())),
    )
    if len(counts):
        shared.print_table(counts.reset_index().astype({"figures": str, "arms": str}).to_dict("records"))
    if len(found.not_used):
        click.echo(f"{counted(len(found.not_used), 'row')} in not_used.csv, each with its reason.")
    if idle:
        click.echo(f"No figure belongs to {', '.join(idle)}.")


@_evidence.command("list", epilog=f"Example: `ranklsim evidence list`. {shared.EXIT_CODES}")
@click.argument("folder", metavar="[DIR]", type=shared.FILE, required=False)
def _list_evidence(folder: Path | None) -> None:
    """List the arms of the shipped evidence, or of the evidence in DIR."""
    from ranklsim import api

    shared.print_table(
        row | {"n": "" if row["n"] is None or row["n"] != row["n"] else f"{row['n']:g}", "figures": str(row["figures"])}
        for row in api.evidence(folder).to_dict("records")
    )


@shared.verb("variants", "List structural variants of the model, and how well they fit.", "variants")
def _variants() -> None:
    """List other structures of the model, for --parameters.

    Rise: of -2 ln of likelihood and prior over the default, each at its own best fit to the same figures and mice. The
    odds against a variant are exp(rise / 2); above 100 to 1 it counts as refuted, and no range in a report holds it.
    """
    from ranklsim import api

    shared.print_table(
        row | {"rise": f"{row['rise']:.1f}", "refuted": "yes" if row["refuted"] else "no"}
        for row in api.variants().to_dict("records")
    )
    click.echo(
        "\nThe structures that cannot simulate mice are compared with the default in women alone. A negative rise is a "
        "better fit.\nModelling that does not fade fits women better. It is not the default, because bone without "
        "osteoclasts would then grow\nwithout an end. docs/calibration.md explains both."
    )


VERBS = (_trials, _questions, _agents, _parameters, _populations, _evidence, _variants)
