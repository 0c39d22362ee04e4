"""The documentation site builds strictly: pages in the navigation, links and anchors right."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_document_and_notebook_is_a_page(site):
    sources = [p for p in (ROOT / "docs").rglob("*") if p.suffix in (".md", ".ipynb")]
    assert len(sources) > 25
    for path in sources:
        page = site / path.relative_to(ROOT / "docs").with_suffix(".html")
        assert "<h1" in page.read_text(encoding="utf-8"), page


def test_the_reference_documents_the_public_functions(site):
    text = (site / "api.html").read_text(encoding="utf-8")
    for name in ("decompose", "energies", "open_results", "load_components"):
        assert re.search(rf"<h3[^>]*>\s*abspos\.{name}", text), name
    assert text.count("Raises") >= 4


def test_the_command_line_page_has_the_help_of_every_command(site):
    text = (site / "cli.html").read_text(encoding="utf-8")
    for command in ("plan", "pin", "verdicts", "verify", "explain", "crate", "name"):
        assert f"usage: abspos {command}" in text
        assert f"<code>abspos {command}" in text


def test_notebooks_show_their_code_and_their_figures(site):
    text = (site / "notebooks" / "transformers.html").read_text(encoding="utf-8")
    assert "decompose" in text
    assert 'src="data:image/png;base64,' in text


def test_nothing_is_fetched_from_elsewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(r'<(?:script|img)[^>]* src="(https?:[^"]*)"', text)
        fetched += re.findall(
            r'<link[^>]* rel="(?:stylesheet|preconnect)"[^>]*href="(http[^"]*)"', text
        )
        assert not fetched, page


@pytest.mark.parametrize(
    ("page", "fine"),
    [
        ("# A\n\n[b](other.md#there)\n", True),
        ("# A\n\n[b](nowhere.md)\n", False),
        ("# A\n\n[b](other.md#nowhere)\n", False),
        ("# A\n\n[b](#nowhere)\n", False),
    ],
)
def test_a_link_to_nowhere_stops_the_build(tmp_path, page, fine):
    """With the settings of mkdocs.yml."""
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    chosen = {key: settings[key] for key in ("site_name", "validation", "markdown_extensions")}
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(page)
    (tmp_path / "docs" / "other.md").write_text("# Other\n\n## There\n")
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(chosen))
    config = load_config(str(tmp_path / "mkdocs.yml"), strict=True, theme="mkdocs", plugins=[])
    if fine:
        build(config)
    else:
        with pytest.raises(Abort):
            build(config)
