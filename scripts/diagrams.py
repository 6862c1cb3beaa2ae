"""Draw the diagrams (Mermaid) of docs/*.md as pictures for the site, which loads nothing from a network.

Needs Node.js, a network for `npx`, and a Chromium: .venv/bin/python scripts/diagrams.py
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
LOOK = {"htmlLabels": False, "flowchart": {"htmlLabels": False}, "theme": "neutral", "fontFamily": "Arial, sans-serif"}
TOOL = "@mermaid-js/mermaid-cli@11"


def main() -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    wanted = set()
    for page in sorted(DOCS.glob("*.md")):
        for text in re.findall(r"^```mermaid\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            target = DOCS / "images" / f"diagram-{hashlib.sha256(text.encode()).hexdigest()[:8]}.svg"
            wanted.add(target)
            if target.exists():
                continue
            with tempfile.TemporaryDirectory() as folder:
                files = {"in.mmd": text, "look.json": json.dumps(LOOK)}
                files["browser.json"] = json.dumps({"executablePath": browser, "args": ["--no-sandbox"]})
                for name, content in files.items():
                    (Path(folder) / name).write_text(content, encoding="utf-8")
                call = ["npx", "--yes", "-p", TOOL, "mmdc", "-b", "white", "-i", "in.mmd", "-o", str(target)]
                subprocess.run(
                    [*call, "-c", "look.json", "-p", "browser.json"],
                    cwd=folder,
                    check=True,
                    env=os.environ | {"PUPPETEER_SKIP_DOWNLOAD": "1"},
                )
    for old in set((DOCS / "images").glob("diagram-*.svg")) - wanted:
        old.unlink()


if __name__ == "__main__":
    main()
