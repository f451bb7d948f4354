"""Configuration of the documentation; `make docs` builds it, warnings are errors."""

import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402
import mathml  # noqa: E402

import cmbml  # noqa: E402

project = "cmbml"
author = "The cmbml developers"
project_copyright = "the cmbml developers, BSD 3-Clause License"
version = release = cmbml.__version__
language = "en-GB"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "jupyter_execute", "generated/tables", "Thumbs.db", ".DS_Store"]

html_theme = "furo"
html_title = f"cmbml {release}"
html_math_renderer = "mathml"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["tables.css"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
os.environ["KEDRO_LOGGING_CONFIG"] = str(HERE / "logging.yml")

napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
add_module_names = False
default_role = "py:obj"
python_maximum_signature_line_length = 100

_FOOTNOTE = re.compile(r"\[(\d+)\](?=_)|(?<=^\.\. )\[(\d+)\]")


def adapt_docstring(app, what, name, obj, options, lines):
    """Read docstrings as they are written here: formulas in plain text, references numbered one by one.

    A page holds many docstrings, so that numbers need names, and `|` is an absolute value, never a
    substitution.
    """
    label = re.sub(r"\W", "-", name)
    text = [_FOOTNOTE.sub(lambda match: f"[#{label}-{match[1] or match[2]}]", line) for line in lines]
    lines[:] = [line.replace("|", r"\|") for line in text]


def setup(app):
    generate.write_pages(HERE / "generated", ROOT)
    app.connect("autodoc-process-docstring", adapt_docstring, priority=900)  # after napoleon
    mathml.add_renderer(app)
