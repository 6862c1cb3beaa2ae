"""The documentation as a site: `make docs`, without a network. The pages are those that a code host shows."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import latex2mathml.converter
from docutils import nodes
from pygments.lexers import TextLexer

import ranklsim

DOCS = Path(__file__).parent
ROOT = DOCS.parent

project = "ranklsim"
author = "the ranklsim developers"
version = release = ranklsim.__version__
extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
]
root_doc = "index"
exclude_patterns = ["README.md"]
html_theme = "pydata_sphinx_theme"
html_title = f"ranklsim {release}"
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_context = {"default_mode": "auto"}
html_show_sourcelink = False
html_static_path = ["style"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
myst_enable_extensions = ["dollarmath", "colon_fence", "html_image"]
myst_heading_anchors = 4
# A fence such as `sh` or `python` is a lexer's name; what begins no page at level 1 is an included file.
suppress_warnings = ["myst.header"]
numpydoc_show_class_members = False
autodoc_typehints = "none"

DOOR = ".. every-function"
"""Stands in python.md for the functions."""
OUTSIDE = {"README": "readme", "CHANGELOG": "changelog", "CONTRIBUTING": "contributing"}
"""Pages of the checkout's top that the site shows under these names."""


def as_page(app, name, source):
    """A page of the checkout as a page of the site: links, the list of functions, diagrams as pictures."""
    text = source[0]
    for top in (top for top, page in OUTSIDE.items() if page == name):
        text = (ROOT / f"{top}.md").read_text(encoding="utf-8").replace("docs/", "")
        text = re.sub(r"\[([^]]*)\]\((LICENSE|CITATION.cff)\)", r"\1", text)
    for top, page in OUTSIDE.items():
        text = re.sub(rf"\]\((\.\./)*{top}\.md", f"]({'../' * name.count('/')}{page}.md", text)
    text = text.replace("](README.md)", "](index.md)")
    text = text.replace(
        DOOR, "\n".join(f".. autofunction:: ranklsim.{each}" for each in sorted(ranklsim.api.FUNCTIONS))
    )
    source[0] = re.sub(r"^```mermaid\n(.*?)^```$", _drawn, text, flags=re.DOTALL | re.MULTILINE)


def _drawn(found):
    name = f"images/diagram-{hashlib.sha256(found[1].encode()).hexdigest()[:8]}.svg"
    if not (DOCS / name).exists():
        raise FileNotFoundError(f"docs/{name}: a diagram changed; draw it with scripts/diagrams.py")
    return f"![The diagram]({name})"


def mathml(self, node):
    """A formula as MathML, which browsers draw themselves."""
    block = isinstance(node, nodes.math_block)
    text = latex2mathml.converter.convert(node.astext(), display="block" if block else "inline")
    self.body.append(f'<div class="math">{text}</div>' if block else text)
    raise nodes.SkipNode


def setup(app):
    app.connect("source-read", as_page)
    app.add_lexer("csv", TextLexer)
    app.add_html_math_renderer("mathml", (mathml, None), (mathml, None))
