"""Kim et al.'s map: against plain logits, and beside the components."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from abspos.arrays import from_bits, open_dataset
from abspos.components.logit_map import logit_map
from abspos.statistics.arm_tables import ArmTables

INPUTS, HEADS, GROUP, LENGTH, SIZE = 5, 4, 2, 12, 6
EARLY, WINDOW = 8, 6
KEYS = {"model": "m", "revision": "0", "variant": "standard", "condition": "bos"}


def plain(logits: np.ndarray, queries: list[int]) -> np.ndarray:
    """The map by its definition, (head, query, offset), of logits (input, head, query, key)."""
    half = logits.shape[-1] // 2
    mean = logits.mean(0)
    found = np.zeros((len(mean), len(queries), half))
    for d in range(half):
        diagonal = [(place, i) for place, i in enumerate(queries) if i >= d]
        for place, i in diagonal:
            others = np.mean([mean[:, other, other - d] for _, other in diagonal], axis=0)
            found[:, place, d] = mean[:, i, i - d] - others
    return found


@pytest.mark.parametrize("queries", [[0, 1, 2, 3, 4, 5], [0, 2, 5]])
@pytest.mark.parametrize("softcap", [None, 1.5])
def test_the_map_of_queries_and_keys_is_that_of_their_logits(queries, softcap):
    torch.manual_seed(0)
    q = torch.randn(INPUTS, HEADS, LENGTH, SIZE)
    k = torch.randn(INPUTS, HEADS // GROUP, LENGTH, SIZE)
    logits = 0.7 * (q @ k.repeat_interleave(GROUP, 1).mT).numpy()
    if softcap:
        logits = softcap * np.tanh(logits / softcap)
    found = logit_map(q, k, 0.7, softcap, torch.tensor(queries))
    np.testing.assert_allclose(found, plain(logits, queries), atol=1e-5)


def test_logits_of_the_offset_alone_give_an_empty_map():
    """f(d) on every input is gone; of c_i on row i there stays c_i less its mean over the diagonal:
    the map changes where a number is added to a row, and attention does not."""
    f, gauge = np.linspace(1, -2, LENGTH) ** 3, np.cos(np.arange(LENGTH))
    i = np.arange(LENGTH)
    rows = f[np.abs(i[:, None] - i)] + gauge[:, None]
    q = torch.tensor(np.broadcast_to(rows, (3, 1, LENGTH, LENGTH)).copy())
    k = torch.eye(LENGTH, dtype=torch.float64).expand(3, 1, -1, -1)
    found = logit_map(q, k, 1.0, None, torch.arange(LENGTH // 2))[0].numpy()
    for query in range(LENGTH // 2):
        wanted = [gauge[query] - gauge[d : LENGTH // 2].mean() for d in range(query + 1)]
        np.testing.assert_allclose(found[query, : query + 1], wanted, atol=1e-12)
        assert (found[query, query + 1 :] == 0).all()


def float_of(data: np.ndarray) -> np.ndarray:
    return from_bits(data) if data.dtype == np.uint16 else data


@pytest.mark.parametrize("name", ["bos", "no-bos", "window"])
def test_beside_the_components(name, activations, components):
    """Less R it is one number a row plus one an offset: log denominators of early queries less
    those of late ones, and mean logits of late queries less those of early ones."""
    source, store = open_dataset(*activations[name]), open_dataset(*components[name])
    table = ArmTables(store, KEYS, 0.95, 100, 0).tables["sinks"]
    by_head = {
        c: table[c].to_numpy().reshape(3, 4)
        for c in ("map_sink", "map_spread", "map_shift", "map_error")
    }
    assert by_head["map_error"].max() < 1e-4
    window = WINDOW if name == "window" else LENGTH * 10
    for layer in range(3):
        q, k = (torch.tensor(float_of(source[n].values[layer])) for n in ("q", "k"))
        logits = source.attrs["scale"][layer] * (q @ k.repeat_interleave(2, 1).mT).numpy()
        found = store["logit_map"].values[layer]
        np.testing.assert_allclose(found, plain(logits, list(range(16))), atol=1e-4)
        sink, denominator, shift = [], [], []
        for i in range(1, EARLY):
            seen = min(i + 1, window)
            early = np.log(np.exp(logits[:, :, i, i + 1 - seen : i + 1]).sum(-1))
            late = [
                np.log(np.exp(logits[:, :, j, j + 1 - seen : j + 1]).sum(-1)) for j in range(16, 32)
            ]
            denominator.append((early - np.mean(late, 0)).mean(0))
            if i < window:
                sink.append(found[:, i, i] - found[:, i, :i].mean(-1))
        for d in range(min(EARLY, window)):
            early, late = (
                np.mean([logits[:, :, j, j - d].mean(0) for j in which], 0)
                for which in (range(d, 16), range(16, 32))
            )
            shift.append(late - early)
        for name_of, values in (
            ("map_sink", np.mean(sink, 0)),
            ("map_spread", np.std(denominator, 0)),
            ("map_shift", np.std(shift, 0)),
        ):
            np.testing.assert_allclose(by_head[name_of][layer], values, atol=1e-4)
