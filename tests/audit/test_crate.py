"""The crate: a public validator accepts it, it verifies where it is unpacked, it can be asked."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest

from abspos.audit.crate import pack
from abspos.audit.verify import verify
from abspos.stores import StoreError

HEADERS = {"Content-Type": "application/ld+json"}
CONTEXT = "https://w3id.org/ro/crate/1.1/context"


@pytest.fixture
def unpacked(study, tmp_path):
    """A function: pack a study and unpack it elsewhere -> the folder."""

    def make(stores: str = "none") -> Path:
        pack(study.results, study.root, tmp_path / "out/s.zip", stores)
        with zipfile.ZipFile(tmp_path / "out/s.zip") as archive:
            archive.extractall(tmp_path / stores)
        return tmp_path / stores

    return make


def graph(folder: Path) -> dict[str, dict[str, Any]]:
    """Entities of a crate by identifier."""
    metadata = json.loads((folder / "ro-crate-metadata.json").read_text())
    return {entity["@id"]: entity for entity in metadata["@graph"]}


def listed(value: Any) -> list[str]:
    """Identifiers in a property."""
    return [item["@id"] for item in (value if isinstance(value, list) else [value])]


@pytest.mark.parametrize("stores", ["none", "components", "all"])
def test_unpacked_elsewhere_it_verifies(unpacked, study, stores):
    folder = unpacked(stores)
    shutil.rmtree(study.root)
    report = verify(folder / "results/s", folder)
    assert report.findings == []
    assert (folder / "results/s/components/m/r1/bos.zarr").is_dir() == (stores != "none")
    assert (folder / "results/checkpoints/m/r1").is_dir() == (stores == "all")
    assert any(note.startswith("left out of this crate") for note in report.notes)


def test_unpacked_an_alteration_or_a_loss_is_still_found(unpacked):
    folder = unpacked("components")
    claims = folder / "results/s/claims.csv"
    claims.write_text(claims.read_text() + "c9,1,1\n")
    shutil.rmtree(folder / "results/s/components/m/r1/bos.zarr")
    kinds = {(f.kind, Path(f.what).name) for f in verify(folder / "results/s", folder).findings}
    assert kinds == {("altered", "claims.csv"), ("missing", "bos.zarr")}


def test_it_says_which_environment_ran_a_step_and_how_long_it_took(unpacked):
    entities = graph(unpacked())
    (table,) = [
        e
        for e in entities.values()
        if e["@type"] == "CreateAction" and e["name"].startswith("tables")
    ]
    assert set(listed(table["result"])) == {
        "results/s/claims.csv",
        "results/s/statistics/energies.csv",
    }
    assert listed(table["instrument"]) == ["workflow/scripts/tables.py"]
    environment = {entities[i]["name"]: entities[i]["value"] for i in listed(table["environment"])}
    assert environment["Python"].count(".") == 2
    assert {"numpy", "zarr", "cpu", "cores", "threads"} <= set(environment)
    usage = {entities[i]["name"]: entities[i] for i in listed(table["resourceUsage"])}
    assert float(usage["duration"]["value"]) >= 0
    assert float(usage["peak memory"]["value"]) > 1e6
    assert usage["peak memory"]["unitCode"].endswith("BYTE")
    assert table["startTime"] <= table["endTime"]


def test_everything_it_names_is_in_it_and_nothing_else_is(unpacked, study):
    (study.root / "docs").mkdir()
    (study.root / "docs/a b #1 50%é.md").write_text("a name that needs quoting")
    folder = unpacked("components")
    entities = graph(folder)
    kinds = {
        i: [e["@type"]] if isinstance(e["@type"], str) else e["@type"] for i, e in entities.items()
    }
    data = {unquote(i) for i, kind in kinds.items() if {"File", "Dataset"} & {*kind}}
    for identifier in data - {"./"}:
        assert (folder / identifier).exists(), identifier
    stores = [folder / i for i in data if i.endswith("/") and i != "./"]
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        known = name in data or any(store in path.parents for store in stores)
        assert path.is_dir() or known or name == "ro-crate-metadata.json", name


def test_a_study_with_findings_is_not_packed(study, tmp_path):
    (study.results / "claims.csv").write_text("x")
    with pytest.raises(StoreError, match=r"1 findings, the first: altered .*claims\.csv"):
        pack(study.results, study.root, tmp_path / "s.zip")
    assert [p.name for p in tmp_path.iterdir()] == ["copy"]


def test_a_folder_that_exists_is_kept(study, tmp_path):
    (tmp_path / "crate").mkdir()
    with pytest.raises(FileExistsError, match="exists; give another --output"):
        pack(study.results, study.root, tmp_path / "crate")
    pack(study.results, study.root, tmp_path / "new/crate")
    assert (tmp_path / "new/crate/ro-crate-metadata.json").is_file()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["crate"]


def test_nothing_of_this_machine_is_in_it(unpacked, study):
    text = (unpacked() / "ro-crate-metadata.json").read_text()
    assert str(study.root) not in text
    assert str(Path.home()) not in text or str(Path.home()) == "/"


def context() -> dict[str, Any]:
    """RO-Crate's context as of 1.1, made of the later one that rocrate ships: no network here."""
    shipped = json.loads(files("rocrate").joinpath("data/ro-crate.jsonld").read_text("utf-8"))
    for term, uri in shipped["@context"].items():
        if isinstance(uri, str) and (
            found := re.fullmatch(r"https://bioschemas.org/terms/(.*)", uri)
        ):
            home = "" if found[1][0].isupper() else "ComputationalWorkflow#"
            shipped["@context"][term] = f"https://bioschemas.org/{home}{found[1]}"
    return shipped


@pytest.mark.parametrize(
    "profile", ["provenance-run-crate", "workflow-run-crate", "workflow-ro-crate", "ro-crate-1.1"]
)
def test_a_public_validator_accepts_it(unpacked, monkeypatch, profile):
    services = pytest.importorskip("rocrate_validator.services")
    http = pytest.importorskip("rocrate_validator.utils.http")
    models = pytest.importorskip("rocrate_validator.models")
    text = json.dumps(context())

    def get(requester: Any, url: str, **options: Any) -> Any:
        assert url == CONTEXT, f"{url} is asked for, and there is no network"
        return SimpleNamespace(
            status_code=200, text=text, url=url, headers=HEADERS, json=lambda: json.loads(text)
        )

    monkeypatch.setattr(http.HttpRequester, "get", get, raising=False)
    settings = services.ValidationSettings(
        rocrate_uri=str(unpacked("components")),
        profile_identifier=profile,
        requirement_severity=models.Severity.REQUIRED,
        abort_on_first=False,
        no_cache=True,
    )
    issues = services.validate(settings).get_issues()
    assert [f"{i.check.identifier} {i.violatingEntity}: {i.message}" for i in issues] == []
