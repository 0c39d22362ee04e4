"""The story of a result reaches back to checkpoint and corpus, each thing told once."""

from __future__ import annotations

import shutil

import pytest

from abspos.audit.explain import explain
from abspos.stores import StoreError


def told(study, file: str) -> list[str]:
    return list(explain(str(study.root / file), study.results, study.root))


def test_a_figure_leads_back_to_checkpoint_and_corpus(study):
    text = "\n".join(told(study, "results/s/figures/f.svg"))
    for part in (
        "results/s/claims.csv",
        "results/s/components/m/r1/bos.zarr",
        "results/checkpoints/m/r1",
        "resources/corpus/a.jsonl",
        "temporary, removed after use",
        "rule figures",
        '"stage": "models"',
        "src/abspos/drawing.py",
        "Python ",
        "numpy ",
        "from outside, as it was",
    ):
        assert part in text, part
    tree = text.partition("\n\ncode 1\n")[0].splitlines()
    assert [line for line in tree if "manifest" in line] == []
    depth = {
        line.split()[0].rpartition("results/")[2]: len(line) - len(line.lstrip())
        for line in tree
        if not line.lstrip().startswith("|")
    }
    assert depth["s/figures/f.svg"] < depth["s/claims.csv"] < depth["checkpoints/m/r1"]


def test_a_number_is_told_with_its_row(study):
    lines = told(study, "results/s/claims.csv:2")
    assert lines[1] == "  claim = c0"
    assert lines[2].startswith("  estimate = ")
    with pytest.raises(StoreError, match="no line 99"):
        told(study, "results/s/claims.csv:99")


def test_a_file_inside_a_store_and_a_removed_store_have_a_story(study):
    inside = told(study, "results/s/components/m/r1/bos.zarr/residual/zarr.json")
    assert inside[0].split()[0].endswith("bos.zarr")
    gone = told(study, "results/s/activations/m/r1/bos.zarr")
    assert gone[0].endswith("temporary, removed after use")


def test_what_changed_since_is_said(study):
    (study.results / "claims.csv").write_text("x\n")
    (study.root / "src/abspos/numbers.py").write_text("VALUE = 2\n")
    (study.root / "src/abspos/drawing.py").unlink()
    (study.root / "resources/corpus/a.jsonl").write_text("")
    shutil.rmtree(study.results / "components/m/r1/bos.zarr")
    text = "\n".join(told(study, "results/s/figures/f.svg"))
    for part in ("ALTERED", "CHANGED since", "GONE", "ALTERED since", "MISSING"):
        assert part in text, part


def test_a_file_without_an_entry_has_no_story(study):
    with pytest.raises(StoreError, match="no ledger entry describes it"):
        told(study, "config.yaml")
    (study.results / "ledger/claims.csv.json").write_text("{}")
    with pytest.raises(StoreError, match="is not valid"):
        told(study, "results/s/claims.csv")


def test_it_goes_as_deep_as_it_should(study):
    def depth(number):
        found = explain(str(study.results / "figures/f.svg"), study.results, study.root, number)
        return "\n".join(found).partition("\n\ncode 1\n")[0]

    assert "claims.csv" not in depth(0)
    assert "--depth 1 shows more" in depth(0)
    assert "claims.csv" in depth(1)
    assert "checkpoints" not in depth(1)
    whole = "\n".join(told(study, "results/s/figures/f.svg")).partition("\n\ncode 1\n")[0]
    assert depth(99) == whole
