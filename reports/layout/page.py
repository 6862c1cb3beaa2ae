"""A page of sections and exhibits, with the numbers behind every exhibit.

The trial report (`ranklsim.reports.csr.report`) and what `validate` and `fit` write share this; a `Page` is one of the
latter.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ranklsim.reports.layout.cells import Record, listing
from ranklsim.reports.layout.exhibit import Exhibit, Section
from ranklsim.reports.layout.html import render, with_figures


@dataclass(frozen=True)
class Page:
    """The parts of a page other than its sections.

    Attributes
    ----------
    mark : str
        Name of the generator; a folder is replaced only if its page bears it.
    kind, title, meta, keyhead, footer : str
        Above the title, the title, below it, over the key result, at the end.
    """

    mark: str
    kind: str
    title: str
    meta: str
    keyhead: str
    footer: str

    def write(
        self,
        folder: Path,
        sections: Sequence[Section],
        template: str = "page.html",
        *,
        drawn: Callable[[], object] = lambda: None,
        **values: object,
    ) -> None:
        """Write ``index.html``, with ``tables/`` and ``figures/`` beside it.

        Parameters
        ----------
        folder : Path
            An existing folder.
        sections : sequence of Section
            Those of "page.html" are numbered as they come, since one may be left out.
        template : str
            File of `html.TEMPLATES`.
        drawn : callable, optional
            Is called before the first figure is needed.
        values
            What else the template names.
        """
        if template == "page.html":
            sections = [replace(section, number=str(k)) for k, section in enumerate(sections, 1)]
        text = render(template, sections, **vars(self), **values)
        exhibits = [e for section in sections for e in section.exhibits]
        for name in ("tables", "figures"):
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).mkdir()
        for exhibit in exhibits:
            (folder / "tables" / f"{exhibit.stem}.csv").write_text(exhibit.csv(), encoding="utf-8", newline="")
        drawn()
        for exhibit in exhibits:
            if isinstance(exhibit.body, str):
                path = folder / "figures" / f"{exhibit.stem}.svg"
                path.write_text(exhibit.svg + "\n", encoding="utf-8", newline="")
        (folder / "index.html").write_text(with_figures(text, exhibits), encoding="utf-8", newline="")


def table(
    number: str,
    title: str,
    frame: pd.DataFrame,
    rows: Sequence[Record] | Callable[[dict[str, Any]], Record],
    footnote: str,
    *,
    headline: str = "",
    numeric: Sequence[str] = (),
    group: str | None = None,
    folded: bool = False,
    widths: Sequence[int] = (),
) -> Exhibit:
    """A listing as an exhibit.

    Parameters
    ----------
    number, title, footnote, headline, folded
        As in `Exhibit`.
    frame : DataFrame
        What is exported.
    rows : sequence of mapping, or callable
        Head to text of each row; or the function that makes them of a row of `frame`.
    numeric, group, widths
        As in `cells.listing`.

    Returns
    -------
    Exhibit
    """
    records = frame.to_dict("records") if callable(rows) else ()
    made = [rows(record) for record in records] if callable(rows) else rows
    body = listing(made, records=records, numeric=numeric, group=group, widths=widths)
    return Exhibit("Table", number, title, frame, body, footnote, headline, folded)
