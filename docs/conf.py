"""The documentation site: `make docs` builds it into build/docs; a warning is an error there."""

import os
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]  # the repository's own code, and messages.py

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

project = "cpmn_tf"
author = "the authors of cpmn_tf"
html_title = "cpmn_tf"
html_theme = "alabaster"
html_theme_options = {"page_width": "1200px", "body_max_width": "100%", "fixed_sidebar": True}
exclude_patterns = ["conf.py"]
html_show_sphinx = False
smartquotes = False  # --flag is no dash
extensions = [
    "messages",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_mock_imports = ["av", "cv2"]  # of the extra [video], which the site does not need
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Functions and modules that docstrings refer to, and links between pages, must lead somewhere.
# Types and constants may have no place here; other projects' names are not looked up, so that the
# build needs no network.
nitpicky = True
nitpick_ignore_regex = [
    ("py:(class|data)", ".*"),
    ("py:.*", r"(?!cpmn_tf|tfrecords_tools).*"),
]


def relocate(app, path, docname, source):
    """Lets pages that are in the repository be pages of this site: their links and images.

    What they link to outside of the site stays a path in the repository.
    """
    del app, docname
    name = pathlib.Path(path).as_posix()
    text = source[0]
    if pathlib.PurePath(name).parent.name == "experiments":
        text = re.sub(r"\]\((results/[^)]+\.png)\)", r"](../experiments/\1)", text)
        text = re.sub(r"\[(?:[^\]]*)\]\((results/[^)]*)\)", r"`experiments/\1`", text)
        text = text.replace("](../docs/", "](").replace("](../README.md", "](index.md")
        text = text.replace("](README.md", "](results.md")
    else:
        text = text.replace("](docs/", "](").replace("](experiments/README.md", "](results.md")
        text = re.sub(r"\]\(experiments/(rivals|speed)\.md", r"](\1.md", text)
    source[0] = text


def setup(app):
    """Called by Sphinx."""
    from cpmn_tf.notices import load_tensorflow

    load_tensorflow()  # without its notices
    app.connect("include-read", relocate)
