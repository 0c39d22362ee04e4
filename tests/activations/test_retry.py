"""Batches halve where a GPU's memory ends; told by injection, for there is no GPU here."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from abspos.activations import extract as module
from abspos.activations.retry import halving
from abspos.arrays import open_dataset
from abspos.models.sources import ModelError


@pytest.fixture
def scarce(monkeypatch):
    """Forward passes that run out of GPU memory with more than so many inputs."""
    embed = module.embed

    def limit(number):
        def short(model, tokens, numbers, condition, setting):
            if len(numbers) > number:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
            return embed(model, tokens, numbers, condition, setting)

        monkeypatch.setattr(module, "embed", short)

    return limit


def test_extraction_halves_its_batches_and_says_so(run, scarce, tmp_path, caplog, activations):
    whole = open_dataset(*activations["bos"]).load()
    scarce(2)
    with caplog.at_level(logging.WARNING, "abspos"):
        found = open_dataset(*run(tmp_path)).load()
    assert [record.getMessage() for record in caplog.records] == [
        "tiny/bos: GPU out of memory with batches of 8 inputs; trying again with 4",
        "tiny/bos: GPU out of memory with batches of 4 inputs; trying again with 2",
    ]
    assert (whole.attrs["batch"], found.attrs["batch"]) == (8, 2)
    for name in ("q", "k", "state0", "loss"):
        np.testing.assert_allclose(found[name], whole[name], rtol=1e-4, atol=1e-5)


def test_extraction_gives_up_where_one_input_does_not_fit(run, scarce, tmp_path):
    scarce(0)
    with pytest.raises(ModelError, match="tiny/bos: the GPU's memory does not hold one input"):
        run(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_other_errors_pass_through_at_once():
    tried = []

    @halving
    def work(*, batch, label):
        tried.append(batch)
        raise ValueError(label)

    with pytest.raises(ValueError, match="x"):
        work(batch=8, label="x")
    assert tried == [8]
