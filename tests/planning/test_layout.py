"""Paths, revision names, and which slice of the config each rule is given."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from abspos.figures import FIGURES
from abspos.figures.facts import ONLY_WITH
from abspos.models.local import revision_of
from abspos.planning.layout import TABLES, Layout
from abspos.study.config import Study, load_study

ROOT = Path(__file__).parents[2]
MODEL = "smollm2-135m"
HUB = {"type": "hub", "repo": "org/name", "revisions": ["main", "step1000"]}
DIGEST = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def config(**changes: Any) -> dict[str, Any]:
    made = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    made["variants"][0]["conditions"] += ["control-later", "control-shift", "swap-noise"]
    return made | changes


def changed(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """The config with one value changed, or added at the end of a list."""
    made = copy.deepcopy(config())
    node: Any = made
    for step in path[:-1]:
        node = node[step]
    if path[-1] == "+":
        node.append(value)
    else:
        node[path[-1]] = value
    return made


def layout(made: dict[str, Any] | None = None) -> Layout:
    return Layout(load_study(config() if made is None else made), ROOT)


# what each rule is given


def slices(of: Layout) -> dict[str, Any]:
    """Every slice by its rule; of extraction and decomposition one for each arm."""
    found: dict[str, Any] = {
        "inputs": of.inputs(),
        "corpus": [*of.corpus(), *of.shipped_corpus()],
        "judgement": of.judgement(),
        "calibration": of.calibration(),
        "tabulation": {model.name: of.tabulation(model.name) for model in of.study.models},
        "source": {"/".join(pair): of.source(*pair) for pair in of.models()},
    }
    for variant, condition in of.arms(of.study.models[0].name):
        arm = (of.study.models[0].name, variant, condition)
        found[f"extraction {variant}/{condition}"] = of.extraction(*arm)
        found[f"decomposition {variant}/{condition}"] = of.decomposition(*arm)
    return found


def arms_of(stage: str, *names: str) -> set[str]:
    """Slices of one stage: all arms, or those that are named (variant or variant/condition)."""
    return {
        key
        for key in slices(layout())
        if key.startswith(f"{stage} ")
        and (not names or any(f"{key}/".startswith(f"{stage} {name}/") for name in names))
    }


FEW = ("control-noop", "control-repeat", "control-repeat-bos")
#: Arms that take the first 8, 32 or 64 of any larger number of inputs.
FIRST = tuple(f"standard/{name}" for name in (*FEW, "control-shuffle", "shift", "no-bos"))
UNWINDOWED = ("standard", "ntk", "untrained")
CHANGES: list[tuple[tuple[str | int, ...], Any, set[str]]] = [
    (("study",), "other", set()),
    (("device",), "cuda", set()),
    (("threads",), 1, set()),
    (("keep_activations",), True, set()),
    (("figures", "formats"), ["png"], set()),
    (("calibration",), {"studies": 100}, {"calibration"}),
    (("seed",), 1, {"inputs", "tabulation", "judgement", "calibration", *arms_of("extraction")}),
    (("dtype",), "bfloat16", arms_of("extraction")),
    (
        ("inputs", "number"),
        64,
        {"inputs", *arms_of("extraction")} - {f"extraction {arm}" for arm in FIRST},
    ),
    (("inputs", "length"), 256, {"inputs"}),
    (("inputs", "start"), "document", {"inputs"}),
    (("inputs", "batch"), 4, arms_of("extraction")),
    (("inputs", "corpus"), "docs", {"corpus"}),
    (("inputs", "source"), "from", {"inputs"}),
    (("bins", "early"), 16, {"extraction standard/control-later", *arms_of("decomposition")}),
    (("anchor",), 31, arms_of("decomposition")),
    (
        ("swap_tokens", 0),
        " a",
        {
            "judgement",
            *arms_of("extraction", "standard/swap-token-1", "standard/control-later"),
            *arms_of("extraction", "standard/exchange-readers", "standard/exchange-others"),
        },
    ),
    (("swap_tokens", 1), " a", {"judgement", *arms_of("extraction", "standard/swap-token-2")}),
    (("swap_tokens", "+"), " queen", {"judgement", "tabulation"}),
    (("statistics", "confidence"), 0.9, {"tabulation", "judgement"}),
    (("statistics", "sign_flips"), 500, {"tabulation"}),
    (("models", 0, "source", "version"), "0.1.3", {"source"}),
    (("models", 0, "source", "file_sha256"), "0" * 64, {"source", "judgement"}),
    (("models", 0, "name"), "other", {"source", "judgement", "tabulation"}),
    (("models", 0, "reading"), "pattern", {"judgement"}),
    (("variants", 1, "rope", "factor"), 4, {"judgement", *arms_of("extraction", "ntk")}),
    (
        ("variants", 2, "window"),
        16,
        {
            "judgement",
            *arms_of("extraction", "window"),
            *arms_of("decomposition", "window"),
            *arms_of("decomposition", *UNWINDOWED),  # which are looked at beyond every window
        },
    ),
    (("variants", 0, "conditions", 19, "inputs"), 64, {"extraction standard/control-shift"}),
    (("variants", 0, "conditions", "+"), "swap-random", {"tabulation"}),
    (("variants", 1, "conditions", "+"), "no-bos", {"tabulation"}),
    (("variants", 1, "conditions", "+"), "swap-mean", {"tabulation", "decomposition ntk/bos"}),
]


@pytest.mark.parametrize(
    ("path", "value", "wanted"), CHANGES, ids=["-".join(map(str, path)) for path, _, _ in CHANGES]
)
def test_a_key_changes_the_slices_that_depend_on_it(path, value, wanted):
    if path[:2] == ("variants", 0) and path[-1] == "inputs":
        value, path = {"name": "control-shift", "inputs": value}, path[:-1]
    before, after = slices(layout()), slices(layout(changed(path, value)))
    assert {key for key in before if before[key] != after.get(key)} == wanted


def test_every_key_of_the_config_was_tried():
    tried = {str(path[0]) for path, _, _ in CHANGES}
    # no result depends on how a cluster is asked
    assert {key for key in Study.model_fields if not key.startswith("slurm")} == tried


def test_slices_are_plain_values():
    """Snakemake compares params by their text; YAML must give back what it is given."""
    for value in slices(layout()).values():
        assert yaml.safe_load(yaml.safe_dump(value)) == value


def test_a_new_token_adds_an_arm():
    more = layout(changed(("swap_tokens", "+"), " queen"))
    added = set(more.arms(MODEL)) - set(layout().arms(MODEL))
    assert added == {("standard", "swap-token-5")}
    assert more.tabulation(MODEL)["arms"] == [list(arm) for arm in more.arms(MODEL)]


def test_an_extraction_knows_its_own_token_and_no_other():
    exchanges = ["bos", "swap-token", "exchange-readers", "exchange-others", "silence-top"]
    variants = [*config()["variants"], {"name": "w", "window": 8, "conditions": exchanges}]
    found = layout(config(variants=variants))
    tokens = found.study.swap_tokens
    for variant, condition in found.arms(MODEL):
        given = found.extraction(MODEL, variant, condition)
        first = condition == "control-later" or condition.startswith("exchange-")
        number = 1 if first else int(condition[11:]) if condition[:11] == "swap-token-" else None
        assert given["token"] == (None if number is None else tokens[number - 1])
        assert set(map(str, given.values())).isdisjoint({*tokens} - {given["token"]})
        assert given["condition"] == condition


# paths


def test_every_path_lies_in_the_results_of_the_study():
    found = layout(config(study="a.b-c_1"))
    assert found.results == "results/a.b-c_1"
    paths = [found.store(stage) for stage in ("activations", "components")]
    for name in FIGURES:
        paths += found.figure_tables(name) + found.figure_stores(name)
        paths += found.figure_stores(name, ".manifest.json")
    for path in paths:
        assert path.startswith("results/a.b-c_1/")
        assert ".." not in Path(path).parts
    assert Path(paths[0]).parts[2:] == (
        "activations",
        "{model}",
        "{revision}",
        "{variant}",
        "{condition}",
    )


@pytest.mark.parametrize("figure", ONLY_WITH)
def test_a_figure_that_would_show_nothing_is_left_out(figure):
    def figures(*conditions: str) -> tuple[str, ...]:
        variants = [{"name": "standard", "conditions": ["bos", "swap-token", *conditions]}]
        return layout(config(variants=variants)).figures()

    assert figure not in figures()
    for condition in ONLY_WITH[figure]:
        assert figure in figures(condition)


@pytest.mark.parametrize("name", ["../up", "a/b", "/tmp", ".", "..", ".hidden", "a b", "", "~"])
@pytest.mark.parametrize("path", [("study",), ("models", 0, "name"), ("variants", 1, "name")])
def test_no_name_leads_out_of_results(name, path):
    with pytest.raises(ValueError, match=r"name: |study: "):
        layout(changed(path, name))


def test_the_corpus_is_every_file_of_its_folder(tmp_path):
    (tmp_path / "texts" / "more").mkdir(parents=True)
    for name in ("b.jsonl", "a.jsonl", "c.txt", "more/d.parquet", "README.md", ".hidden"):
        (tmp_path / "texts" / name).touch()

    def files(corpus):
        return Layout(load_study(changed(("inputs", "corpus"), corpus)), tmp_path).corpus()

    assert files("texts") == [
        "texts/a.jsonl",
        "texts/b.jsonl",
        "texts/c.txt",
        "texts/more/d.parquet",
    ]
    assert files("texts/a.jsonl") == ["texts/a.jsonl"]
    assert files("nowhere") == []


def test_a_corpus_outside_the_project_is_found(tmp_path, monkeypatch):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.jsonl").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in (str(tmp_path / "texts"), "~/texts"):
        found = Layout(load_study(changed(("inputs", "corpus"), folder)), tmp_path / "project")
        assert found.corpus() == [str(tmp_path / "texts" / "a.jsonl")]
        assert found.corpus_folder() == str(tmp_path / "texts")


def test_tokens_to_swap_are_those_that_a_model_reads():
    assert layout().swap_tokens(MODEL) == list(layout().study.swap_tokens)
    reading = ["swap-token", "control-later", "exchange-readers", "exchange-others"]
    without = changed(("models", 0, "without"), reading)
    assert layout(without).swap_tokens(MODEL) == []


def test_the_corpus_that_is_shipped_is_found():
    assert layout().corpus() == []
    found = layout().shipped_corpus()
    assert found
    assert all((ROOT / path).is_file() for path in found)


# models and revisions


def test_revisions_of_a_hub_model_are_the_configs():
    models = [{"name": "a", "source": HUB}, {"name": "b", "source": HUB | {"revisions": ["x"]}}]
    found = layout(config(models=models))
    assert found.models() == [("a", "main"), ("a", "step1000"), ("b", "x")]
    assert found.judgement()["models"] == [["a", "main"], ["a", "step1000"], ["b", "x"]]
    assert "revisions" not in found.source("a", "main"), (
        "another revision must not fetch this one again"
    )


def test_the_revision_of_a_packaged_model_is_its_files_digest():
    assert layout().models()[0] == (MODEL, DIGEST[:12])


@pytest.mark.parametrize("kind", ["random", "synthetic"])
def test_the_revision_of_a_made_up_model_is_its_seed(kind):
    assert revision_of({"type": kind, "seed": 7}) == "seed-7"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"a": 1}')
    (tmp_path / "model" / "model.safetensors").write_bytes(bytes(100))
    return tmp_path


def local(folder: Path, path: str = "model") -> str:
    return revision_of({"type": "local", "path": path}, folder)


def test_the_revision_of_a_local_model_follows_its_files(folder):
    before = local(folder)
    assert before.startswith("local-")
    assert len(before) == 18
    assert local(folder) == before
    assert revision_of({"type": "local", "path": str(folder / "model")}) == before
    (folder / "model" / "config.json").write_text('{"a": 2}')
    other = local(folder)
    (folder / "model" / "model.safetensors").write_bytes(bytes(101))
    third = local(folder)
    (folder / "model" / "tokenizer.json").touch()
    assert len({before, other, third, local(folder)}) == 4


def test_a_local_file_is_a_model_too(folder):
    (folder / "one.gguf").write_bytes(bytes(10))
    (folder / "two.gguf").write_bytes(bytes(20))
    assert local(folder, "one.gguf") != local(folder, "two.gguf")


# runs


def test_runs_are_the_studys():
    models = [{"name": name, "source": HUB} for name in ("a", "b")]
    found = layout(config(models=models))
    everything = [run for name in ("a", "b") for run in found.runs(name)]
    assert everything == list(found.study.runs())
    assert found.arms("a") == [(run.variant, run.condition) for run in found.runs("a")]
    assert found.number("b", "standard", "control-noop") == 8
    assert found.number("b", "standard", "bos") == 128


def test_models_of_random_weights_are_named_to_the_judges():
    made = config()
    models = [made["models"][0], {"name": "toy", "source": {"type": "random"}}]
    of = layout(made | {"models": models})
    assert of.judgement()["random"] == ["toy"]
    assert [of.choices(m["name"])["random"] for m in models] == [False, True]
    assert "random" not in of.truth()


def test_what_is_compared_with_bos():
    found = layout()
    for variant, condition in found.arms(MODEL):
        kinds = ("swap-", "ablate-", "control-", "exchange-", "silence-", "unsink-")
        compared = condition.startswith(kinds) and condition not in FEW
        assert found.reference(MODEL, variant, condition) == ("bos" if compared else None)
        assert found.is_reference(MODEL, variant, condition) == (
            condition == "bos" and variant in ("standard", "window")
        )


def test_the_partner_of_a_pair_is_bos():
    """It reads the activations of bos, and its own fields are compared with nothing."""
    found = layout()
    partners = {condition: found.partner(condition) for _, condition in found.arms(MODEL)}
    assert {name for name, partner in partners.items() if partner} == {"shift"}
    assert partners["shift"] == "bos"
    assert found.reference(MODEL, "standard", "shift") is None


def test_figures_of_pairs_and_repeats_need_them():
    everything = layout().figures()
    assert {"factorial", "controls"} <= set(everything)
    assert {"factorial", "controls"}.isdisjoint(conditions("bos", "no-bos").figures())
    assert "repeats" in conditions("bos", "control-repeat").figures()
    assert "factorial" in conditions("bos", "shift").figures()


def conditions(*entries: Any) -> Layout:
    variant = {"name": "standard", "conditions": list(entries)}
    return layout(config(variants=[variant], models=config()["models"]))


def test_arms_of_other_numbers_of_inputs_are_not_compared():
    found = conditions("bos", {"name": "swap-mean", "inputs": 64}, "ablate-zero")
    assert found.reference(MODEL, "standard", "swap-mean") is None
    assert found.reference(MODEL, "standard", "ablate-zero") == "bos"


def test_arms_of_the_same_few_inputs_are_compared():
    found = conditions({"name": "bos", "inputs": 64}, {"name": "swap-mean", "inputs": 64})
    assert found.reference(MODEL, "standard", "swap-mean") == "bos"
    assert found.decomposition(MODEL, "standard", "bos")["keep_fields"]


def test_nothing_is_compared_where_nothing_is_swapped():
    found = conditions("bos", "no-bos", {"name": "control-noop", "inputs": 8})
    assert not found.is_reference(MODEL, "standard", "bos")
    assert not found.decomposition(MODEL, "standard", "bos")["keep_fields"]


def test_windows():
    """An arm with a window is looked at beyond its own, the others beyond each of the study."""
    made = changed(("variants", "+"), {"name": "narrow", "window": 16, "conditions": ["bos"]})
    found = layout(made)
    assert found.windows() == [16, 32]
    for variant, wanted in (("window", [32]), ("narrow", [16]), ("ntk", [16, 32])):
        assert found.decomposition(MODEL, variant, "bos")["windows"] == wanted


# figures


@pytest.mark.parametrize("name", FIGURES)
def test_tables_of_figures_are_made_by_some_rule(name):
    names = (*TABLES, "swaps", "changes", "controlled_effects", "sensitivity")
    made = {f"results/default/statistics/{table}.csv" for table in names}
    assert set(layout().figure_tables(name)) <= made | {"results/default/claims.csv"}


def test_stores_of_figures_are_those_of_arms_that_run():
    models = [{"name": "a", "source": HUB}]
    found = layout(config(models=models))
    assert found.figure_stores("attention_rows") == [
        f"results/default/components/a/{revision}/standard/bos.zarr"
        for revision in ("main", "step1000")
    ]
    without = config(variants=[{"name": "other", "window": 16, "conditions": ["bos"]}])
    assert layout(without).figure_stores("attention_rows") == []


def test_stores_of_figures_are_those_of_no_bos_where_a_model_has_no_bos():
    source = {"type": "random"}
    models = [{"name": "a", "source": source}, {"name": "b", "source": source, "without": ["bos"]}]
    variants = [{"name": "standard", "conditions": ["bos", "no-bos"]}]
    found = layout(config(models=models, variants=variants)).figure_stores("attention_rows")
    assert [path.removeprefix("results/default/components/") for path in found] == [
        "a/seed-0/standard/bos.zarr",
        "b/seed-0/standard/no-bos.zarr",
    ]
