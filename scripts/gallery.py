"""Renew the pictures of README and docs: run what a page says, and take each picture from where the page says.

.venv/bin/python scripts/gallery.py                        every page with pictures of its own
.venv/bin/python scripts/gallery.py docs/start.md ...      these pages

A page names the origin of a picture in a comment on the line below it: `<!-- from FILE -->`. FILE is relative to the
folder in which the commands of the page run. A FILE in HTML is photographed by Chromium; it may be made by a command of
its own, too slow for the tests: `<!-- from page.html by ranklsim explore ... -->`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ranklsim.reports.cli import main as cli

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [DOCS / "start.md", DOCS / "gallery.md", DOCS / "explore.md", *sorted((DOCS / "tutorials").glob("*-*.md"))]
FENCE = re.compile(r"(?:^`([\w./-]+)`\n\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"^!\[[^]]*\]\(([\w./-]+)\)\n<!-- from (\S+)(?: by (.+))? -->$", re.MULTILINE)
PHOTOGRAPH = (1300, 1000)
"""Width and height of the window (px)."""


def play(page: Path, folder: Path, few: Mapping[str, Sequence[str]] | None = None) -> None:
    """Do in a folder what a page tells its reader, from top to bottom: files, commands, Python.

    Parameters
    ----------
    page, folder : Path
    few : mapping, optional
        From a verb to words that make it smaller.

    Raises
    ------
    RuntimeError
        If a command fails.
    """
    with contextlib.chdir(folder):
        Path("runs").mkdir(exist_ok=True)  # as `make demo` leaves it
        for name, language, text in FENCE.findall(page.read_text(encoding="utf-8")):
            if name:
                Path(name).parent.mkdir(parents=True, exist_ok=True)
                Path(name).write_text(text, encoding="utf-8")
            elif language == "python":
                exec(compile(text, str(page), "exec"), {"__name__": "example"})
            elif language == "sh":
                for line in text.splitlines():
                    words = shlex.split(line, comments=True)
                    if words[:1] == ["ranklsim"] and cli.main([*words[1:], *(few or {}).get(words[1], ())]):
                        raise RuntimeError(f"{page.name}: this command failed: {line}")


def pictures(page: Path, folder: Path) -> Iterator[tuple[Path, Path]]:
    """Each picture of a page with an origin, and that origin in the folder where the page was played.

    Parameters
    ----------
    page, folder : Path

    Raises
    ------
    RuntimeError
        If the origin is not one file.
    """
    for target, origin, command in PICTURE.findall(page.read_text(encoding="utf-8")):
        with contextlib.chdir(folder):
            if command and cli.main(shlex.split(command)[1:]):
                raise RuntimeError(f"{page.name}: this command failed: {command}")
        found = sorted(folder.glob(origin))
        if len(found) != 1:
            raise RuntimeError(f"{page.name}: {origin} is {len(found)} files; name one")
        yield (page.parent / target).resolve(), found[0]


def take(origin: Path, target: Path) -> None:
    """Copy a picture, or photograph a page.

    Parameters
    ----------
    origin, target : Path
    """
    if origin.suffix != ".html":
        shutil.copyfile(origin, target)
        return
    browser = next(name for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name))
    size = "{},{}".format(*PHOTOGRAPH)
    words = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={origin.parent / 'browser'}"]
    words += ["--force-prefers-reduced-motion", "--hide-scrollbars"]  # nothing is photographed on its way
    words += ["--virtual-time-budget=60000", f"--window-size={size}", f"--screenshot={target}"]
    subprocess.run([browser, *words, origin.as_uri()], check=True, capture_output=True)


def main(pages: Sequence[Path]) -> None:
    for page in pages:
        with tempfile.TemporaryDirectory(prefix="gallery-") as folder:
            play(page, Path(folder))
            for target, origin in pictures(page, Path(folder)):
                take(origin, target)
                print(os.path.relpath(target, ROOT))


if __name__ == "__main__":
    main([Path(word).resolve() for word in sys.argv[1:]] or PAGES)
