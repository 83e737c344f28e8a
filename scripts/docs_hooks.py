"""Pages that MkDocs makes from the code and from files outside ``docs/``.

`mkdocs.yml` lists this module under ``hooks``. Pages in the repository link each other by the paths
of their files, so that the links work on GitHub too; here they become links between pages.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
COPIED = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "carl-nano.md": "resources/weights/carl-nano.md",
    "test-data.md": "tests/data/README.md",
}
"""Pages that are files of the repository: name of the page, path from the root."""

PACKAGES = {
    "carl.io": "Files",
    "carl.simulation": "Simulation",
    "carl.inference": "Inference",
    "carl.learning": "Learning from labels",
    "carl.model": "The network",
    "carl.model.heads": "Heads",
    "carl.pretraining": "Pre-training",
}
"""Packages of the Python reference, and their headings."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not files below ``docs/``."""
    pages = {name: (ROOT / path).read_text("utf-8") for name, path in COPIED.items()}
    pages["cli.md"] = command_line_reference()
    pages["api.md"] = python_reference()
    pages["api-packages.md"] = package_reference()
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at the files of the repository to the pages made from them."""
    for name, path in COPIED.items():
        markdown = markdown.replace(f"](../{path}", f"]({name}").replace(f"]({path}", f"]({name}")
    return markdown.replace("](docs/", "](")


def command_line_reference() -> str:
    """Return what `scripts/cli_reference.py` prints."""
    command = [sys.executable, str(ROOT / "scripts" / "cli_reference.py")]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def python_reference() -> str:
    """Return the page of everything that ``carl`` exports."""
    return "# Python\n\n" + directives(import_module("carl"), 2)


def package_reference() -> str:
    """Return the page of everything that the packages below ``carl`` export."""
    parts = ["# Python, by package"]
    for package, heading in PACKAGES.items():
        module = import_module(package)
        summary = (module.__doc__ or "").split("\n\n")[0]
        parts.append(f"## {heading}: `{package}`\n\n{summary}\n\n{directives(module, 3)}")
    return "\n\n".join(parts) + "\n"


def directives(module: ModuleType, level: int) -> str:
    """Return a mkdocstrings directive for each public name of a module, on one heading level."""
    return "\n".join(
        f"::: {module.__name__}.{name}\n    options:\n      heading_level: {level}\n"
        for name in module.__all__
        if not name.startswith("__")
    )
