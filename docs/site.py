"""Pages of the site beyond Markdown: notebooks with their outputs, and the help of commands."""

from __future__ import annotations

import argparse
import json
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from abspos.cli import parser


class Notebook(File):
    """A notebook, which becomes a page."""

    def is_documentation_page(self) -> bool:
        """A page, and no file to copy."""
        return True


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Make pages of the notebooks."""
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            files.remove(file)
            places = (config.docs_dir, config.site_dir, config.use_directory_urls)
            files.append(Notebook(file.src_uri, *places))
    return files


def on_page_read_source(page: Page, config: MkDocsConfig) -> str | None:
    """The Markdown of a notebook; None of any other page."""
    return markdown(page.file.content_string) if isinstance(page.file, Notebook) else None


def on_page_markdown(text: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the help of all commands below the page of the command line."""
    return text + helps() if page.file.src_uri == "cli.md" else text


def markdown(notebook: str) -> str:
    """The cells of a notebook, with text and pictures that they put out."""
    parts = []
    for cell in json.loads(notebook)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        else:
            parts += [fenced(source, "python"), *map(shown, cell["outputs"])]
    return "\n\n".join(parts)


def shown(output: dict[str, Any]) -> str:
    """One output of a cell: its picture, or else its text."""
    data = output.get("data", {})
    if "image/png" in data:
        picture = data["image/png"].strip()
        return f'<img alt="the figure of the cell" src="data:image/png;base64,{picture}">'
    return fenced("".join(data.get("text/plain", "")), "text")


def fenced(text: str, language: str) -> str:
    """Text as a block."""
    return f"````{language}\n{text}\n````"


def helps() -> str:
    """The help of the command line and of each command."""
    whole = parser()
    parts = [whole.format_help()]
    for action in whole._actions:
        if isinstance(action, argparse._SubParsersAction):
            parts += [command.format_help() for command in action.choices.values()]
    return "".join(f"\n{fenced(text, 'text')}\n" for text in parts)
