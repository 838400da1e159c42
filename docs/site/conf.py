"""Sphinx settings of the site; docs/site/stage.py lays out what it reads. `make docs` runs both."""

from __future__ import annotations

from pathlib import Path

from brokersim.version import VERSION

project = "brokersim"
author = "the brokersim authors"
copyright = author
release = version = VERSION

extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "index"
source_suffix = {".md": "markdown"}
# Downloads and what tells where a change goes are read where they lie; they are no pages.
exclude_patterns = ["README.md", "src", "modules", "tests", "benchmarks/*.py"]
suppress_warnings = ["myst.xref_ambiguous"]

myst_enable_extensions = ["deflist"]
#: Links to `page.md#heading` are checked against the headings GitHub would make.
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "undoc-members": False}
python_use_unqualified_type_names = True
default_role = "literal"

html_theme = "furo"
html_title = f"brokersim {VERSION}"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}

#: (page, name, what it is, authors, section of the manual), as stage.py notes them beside the pages.
man_pages = [(*line.split("\t"), author, 1) for line in Path("man_pages").read_text().splitlines()]
