"""How the pages become a site: `python -m tools.dev docs`. Nothing in it loads from outside the machine."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_site"))

project = "chronofabric"
author = "the chronofabric developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "pages", "reference"]
source_suffix = {".md": "markdown", ".ipynb": "markdown"}
exclude_patterns = ["_site"]
root_doc = "index"

html_theme = "furo"
html_title = "chronofabric"
html_copy_source = False

myst_heading_anchors = 4
highlight_language = "text"
nitpicky = True
nitpick_ignore_regex = [
    # Names of other projects: their sites are not asked.
    ("py:.*", r"(?!chronofabric).*"),
    # What is handed to users or made for them, and not theirs to import.
    (
        "py:class",
        r"chronofabric\._core\.bus\.Bus|chronofabric\.fabric\.(stopping|sinks\.sink)\.\w+|chronofabric\.testing\.timeline\.\w+",
    ),
]

autodoc_default_options = {"members": True, "undoc-members": True, "inherited-members": "Exception, dict, Coroutine"}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_maximum_signature_line_length = 100
