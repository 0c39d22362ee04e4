"""Packages that are not installed are named with the extra that brings them."""

import importlib.metadata
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from abspos import cli, extras

ROOT = Path(__file__).parents[1]
LISTED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.mark.parametrize("extra", extras.EXTRAS)
def test_every_module_belongs_to_a_package_of_its_extra(extra):
    owners = importlib.metadata.packages_distributions()
    named = {canonicalize_name(owners[module][0]) for module in extras.EXTRAS[extra]}
    assert named == {canonicalize_name(Requirement(line).name) for line in LISTED[extra]}


def test_a_missing_module_is_told_with_its_extra(monkeypatch):
    extras.require("figures")
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'abspos\[figures\]'") as caught:
        extras.require("figures")
    assert caught.value.name == "matplotlib"
    assert extras.extra_of("matplotlib.axes") == "figures"
    assert extras.extra_of("torch") is None
    assert extras.extra_of(None) is None


def test_a_command_without_its_packages_says_what_to_install(monkeypatch, capsys):
    def crate(options):
        """A command without its packages."""
        raise ModuleNotFoundError("No module named 'rocrate'", name="rocrate.model")

    monkeypatch.setitem(cli.COMMANDS, "crate", crate)
    assert cli.main(["crate"]) == cli.USAGE
    assert capsys.readouterr().err == (
        "error: rocrate is not installed; run: pip install 'abspos[crate]'\n"
    )


def test_another_missing_module_is_no_matter_of_extras(monkeypatch):
    def crate(options):
        """A command without its packages."""
        raise ModuleNotFoundError("No module named 'nothing'", name="nothing")

    monkeypatch.setitem(cli.COMMANDS, "crate", crate)
    with pytest.raises(ModuleNotFoundError, match="nothing"):
        cli.main(["crate"])
