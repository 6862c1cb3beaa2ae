"""The verb `populations`: list them, print a file to start from, check one's own before it is run.

The module registers itself with `ranklsim.reports.cli.main` when it is imported.
"""

from __future__ import annotations

from pathlib import Path

import click

from ranklsim.reports.cli.main import EXIT_CODES, Listing, cli, print_table


@cli.group(cls=Listing, invoke_without_command=True, short_help="List populations, or check one of your own.")
@click.pass_context
def populations(ctx: click.Context) -> None:
    """List the populations that ship; `populations show NAME` prints one's file, to start your own from.

    docs/populations.md describes the format, and how to resample a table of covariates.
    """
    if ctx.invoked_subcommand is None:
        from ranklsim.cohorts.people.population import list_populations, load_population

        print_table([{"name": name, "title": load_population(name).title} for name in list_populations()])


@populations.command("show")
@click.argument("name")
def show_population(name: str) -> None:
    """Print the file of the population NAME."""
    from ranklsim.cohorts.people.population import load_population

    population = load_population(name)
    click.echo(population.files[f"{name}.toml"].decode().rstrip("\n"))


@populations.command("check", epilog=f"Example: `ranklsim populations check my-women.toml`. {EXIT_CODES}")
@click.argument("name")
def check_population(name: str) -> None:
    """Check the population NAME, or the file NAME.toml: each target beside what those enrolled look like.

    Every fault is told with file and line.
    """
    from ranklsim.cohorts.people.population import load_population
    from ranklsim.reports.analyses.baseline import targets
    from ranklsim.reports.layout.tables import num
    from ranklsim.reports.layout.wording import within

    path = Path(name)
    folder, stem = (path.parent, path.stem) if path.suffix == ".toml" else (Path.cwd(), name)
    population = load_population(stem, folder)
    found = targets(population.enrolled, population.published())
    print_table(
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
