"""The config: its defaults, its mistakes, its schema and its reference."""

import copy
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from snakemake.utils import update_config

from abspos.planning.layout import Layout
from abspos.study.conditions import CONDITIONS
from abspos.study.config import (
    ConfigError,
    Run,
    Study,
    load_study,
    reference,
    schema,
)
from abspos.study.nearest import nearest

ROOT = Path(__file__).parents[2]
MODEL = "smollm2-135m"
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
KEY = r"""(?:[\w.\-\[\]#]+|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")+"""  # odd keys are quoted
KEY_FIRST = re.compile(rf"^{KEY}: (value .+ — .+|missing — .+|unknown key — .+)$", re.ASCII)


def mistakes(config: Any) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load_study(config)
    assert str(error.value).splitlines() == list(error.value.mistakes)
    return list(error.value.mistakes)


def changed(*path: Any, value: Any) -> dict[str, Any]:
    """The default config with one value changed."""
    config = copy.deepcopy(DEFAULT)
    place = config
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return config


def tiny(**keys: Any) -> dict[str, Any]:
    """The least that a config needs."""
    return {
        "models": [{"name": "tiny", "source": {"type": "random"}}],
        "variants": [{"name": "standard"}],
        **keys,
    }


def test_default_study_plans_the_arms_of_the_method() -> None:
    study = load_study(DEFAULT)
    arms = [(run.variant, run.condition) for run in study.runs() if run.model == MODEL]
    swaps = [("standard", f"swap-token-{k}") for k in (1, 2, 3, 4)]
    few = ("control-noop", "control-repeat", "control-repeat-bos")
    assert arms == [
        ("standard", "bos"),
        ("standard", "no-bos"),
        ("standard", "ablate-zero"),
        ("standard", "swap-mean"),
        *swaps,
        ("standard", "shift"),
        ("standard", "control-shuffle"),
        *(("standard", control) for control in few),
        ("standard", "exchange-readers"),
        ("standard", "exchange-others"),
        *(("standard", f"silence-{heads}") for heads in ("top", "bottom", "all")),
        *(("standard", f"unsink-{part}") for part in ("key", "value", "both")),
        ("ntk", "bos"),
        ("window", "bos"),
        ("window", "ablate-zero"),
        ("untrained", "bos"),
        ("untrained-window", "bos"),
    ]
    inputs = {(r.variant, r.condition): r.inputs for r in study.runs() if r.model == MODEL}
    fewer = dict.fromkeys((("standard", name) for name in few), 8) | {("standard", "shift"): 32}
    fewer |= {a: 32 for a in arms if a[1].startswith(("silence", "unsink"))}
    fewer |= {a: 64 for a in arms if a[1].startswith(("exchange", "no-bos", "control-shuffle"))}
    assert inputs == dict.fromkeys(arms, 128) | fewer
    assert not study.preliminary


def test_the_second_model_of_the_default_study_has_what_its_claims_need() -> None:
    study = load_study(DEFAULT)
    first, second = (
        {(r.variant, r.condition) for r in study.runs() if r.model == m.name} for m in study.models
    )
    assert first - second == {("standard", "ablate-zero"), ("standard", "swap-mean")} | {
        ("window", "ablate-zero")
    }
    assert second < first


def test_a_bos_policy_is_for_the_condition_that_reads_it() -> None:
    changed = {"inputs": {"bos": "prepend"}}
    (line,) = mistakes(tiny(**changed))
    assert line.startswith("inputs.bos: value 'prepend' — auto, unless a variant has the condition")
    study = load_study(
        tiny(**changed, variants=[{"name": "standard", "conditions": ["as-is", "no-bos"]}])
    )
    given = [Layout(study).extraction("tiny", "standard", c) for c in ("as-is", "no-bos")]
    assert [arm.get("bos") for arm in given] == ["prepend", None]


def test_models_of_a_study_may_be_without_conditions_that_it_has_not() -> None:
    models = [{"name": "tiny", "source": {"type": "random"}, "without": ["ablate-zero"]}]
    assert len(load_study(tiny(models=models)).runs()) == 1
    models[0]["without"] = ["ablate-zeros"]
    (line,) = mistakes(tiny(models=models))
    assert "did you mean 'ablate-zero'?" in line


def test_quick_study_merges_over_the_default() -> None:
    config = copy.deepcopy(DEFAULT)
    update_config(config, yaml.safe_load((ROOT / "studies/quick.yaml").read_text()))
    quick, default = load_study(config), load_study(DEFAULT)
    assert quick.preliminary
    assert (quick.study, quick.inputs.number) == ("quick", 16)
    same = {"study": default.study, "inputs": default.inputs, "threads": default.threads}
    same["models"] = default.models
    assert quick.models == default.models[:1]
    assert quick.model_copy(update=same) == default


def test_merging_joins_mappings_and_replaces_lists() -> None:
    config = copy.deepcopy(DEFAULT)
    update_config(
        config, {"inputs": {"batch": 2}, "swap_tokens": ["a"], "variants": tiny()["variants"]}
    )
    study = load_study(config)
    assert study.inputs.batch == 2
    assert study.inputs.number == 128
    assert study.swap_tokens == ("a",)
    assert [variant.name for variant in study.variants] == ["standard"]


def test_least_config_takes_the_defaults() -> None:
    study = load_study(tiny())
    assert study.runs() == (Run("tiny", "standard", "bos", 128),)
    assert study.model("tiny").source.type == "random"
    assert study.variant("standard").window is None
    with pytest.raises(KeyError):
        study.variant("ntk")


def test_defaults_agree_with_the_shipped_config() -> None:
    default, bare = load_study(DEFAULT), load_study(tiny())
    for key in set(Study.model_fields) - {"models", "variants", "swap_tokens"}:
        assert getattr(bare, key) == getattr(default, key), key


def test_round_trip() -> None:
    study = load_study(DEFAULT)
    assert load_study(study.model_dump(mode="json")) == study
    assert load_study(yaml.safe_load(yaml.safe_dump(study.model_dump(mode="json")))) == study


def test_study_never_changes() -> None:
    study = load_study(DEFAULT)
    with pytest.raises(ValueError, match="frozen"):
        study.seed = 1  # type: ignore[misc]
    assert hash(study) == hash(load_study(DEFAULT))


def test_reading_the_config_leaves_it_as_it_was() -> None:
    config = copy.deepcopy(DEFAULT)
    load_study(config)
    assert config == DEFAULT


LONG = {"rope_type": "longrope", "short_factor": [1, 1.5], "long_factor": [2, 3]}
ROPES: list[dict[str, Any]] = [
    {"rope_type": "ntk", "factor": 0.5},
    {"rope_type": "linear", "factor": 4},
    {"rope_type": "dynamic", "factor": 2.0},
    {"rope_type": "yarn", "factor": 4, "beta_fast": 16, "truncate": False},
    {"rope_type": "yarn", "factor": 1, "attention_factor": 1.5},
    {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 2},
    LONG,
]


@pytest.mark.parametrize("rope", ROPES)
def test_rope_keeps_the_keys_that_were_given(rope: dict[str, Any]) -> None:
    study = load_study(tiny(variants=[{"name": "scaled", "rope": rope}]))
    change = study.variant("scaled").rope
    assert change is not None
    assert rope.items() <= change.parameters().items()
    assert None not in change.parameters().values()


SOURCES: list[dict[str, Any]] = [
    {"type": "hub", "repo": "org/name-1.0"},
    {"type": "hub", "repo": "gpt2", "revisions": ["main", "refs/pr/1", "step-1000", "v1.0"]},
    {"type": "local", "path": "/models/with space/checkpoint"},
    {"type": "random", "family": "qwen3", "heads": 6, "kv_heads": 3},
]


@pytest.mark.parametrize("source", SOURCES)
def test_sources(source: dict[str, Any]) -> None:
    found = load_study(tiny(models=[{"name": "a", "source": source}])).model("a").source
    assert found.model_dump(mode="json").items() >= source.items()


def variants(*entries: dict[str, Any]) -> dict[str, Any]:
    return tiny(variants=[{"name": "standard"}, *entries])


def scaled(rope: Any) -> dict[str, Any]:
    return variants({"name": "n", "rope": rope})


def hub(*revisions: Any) -> dict[str, Any]:
    return source(type="hub", repo="a/b", revisions=list(revisions))


def source(**keys: Any) -> dict[str, Any]:
    return tiny(models=[{"name": "m", "source": keys}])


def arms(*conditions: Any, **keys: Any) -> dict[str, Any]:
    return tiny(variants=[{"name": "standard", "conditions": list(conditions)}], **keys)


DIGEST = "0" * 64
PACKAGED = DEFAULT["models"][0]["source"]

# One mistake each: the config, the key it is told at, what the line must say.
ONE: list[tuple[dict[str, Any], str, str]] = [
    # unknown keys
    (tiny(sede=1), "sede", "unknown key — one of study, seed"),
    (tiny(sede=1), "sede", "did you mean 'seed'?"),
    (tiny(Seed=1), "Seed", "did you mean 'seed'?"),
    (tiny(inputs={"lenght": 64}), "inputs.lenght", "did you mean 'length'?"),
    (variants({"name": "w", "windw": 8, "untrained": True}), "variants[w].windw", "'window'"),
    (source(type="random", layer=1), "models[m].source.layer", "did you mean 'layers'?"),
    (tiny(**{"two\nlines": 1}), r"'two\nlines'", "unknown key"),
    # wrong types
    (tiny(seed="1"), "seed", "value '1' — a whole number, at least 0"),
    (tiny(seed="1"), "seed", "did you mean 1?"),
    (tiny(seed=True), "seed", "value True — a whole number"),
    (tiny(seed=1.5), "seed", "value 1.5 — a whole number"),
    (tiny(seed=None), "seed", "value None — a whole number"),
    (tiny(study=2024), "study", "did you mean '2024'?"),
    (tiny(keep_activations="yes"), "keep_activations", "did you mean True?"),
    (tiny(keep_activations=1), "keep_activations", "true or false"),
    (tiny(inputs=[]), "inputs", "a mapping with the keys corpus, text, id"),
    (tiny(inputs={"corpus": ""}), "inputs.corpus", "a path"),
    (tiny(swap_tokens=" the"), "swap_tokens", "a list"),
    (tiny(swap_tokens=[" the", 3]), "swap_tokens[#2]", "did you mean '3'?"),
    (tiny(models=[]), "models", "a list of one or more"),
    (tiny(models=[3]), "models[#1]", "a mapping with the keys name, source"),
    (tiny(statistics={"confidence": 95}), "statistics.confidence", "above 0, below 1"),
    (tiny(statistics={"confidence": float("nan")}), "statistics.confidence", "a number"),
    (tiny(figures={"formats": ["pfd"]}), "figures.formats[#1]", "did you mean 'pdf'?"),
    (tiny(figures={"formats": []}), "figures.formats", "a list of one or more"),
    (tiny(device="gpu"), "device", "value 'gpu' — one of cpu, cuda"),
    (tiny(device="mps"), "device", "value 'mps' — one of cpu, cuda"),
    (tiny(device="cuad"), "device", "did you mean 'cuda'?"),
    (tiny(dtype="float23"), "dtype", "did you mean 'float32'?"),
    # out of range
    (tiny(seed=-1), "seed", "at least 0"),
    (tiny(seed=2**32), "seed", "at most 4294967295"),
    (tiny(inputs={"number": 7}), "inputs.number", "value 7 — a whole number, at least 8"),
    (tiny(inputs={"length": 127}), "inputs.length", "value 127 — a whole number, at least 8, even"),
    (tiny(bins={"early": 1}), "bins.early", "at least 2"),
    (tiny(bins={"early": 64}), "bins.early", "value 64 — below 64, half of inputs.length (128)"),
    (tiny(anchor=64), "anchor", "below 64, half of inputs.length (128)"),
    # variants
    (variants({"name": "w", "window": 0}), "variants[w].window", "value 0 — a whole number, at"),
    (variants({"name": "w", "window": 128}), "variants[w].window", "inert"),
    (variants({"name": "s"}), "variants[s].name", "they are the same"),
    (variants({"name": "standard", "window": 8}), "variants[#2].name", "a name of its own"),
    (variants({"name": "Standard", "window": 8}), "variants[Standard].name", "of its own"),
    (scaled({"rope_type": "ntk", "factor": 1}), "variants[n].rope.factor", "inert"),
    (scaled({"rope_type": "ntk", "factor": 0}), "variants[n].rope.factor", "above 0"),
    (scaled({"rope_type": "ntk"}), "variants[n].rope.factor", "missing"),
    (scaled({"factor": 8}), "variants[n].rope.rope_type", "missing — one"),
    (scaled({"rope_type": "ntkk", "factor": 8}), "variants[n].rope.rope_type", "'ntk'?"),
    (scaled("ntk"), "variants[n].rope", "a mapping with rope_type: one of"),
    (
        scaled({"rope_type": "ntk", "factor": 8, "beta_fast": 1}),
        "variants[n].rope.beta_fast",
        "unknown key — one of rope_type, factor",
    ),
    (
        scaled({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4}),
        "variants[n].rope.high_freq_factor",
        "above low_freq_factor",
    ),
    (
        scaled({**LONG, "long_factor": [2]}),
        "variants[n].rope.long_factor",
        "as many as short_factor (2)",
    ),
    # conditions
    (arms("bos", "no_bos"), "variants[standard].conditions[#2]", "did you mean 'no-bos'?"),
    (arms("bos", "swap-token-1"), "variants[standard].conditions[#2]", "'swap-token'?"),
    (arms("bos", {"name": "no_bos"}), "variants[standard].conditions[no_bos].name", "'no-bos'?"),
    (arms("bos", "bos"), "variants[standard].conditions[#2]", "once in a variant"),
    (arms(), "variants[standard].conditions", "a list of one or more"),
    (arms("bos", None), "variants[standard].conditions[#2]", "a condition's name, or a mapping"),
    (arms("bos", "swap-token"), "variants[standard].conditions[#2]", "under swap_tokens"),
    (arms("bos", "control-later"), "variants[standard].conditions[#2]", "under swap_tokens"),
    (arms("swap-mean"), "variants[standard].conditions", "swap-mean is compared with it"),
    (arms("no-bos", "ablate-zero"), "variants[standard].conditions", "with bos among them"),
    (
        arms("bos", {"name": "control-noop", "inputs": 1}),
        "variants[standard].conditions[control-noop].inputs",
        "at least 3",
    ),
    (
        arms("bos", {"name": "no-bos", "inputs": 7}),
        "variants[standard].conditions[no-bos].inputs",
        "at least 8",
    ),
    (
        arms({"name": "bos", "inputs": 8}, "swap-mean"),
        "variants[standard].conditions[bos].inputs",
        "at least 128, the inputs of swap-mean",
    ),
    # names become paths
    *[
        (tiny(study=name), "study", "a letter or digit first")
        for name in (
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            ".hidden",
            "-flag",
            "a b",
            "a\n",
            "ä",
            "a" * 65,
            "~",
            "a:b",
        )
    ],
    *[
        (
            tiny(models=[{"name": name, "source": {"type": "random"}}]),
            "models[",
            "a letter or digit",
        )
        for name in ("../x", "/x", "x/", "..")
    ],
    *[
        (variants({"name": name, "window": 8}), "variants[", "a letter or digit first")
        for name in ("../x", "{x}", "*", "..")
    ],
    (tiny(study="checkpoints"), "study", "which is taken"),
    (tiny(study="x.csv"), "study", "without the ending of a file"),
    # sources
    (source(type="hugging"), "models[m].source.type", "packaged, hub, local, random, synthetic"),
    (source(type="locl", path="x"), "models[m].source.type", "did you mean 'local'?"),
    (source(path="x"), "models[m].source.type", "missing — one of packaged, hub"),
    (source(type="hub"), "models[m].source.repo", "missing — a repository's name"),
    (source(type="hub", repo="../x"), "models[m].source.repo", "a repository's name"),
    (source(type="hub", repo="a/b/c"), "models[m].source.repo", "a repository's name"),
    (hub(), "models[m].source.revisions", "one or more"),
    (hub("a", "a"), "models[m].source.revisions[#2]", "once"),
    (hub("a/b", "c", "a--b"), "models[m].source.revisions[#3]", "than that of 'a/b'"),
    (hub("a,b", "a/b"), "models[m].source.revisions[#2]", "than that of 'a,b'"),
    (hub("Step1", "step1"), "models[m].source.revisions[#2]", "than that of 'Step1'"),
    (hub("a/../b"), "models[m].source.revisions[#1]", "a tag"),
    (hub("--x"), "models[m].source.revisions[#1]", "a branch"),
    (hub(1000), "models[m].source.revisions[#1]", "'1000'?"),
    (source(type="random", heads=3), "models[m].source.heads", "a multiple of kv_heads (2)"),
    (source(type="random", kv_heads=3), "models[m].source.heads", "a multiple of kv_heads (3)"),
    (source(type="random", family="lama"), "models[m].source.family", "did you mean 'llama'?"),
    (source(**PACKAGED | {"version": 0.1}), "models[m].source.version", "did you mean '0.1'?"),
    (source(**PACKAGED | {"version": ">=1"}), "models[m].source.version", "one exact version"),
    (source(**PACKAGED | {"package": "--index-url=x"}), "models[m].source.package", "a package"),
    (source(**PACKAGED | {"file": "../x.gguf"}), "models[m].source.file", "a relative path"),
    (source(**PACKAGED | {"file": "/x.gguf"}), "models[m].source.file", "a relative path"),
    (source(**PACKAGED | {"sha256": "abc"}), "models[m].source.sha256", "a SHA-256"),
]


def test_keys_of_a_corpus_are_refused_where_a_data_set_is_read() -> None:
    data = {"repo": "org/texts", "files": ["a.jsonl"], "id": "name"}
    load_study(tiny(inputs={"dataset": data, "id": "id"}))
    assert mistakes(tiny(inputs={"dataset": data, "id": "name"})) == [
        "inputs.id: value 'name' — of inputs.corpus, which inputs.dataset replaces; "
        "give inputs.dataset.id"
    ]


@pytest.mark.parametrize(("config", "key", "text"), ONE)
def test_one_mistake_is_told_in_one_line(config: dict[str, Any], key: str, text: str) -> None:
    lines = mistakes(config)
    assert len(lines) == 1, lines
    assert lines[0].startswith(key), lines
    assert text in lines[0]


@pytest.mark.parametrize(("number", "few", "half"), [(128, 32, 64), (48, 32, 24), (16, 16, 8)])
def test_a_condition_has_as_many_inputs_as_the_study_can_give(number, few, half) -> None:
    conditions = ["bos", {"name": "shift", "inputs": 32}, "exchange-all"]
    config = tiny(
        inputs={"number": number},
        swap_tokens=["a"],
        variants=[{"name": "standard", "conditions": conditions}],
    )
    found = {run.condition: run.inputs for run in load_study(config).runs()}
    assert found == {"bos": number, "shift": few, "exchange-all": half}


@pytest.mark.parametrize("key", ["models", "variants"])
def test_what_has_no_default_is_missed(key: str) -> None:
    config = tiny()
    del config[key]
    assert [line.split(" — ")[0] for line in mistakes(config)] == [f"{key}: missing"]


def test_a_config_that_is_no_mapping() -> None:
    configs: list[Any] = [None, [], "x", 3]
    for config in configs:
        assert mistakes(config)[0].startswith("config: value ")


def test_every_mistake_is_told_at_once() -> None:
    config = copy.deepcopy(DEFAULT)
    config["sed"] = 1
    config["study"] = "a/b"
    config["inputs"]["number"] = 4
    config["anchor"] = 99
    config["swap_tokens"] = []
    config["variants"][0]["conditions"][1] = "nobos"
    config["variants"][1]["rope"]["factor"] = 1
    config["variants"][2]["window"] = 128
    config["variants"][3]["untrained"] = "on"
    config["variants"].append({"name": "other", "windo": 3, "conditions": ["swap-mean"]})
    config["models"].append({"name": "hubby", "source": {"type": "hub", "repos": "a/b"}})
    assert [line.split(":")[0] for line in mistakes(config)] == [
        "study",
        "models[hubby].source.repo",
        "models[hubby].source.repos",
        "inputs.number",
        "variants[standard].conditions[#2]",
        "variants[untrained].untrained",
        "variants[other].windo",
        "sed",
        "anchor",
        "variants[ntk].rope.factor",
        "variants[window].window",
        "variants[standard].conditions[#5]",
        "variants[standard].conditions[#11]",
        "variants[standard].conditions[#12]",
        "variants[other].conditions",
    ]


@pytest.mark.parametrize("wrong", [{"length": "512"}, {"lenght": 512}, {"length": None}])
def test_no_mistake_follows_from_another(wrong: dict[str, Any]) -> None:
    """A window of 256 is inert at the default length, but that is not the length that was meant."""
    config = variants({"name": "wide", "window": 256}) | {"inputs": wrong, "anchor": 100}
    assert len(mistakes(config)) == 1


def test_values_are_quoted_and_shortened() -> None:
    assert len(mistakes(tiny(device="x" * 10000))[0]) < 150
    assert len(mistakes(tiny(inputs=[list(range(100))] * 100))[0]) < 200
    assert "a very large int" in mistakes(tiny(device=10**5000))[0]
    assert r"'a\nb'" in mistakes(tiny(device="a\nb"))[0]


@pytest.mark.parametrize(
    ("word", "options", "meant"),
    [
        ("gpu", ["cpu", "cuda"], None),
        ("mps", ["cpu", "cuda"], None),
        ("ablate-mean", CONDITIONS, None),
        ("control-foo", CONDITIONS, None),
        ("exchange-heads", CONDITIONS, None),
        ("swap", CONDITIONS, None),
        ("control-nop", CONDITIONS, "control-noop"),
        ("exchange-reader", CONDITIONS, "exchange-readers"),
        ("swaptoken", CONDITIONS, "swap-token"),
        ("NO_BOS", CONDITIONS, "no-bos"),
        ("pfd", ["pdf", "svg", "png"], "pdf"),
        ("", ["a"], None),
        (3, ["3"], None),
        ("a", [], None),
    ],
)
def test_what_is_meant_by_a_mistyped_word(
    word: Any, options: Iterable[str], meant: str | None
) -> None:
    assert nearest(word, options) == meant


NAMES = sorted({*CONDITIONS, *Study.model_fields, "cpu", "cuda", "pdf", "svg", "png", "ntk"})


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=12)
    | st.sampled_from(NAMES).flatmap(
        lambda name: st.permutations(name).map("".join) | st.text(alphabet=name, max_size=12)
    )
    | st.tuples(st.sampled_from(NAMES), st.text(max_size=6)).map(
        lambda pair: pair[0].rpartition("-")[0] + "-" + pair[1]
    )
)
def test_no_suggestion_shares_little_with_what_was_typed(word: str) -> None:
    meant = nearest(word, NAMES)
    if meant is not None:
        shared = Counter(word.casefold()) & Counter(meant)
        assert shared.total() >= 0.6 * max(len(word), len(meant))
        ends = [text.casefold().replace("_", "-").rpartition("-") for text in (word, meant)]
        if ends[0][0] == ends[1][0] != "":  # a beginning in common says nothing of the rest
            shared = Counter(ends[0][2]) & Counter(ends[1][2])
            assert shared.total() >= 0.6 * max(len(end) for _, _, end in ends)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([name for name in NAMES if len(name) > 4]), st.data())
def test_one_letter_too_few_or_two_in_the_wrong_order_are_seen_through(
    name: str, data: st.DataObject
) -> None:
    inside = [i for i in range(len(name) - 1) if not {"-", "_"} & {name[i], name[i + 1]}]
    place = data.draw(st.sampled_from(inside))
    swapped = name[:place] + name[place + 1] + name[place] + name[place + 2 :]
    fewer = name[:place] + name[place + 1 :]
    for word in (swapped, fewer):
        assert nearest(word, NAMES) is not None, word


WORDS = st.sampled_from(
    ["models", "name", "source", "type", "hub", "random", "variants", "conditions", "rope", "bos"]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | WORDS
    | st.dates()
    | st.binary(max_size=3)
)
JUNK = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            WORDS | st.text(max_size=3) | st.integers() | st.none(), inner, max_size=4
        )
    ),
    max_leaves=8,
)


def paths_below(value: Any) -> list[Any]:
    """The keys or indexes of one mapping or list."""
    if isinstance(value, dict):
        return list(value)
    return list(range(len(value))) if isinstance(value, list) else []


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything in a config."""
    below = [deep for key in paths_below(value) for deep in paths(value[key], (*path, key))]
    return [path, *below]


def only_config_errors(config: Any) -> None:
    told: tuple[str, ...] = ()
    try:
        assert load_study(config).runs()
    except ConfigError as error:
        told = error.mistakes
        assert told
    for line in told:
        assert KEY_FIRST.match(line), line
        assert len(line.splitlines()) == 1, line
        assert "pydantic" not in line


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FUZZ
@given(JUNK)
@example({"models": {"name": 1}, 3: 4, None: 5})
def test_junk_is_refused_in_lines(config: Any) -> None:
    only_config_errors(config)


@FUZZ
@given(st.lists(st.tuples(st.sampled_from(paths(DEFAULT)[1:]), JUNK), min_size=1, max_size=4))
def test_junk_inside_a_good_config_is_refused_in_lines(
    changes: list[tuple[tuple[Any, ...], Any]],
) -> None:
    config = copy.deepcopy(DEFAULT)
    for path, junk in changes:
        place: Any = config
        for step in path[:-1]:  # junk may have taken the place already
            place = place[step] if place and step in paths_below(place) else None
        if isinstance(place, dict | list) and path[-1] in paths_below(place):
            place[path[-1]] = junk
    only_config_errors(config)


@FUZZ
@given(st.sampled_from(paths(DEFAULT)[1:]), st.text(min_size=1, max_size=8))
def test_an_extra_key_is_never_ignored(path: tuple[Any, ...], key: str) -> None:
    config = copy.deepcopy(DEFAULT)
    place = config
    for step in path:
        place = place[step]
    if isinstance(place, dict) and key not in {"rope", "window", "untrained", "inputs"} | set(
        place
    ):
        place[key] = 1
        assert any("unknown key" in line for line in mistakes(config))


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("config.md", reference),
        ("config.schema.json", schema),
        ("study.schema.json", lambda: schema(whole=False)),
    ],
)
def test_committed_files_are_in_step(name: str, made: Callable[[], str]) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == made()


def test_schema_agrees_with_the_loader() -> None:
    validator = jsonschema.Draft202012Validator(json.loads(schema()))
    validator.validate(DEFAULT)
    assert not validator.is_valid(tiny(sede=1))
    assert not validator.is_valid(arms("no_bos"))
    assert not validator.is_valid(tiny(study="a/b"))


def test_the_schema_of_a_study_asks_for_no_key_at_its_top_and_else_for_the_same() -> None:
    whole, part = json.loads(schema()), json.loads(schema(whole=False))
    assert whole.pop("required") == ["models", "variants"]
    assert whole == part


@pytest.mark.parametrize(
    "path", [ROOT / "config.yaml", *sorted(ROOT.glob("studies/**/*.yaml"))], ids=lambda p: p.stem
)
def test_editors_find_a_schema_that_every_study_fits(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    (named,) = re.findall(r"\A# yaml-language-server: \$schema=(\S+)\n", text)
    found = (path.parent / named).resolve()
    assert found.name == f"{'config' if path.stem == 'config' else 'study'}.schema.json"
    jsonschema.validate(yaml.safe_load(text), json.loads(found.read_text(encoding="utf-8")))


def test_reference_tells_every_key() -> None:
    text = reference()

    def keys(node: Any) -> set[str]:
        found = set(node.get("properties", {})) if isinstance(node, dict) else set()
        below = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        return found.union(*(keys(item) for item in below))

    assert all(f"| `{key}` |" in text for key in keys(json.loads(schema())))
    assert all(f"| `{name}` |" in text for name in CONDITIONS)


def test_import_is_light() -> None:
    code = "import sys, abspos.study.config; print(*sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT / "src")},
    )
    heavy = {"torch", "transformers", "numpy", "pandas", "xarray", "zarr", "snakemake"}
    assert not heavy & set(out.stdout.split())


def test_prints_schema_and_reference() -> None:
    command = [sys.executable, "-m", "abspos.study.config"]
    env = {"PYTHONPATH": str(ROOT / "src"), "PYTHONIOENCODING": "utf-8"}
    for name, made in {"schema": schema, "reference": reference}.items():
        done = subprocess.run([*command, name], capture_output=True, check=True, env=env)
        assert done.stdout.decode() == made()
    assert subprocess.run(command, capture_output=True, env=env, check=False).returncode == 1


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            {"revisions": ["main", "main.manifest.json"]},
            "revisions[#2]: value 'main.manifest.json'",
        ),
        ({"revisions": ["main", "main.gap.JSON"]}, "without the ending of a file"),
        ({"tokens": {"mian": 5}}, "tokens: value 'mian' — one of revisions: main; did you mean"),
        ({"tokens": {"main": 5}, "revisions": ["step1"]}, "value 'main' — one of revisions: step1"),
    ],
)
def test_revisions_are_no_names_of_files_and_tokens_are_of_revisions(source, told):
    models = [{"name": "m", "source": {"type": "hub", "repo": "org/a", **source}}]
    with pytest.raises(ConfigError) as error:
        load_study({"models": models, "variants": [{"name": "standard"}]})
    (line,) = error.value.mistakes
    assert told in line
