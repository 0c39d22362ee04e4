"""Training on: stopped and continued is the same to the byte, and other settings never mix."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from abspos.csv_tables import read_csv
from abspos.inputs.records import InputError
from abspos.models import sources
from abspos.models.loading import load, ntk_theta
from abspos.models.sources import ModelError
from abspos.stores import Stored, StoreError, check, write_manifest
from abspos.training import state, trainer
from abspos.training.curves import LOSSES, join
from abspos.training.trainer import Run, Training, train

LENGTH = 32
INPUTS = {
    "length": LENGTH,
    "start": "random",
    "seed": 0,
    "keys": {"text": "text", "id": "id", "source": None},
}
SETTINGS = Training(
    step=4,
    variant={"rope": None, "window": None, "untrained": False},
    batch=2,
    learning_rate=1e-2,
    warmup=2,
    prepend_bos=True,
    seed=0,
    held_out=8,
    inputs=INPUTS,
)
WINDOW = SETTINGS.variant | {"window": 6}
UNTRAINED = SETTINGS.variant | {"untrained": True}
NTK = SETTINGS.variant | {"rope": {"rope_type": "ntk", "factor": 8.0}}


@pytest.fixture(scope="module")
def start(checkpoint, tmp_path_factory) -> Stored:
    folder = tmp_path_factory.mktemp("start")
    shutil.copytree(checkpoint, folder / "0")
    made = Stored(folder / "0", folder / "0.manifest.json")
    write_manifest(*made)
    return made


@pytest.fixture
def trained(start, corpus, tmp_path):
    """trained(step, model=..., **changes): the checkpoint of a step, made anew."""

    def make(step: int, model: str = "m", of: Stored = start, **changes) -> Path:
        others = {k: changes.pop(k) for k in ("every", "code", "texts") if k in changes}
        folder = tmp_path / model / f"step{step}"
        target = Stored(folder, folder.with_name(f"step{step}.manifest.json"))
        settings = replace(SETTINGS, step=step, **changes)
        where = others.pop("texts", corpus)
        # Paths are plain text, as Snakemake hands them to a script.
        of, given, where = Stored(*map(str, of)), Stored(*map(str, target)), str(where)
        train(of, given, where, settings, device="cpu", threads=1, label="m", **others)
        check(*target)
        return folder

    return make


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def updates(monkeypatch) -> list[int]:
    """Steps at which updates were made."""
    made = []
    before = Run.update

    def counted(run: Run) -> None:
        made.append(run.step)
        before(run)

    monkeypatch.setattr(Run, "update", counted)
    return made


def test_the_step_before_training_is_the_model_it_starts_from(trained, start):
    made = trained(0)
    ours, theirs = (load_file(f / "model.safetensors") for f in (made, start.store))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    names = {path.name for path in made.iterdir()}
    assert {path.name for path in start.store.iterdir()} <= names
    assert read_csv(made / LOSSES)["step"].tolist() == [0]


def test_training_lowers_the_loss(trained):
    table = read_csv(trained(12) / LOSSES)
    assert table["step"].tolist() == list(range(13))
    assert table["tokens"].tolist() == [2 * LENGTH * step for step in range(13)]
    held_out = table.set_index("step")["held_out_loss"].dropna()
    assert held_out.index.tolist() == [0, 10, 12]
    assert held_out[12] < held_out[0] - 0.3
    assert table["loss"].isna().tolist() == [False] * 12 + [True]


def test_a_training_that_is_continued_is_one_that_was_not_stopped(trained, updates):
    whole = trained(12, "whole")
    assert updates == list(range(12))
    updates.clear()
    for step in (0, 5, 12):
        last = trained(step, "parts")
    assert updates == list(range(12))
    assert content(last) == content(whole)


@pytest.mark.parametrize("killed", [3, 7])
def test_a_killed_training_continues_from_its_last_state(trained, updates, monkeypatch, killed):
    """States are written after every update here; the kill comes within an update."""
    whole = trained(9, "whole")
    updates.clear()
    loss = Run.loss

    def fail(run, tokens):
        if run.step == killed:
            raise KeyboardInterrupt
        return loss(run, tokens)

    monkeypatch.setattr(Run, "loss", fail)
    with pytest.raises(KeyboardInterrupt):
        trained(9, "killed", every=0.0)
    monkeypatch.setattr(Run, "loss", loss)
    last = trained(9, "killed", every=0.0)
    assert updates == [*range(killed + 1), *range(killed, 9)]
    assert content(last) == content(whole)


def test_a_kill_while_a_state_is_written_leaves_the_state_before(trained, updates, monkeypatch):
    whole = trained(6, "whole")
    write, updates[:] = state.write_atomically, []

    def fail(path, text):
        if json.loads(text)["step"] == 4:
            raise KeyboardInterrupt
        write(path, text)

    monkeypatch.setattr(state, "write_atomically", fail)
    with pytest.raises(KeyboardInterrupt):
        trained(6, "killed", every=0.0)
    monkeypatch.setattr(state, "write_atomically", write)
    assert content(trained(6, "killed")) == content(whole)
    assert updates == [0, 1, 2, 3, 3, 4, 5]


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 2e-2},
        {"batch": 3},
        {"warmup": 1},
        {"seed": 1},
        {"held_out": 9},
        {"prepend_bos": False},
        {"variant": WINDOW},
        {"inputs": INPUTS | {"seed": 1}},
        {"code": ["trainer.py:1"]},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_other_settings_begin_anew_and_never_mix(trained, updates, changes):
    trained(2)
    updates.clear()
    mixed = content(trained(3, **changes))
    assert updates == [0, 1, 2]
    assert mixed == content(trained(3, "alone", **changes))


def test_other_weights_and_other_texts_begin_anew(trained, updates, start, corpus, tmp_path):
    trained(2)
    other = Stored(tmp_path / "other", tmp_path / "other.manifest.json")
    shutil.copytree(start.store, other.store)
    weights = load_file(other.store / "model.safetensors")
    weights["model.norm.weight"] *= 2
    save_file(weights, other.store / "model.safetensors", metadata={"format": "pt"})
    write_manifest(*other)
    updates.clear()
    trained(3, of=other)
    assert updates == [0, 1, 2]
    updates.clear()
    texts = tmp_path / "texts"
    shutil.copytree(corpus, texts)
    lines = (texts / "one.jsonl").read_text(encoding="utf-8").replace("stone", "wood")
    (texts / "one.jsonl").write_text(lines, encoding="utf-8")
    trained(4, of=other, texts=texts)
    assert updates == [0, 1, 2, 3]


def test_an_altered_state_is_not_continued(trained, updates, tmp_path, lines):
    trained(2)
    (file,) = (tmp_path / state.STATES / "m").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\0")
    updates.clear()
    trained(3)
    assert updates == [0, 1, 2]
    assert any("begins anew" in line for line in lines())


def test_an_earlier_step_leaves_the_state_of_a_later_one(trained, updates):
    trained(6)
    updates.clear()
    trained(3)
    assert updates == [0, 1, 2]
    updates.clear()
    trained(7)
    assert updates == [6]


def test_one_state_is_kept_and_nothing_half_written(trained, tmp_path):
    folder = tmp_path / state.STATES / "m"
    folder.mkdir(parents=True)
    (folder / ".step1.safetensors.0000aaaa.partial").write_bytes(b"of a killed job")
    trained(3, every=0.0)
    assert sorted(p.name for p in folder.iterdir()) == ["state.json", "step3.safetensors"]


def test_random_weights_follow_the_seed(trained, start):
    folders = [
        trained(0, f"m{seed}", variant=UNTRAINED, seed=seed) / "model.safetensors"
        for seed in (1, 1, 2)
    ]
    first, second, other = (load_file(folder) for folder in folders)
    own = load_file(start.store / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj.weight"
    assert torch.equal(first[name], second[name])
    assert not torch.equal(first[name], other[name])
    assert not torch.equal(first[name], own[name])


def test_the_checkpoint_carries_its_architecture(trained, start):
    window = AutoConfig.from_pretrained(trained(1, "window", variant=WINDOW))
    assert (window.model_type, window.sliding_window) == ("mistral", 6)
    ntk = AutoConfig.from_pretrained(trained(1, "ntk", variant=NTK))
    before = AutoConfig.from_pretrained(start.store).rope_parameters["rope_theta"]
    assert ntk.rope_parameters["rope_theta"] == pytest.approx(ntk_theta(before, 8.0, 8))


def test_training_sees_the_window(trained, start):
    """The loss before any update is that of the variant as extractions apply it, and no other."""
    found = {}
    for name, variant in (("standard", SETTINGS.variant), ("window", WINDOW), ("ntk", NTK)):
        found[name] = read_csv(trained(1, name, variant=variant) / LOSSES)["loss"][0]
    assert len({round(loss, 6) for loss in found.values()}) == 3


def test_the_learning_rate_follows_from_the_step_alone():
    rates = [replace(SETTINGS, step=n, warmup=4).rate(2) for n in (3, 300)]
    assert rates == [0.75e-2, 0.75e-2]
    assert SETTINGS.rate(0) == 0.5e-2
    assert SETTINGS.rate(1) == SETTINGS.rate(10**6) == 1e-2
    assert replace(SETTINGS, warmup=0).rate(0) == 1e-2


def test_gradients_of_a_step_are_those_of_its_mean_loss(trained, start):
    """One step of AdamW from zero moments moves each weight by the rate, against its gradient."""
    after = load_file(trained(1, warmup=0, learning_rate=1e-3) / "model.safetensors")
    before = load_file(start.store / "model.safetensors")
    moved = after["model.layers.1.mlp.up_proj.weight"] - before["model.layers.1.mlp.up_proj.weight"]
    assert moved.abs().max() == pytest.approx(1e-3, rel=1e-2)
    assert moved.abs().median() == pytest.approx(1e-3, rel=1e-2)


def test_the_loss_is_that_of_every_next_token_and_of_no_other(start):
    model = AutoModelForCausalLM.from_pretrained(start.store, dtype=torch.float32)
    tokens = np.arange(3 * 7).reshape(3, 7) % model.config.vocab_size
    found = Run.loss(SimpleNamespace(model=model), tokens)
    log_p = model(torch.as_tensor(tokens)).logits.double().log_softmax(-1).detach().numpy()
    terms = [-log_p[t, i, tokens[t, i + 1]] for t in range(3) for i in range(6)]
    assert float(found.detach()) == pytest.approx(np.mean(terms), rel=1e-5)


def test_a_loss_that_is_not_finite_stops_the_training_in_one_line(trained, monkeypatch):
    monkeypatch.setattr(Run, "loss", lambda run, tokens: torch.tensor(np.nan))
    with pytest.raises(ModelError, match=r"^step 0: the loss is nan; lower .*learning_rate") as e:
        trained(3)
    assert "\n" not in str(e.value)


def test_a_gradient_that_is_not_finite_stops_the_training_before_the_weights_are_lost(
    trained, monkeypatch, tmp_path
):
    loss = Run.loss

    def steep(run, tokens):
        """A finite loss whose gradient overflows, at the last step."""
        value = loss(run, tokens)
        return value + (value - value.detach()) * 1e38 * 10 if run.step == 2 else value

    monkeypatch.setattr(Run, "loss", steep)
    with pytest.raises(ModelError, match=r"^step 2: the norm of the gradient is (inf|nan); lower"):
        trained(3, every=0.0)
    (file,) = (tmp_path / state.STATES / "m").glob("*.safetensors")
    assert file.name == "step2.safetensors"
    assert all(bool(tensor.isfinite().all()) for tensor in load_file(file).values())


def test_what_cannot_be_trained_is_refused_before_texts_are_read(trained, source, tmp_path):
    made = Stored(tmp_path / "neox", tmp_path / "neox.manifest.json")
    made.store.mkdir()
    sources.fetch_random(source | {"family": "gpt_neox"}, "0", made.store)
    write_manifest(*made)
    with pytest.raises(ModelError, match="cannot be trained with a window"):
        trained(1, of=made, variant=WINDOW, texts=tmp_path / "nowhere")


def test_a_tokenizer_without_bos_is_refused_unless_the_texts_have_none(trained, source, tmp_path):
    made = Stored(tmp_path / "no-bos", tmp_path / "no-bos.manifest.json")
    made.store.mkdir()
    sources.fetch_random(source | {"bos": False}, "0", made.store)
    write_manifest(*made)
    with pytest.raises(InputError, match="no BOS token") as error:
        trained(1, of=made, texts=tmp_path / "nowhere")
    assert "\n" not in str(error.value)
    assert trained(1, of=made, prepend_bos=False).is_dir()


def test_an_altered_start_is_refused(trained, start, tmp_path):
    other = Stored(tmp_path / "other", tmp_path / "other.manifest.json")
    shutil.copytree(start.store, other.store)
    shutil.copyfile(start.manifest, other.manifest)
    (other.store / "config.json").write_text("{}")
    with pytest.raises(StoreError, match="altered"):
        trained(1, of=other)


def test_code_of_its_own_is_refused(trained, start, tmp_path):
    other = Stored(tmp_path / "other", tmp_path / "other.manifest.json")
    shutil.copytree(start.store, other.store)
    (other.store / "modeling.py").write_text("")
    write_manifest(*other)
    with pytest.raises(ModelError, match="code of its own"):
        trained(1, of=other)


def test_the_curves_of_all_models_are_one_table(trained, tmp_path):
    folders = [trained(2, name) for name in ("a", "b")]
    manifests = [f.with_name(f"{f.name}.manifest.json") for f in folders]
    join([*map(str, folders)], [*map(str, manifests)], ["a", "b"], str(tmp_path / "training.csv"))
    table = read_csv(tmp_path / "training.csv")
    assert table.columns.tolist() == ["model", "step", "tokens", "loss", "held_out_loss"]
    assert table["model"].tolist() == ["a"] * 3 + ["b"] * 3
    (folders[1] / LOSSES).write_text("")
    with pytest.raises(StoreError, match="altered"):
        join(folders, manifests, ["a", "b"], tmp_path / "training.csv")


def test_measured_under_standard_it_is_the_variant_imposed(trained, start):
    """Logits of the trained checkpoint's own architecture, before any update."""
    ids = torch.arange(2, 2 + LENGTH)[None]
    for name, variant in (("window", WINDOW), ("ntk", NTK)):
        made = trained(0, name, variant=variant)
        imposed, own = (
            load(folder, changes, LENGTH, "float32", "cpu", 0)
            for folder, changes in ((start.store, variant), (made, SETTINGS.variant))
        )
        if name == "window":
            imposed.set_attn_implementation("abspos")
        with torch.no_grad():
            assert torch.allclose(imposed(ids).logits, own(ids).logits, atol=1e-5)


def test_exactness_of_a_gpu_ends_with_the_training(monkeypatch):
    before = torch.are_deterministic_algorithms_enabled()
    with trainer.exactly("cuda"):
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.are_deterministic_algorithms_enabled() == before
