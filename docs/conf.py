"""How Sphinx builds these pages: `sphinx-build -W docs build/docs`, with the extra `docs` installed."""

import pyrnn

project = "pyrnn"
author = "The pyrnn developers"
copyright = author
version = release = pyrnn.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
default_role = "py:obj"  # `LSTM` in a docstring is a link where there is one

autodoc_default_options = {"members": True, "special-members": "__call__"}
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings give types and shapes
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

suppress_warnings = [
    "ref.python"
]  # the type "dtype" of an argument is no link to one of the layers' attributes

html_theme = "furo"
html_title = f"pyrnn {version}"
html_show_sphinx = False
