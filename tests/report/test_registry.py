"""The registry of models, and the shipped studies, on tiny models of the shape it tells."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from abspos.models.loading import variant_config
from abspos.models.sources import ModelError, fetch_random
from abspos.planning.layout import Layout
from abspos.report import registry
from abspos.report.registry import RegistryError
from abspos.study.config import load_study

ROOT = Path(__file__).parents[2]
ENTRIES = registry.load()


def study_of(path):
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    update_config(config, yaml.safe_load(path.read_text(encoding="utf-8")))
    return load_study(config)


STUDIES = {
    path.stem: study_of(path)
    for path in sorted((ROOT / "studies").glob("*.yaml"))
    if not path.stem.endswith(".lock")
}
PAPER = STUDIES["paper"]


@pytest.mark.parametrize("name", STUDIES)
def test_every_model_of_a_study_is_listed(name):
    packages = {entry.package for entry in ENTRIES.values()}
    for model in STUDIES[name].models:
        assert model.source.type != "hub" or model.source.repo in ENTRIES
        assert model.source.type != "packaged" or model.source.package in packages


def test_the_documents_table_is_the_registrys():
    text = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    shown = text.split("<!-- registry: by `python -m abspos.report.registry` -->\n")[1]
    assert shown.split("<!-- end of registry -->")[0] == registry.table()


def test_what_is_unverified_is_marked():
    (row,) = registry.rows([ENTRIES["meta-llama/Llama-3.2-1B"]])
    assert row[2:9] == (
        "llama3",
        "500000",
        "none",
        "131072",
        "yes ?",
        "Llama 3.2 Community License ?",
        "yes ?",
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"theta": -1.0}, r"m.yaml: entry 0\.theta: .*greater than 0"),
        ({"unverified": ["weather"]}, r"m.yaml: entry 0\.unverified\.0: "),
        ({"licence": ""}, r"m.yaml: entry 0\.licence: "),
        ({"colour": "red"}, r"m.yaml: entry 0\.colour: "),
    ],
)
def test_a_mistaken_entry_is_told(tmp_path, change, told):
    path = tmp_path / "m.yaml"
    entry = ENTRIES["google/gemma-3-270m"].model_dump(mode="json")
    path.write_text(yaml.safe_dump([entry | change]))
    with pytest.raises(RegistryError, match=told) as error:
        registry.load(path)
    assert "\n" not in str(error.value)


def test_a_repository_is_listed_once(tmp_path):
    path = tmp_path / "m.yaml"
    entry = ENTRIES["google/gemma-3-270m"].model_dump(mode="json")
    path.write_text(yaml.safe_dump([entry, copy.deepcopy(entry)]))
    with pytest.raises(RegistryError, match="twice"):
        registry.load(path)


# the paper's design


@pytest.fixture(scope="module")
def shapes(source, tmp_path_factory):
    """A tiny random model of each model's family, with RoPE, window and context as registered."""
    folder = tmp_path_factory.mktemp("shapes")
    for model in PAPER.models:
        entry = ENTRIES[model.source.repo]
        made = source | {
            "family": entry.family,
            "rope_theta": entry.theta,
            "window": entry.window,
            "max_position_embeddings": entry.context,
        }
        fetch_random(made, "0", folder / model.name)
        if entry.rope == "llama3":
            path = folder / model.name / "config.json"
            config = json.loads(path.read_text())
            config["rope_parameters"] |= {
                "rope_type": "llama3",
                "factor": 32.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            }
            path.write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("name", [model.name for model in PAPER.models])
def test_every_arm_of_the_papers_design_acts(name, shapes):
    layout = Layout(PAPER)
    for variant in {run.variant for run in layout.runs(name)}:
        variant_config(shapes / name, layout.variant(variant), PAPER.inputs.length)


def test_scaling_what_is_scaled_is_refused(shapes):
    with pytest.raises(ModelError, match="scaled already"):
        variant_config(shapes / "llama-3.2-1b", Layout(PAPER).variant("ntk"), PAPER.inputs.length)


def test_the_papers_design_has_each_kind_of_model_and_its_arms():
    layout = Layout(PAPER)
    by_rope = {m.name: ENTRIES[m.source.repo] for m in PAPER.models}
    assert {e.rope for e in by_rope.values()} == {"default", "llama3"}
    assert {e.prepends_bos for e in by_rope.values()} == {True, False}
    sliding = {name: e.window for name, e in by_rope.items() if e.window}
    assert sliding == {"gemma-3-270m": 512, "tinymistral-248m": 32}
    assert max(sliding.values()) < PAPER.inputs.length // 2, "queries lie beyond them"
    arms = {model.name: layout.arms(model.name) for model in PAPER.models}
    assert {name: len(found) for name, found in arms.items()} == {
        "tinyllama": 14,
        "qwen2.5-0.5b": 12,
        "llama-3.2-1b": 12,
        "gemma-3-270m": 14,
        "tinymistral-248m": 12,
    }
    for name, found in arms.items():
        base = "bos" if ("standard", "bos") in found else "no-bos"
        assert {("standard", base), ("untrained", base)} <= set(found)
        own = by_rope[name].window or PAPER.inputs.length
        narrower = own > PAPER.variant("window").window
        assert (("window", base) in found) == (("untrained-window", base) in found) == narrower
        assert base == "bos" or not any(condition == "bos" for _, condition in found)
        assert not PAPER.preliminary
