"""Published measures beside the components, on made-up tables."""

from __future__ import annotations

import pandas as pd

from abspos.report import neighbours

ARM = {"model": "m", "revision": "r", "variant": "standard", "condition": "bos", "n_inputs": 8}


def test_a_page_of_one_study(tmp_path):
    heads = range(4)
    attention = [0.1, 0.2, 0.5, 0.9]
    sinks = [
        ARM
        | {
            "layer": 0,
            "head": h,
            "a_1_64": a,
            "sink_share": float(a > 0.3),
            "sink_excess": a,
            "map_sink": -a,
            "map_spread": 1.5 + h,
            "map_shift": 0.5 * h,
            "map_error": 2e-6 * h,
        }
        for h, a in zip(heads, attention, strict=True)
    ]
    energies = [
        ARM
        | {
            "layer": 0,
            "head": h,
            "bin": "early",
            "lens": lens,
            "component": part,
            "energy": -h if part == "mask" else h**2,
        }
        for h in heads
        for lens in ("log", "probability")
        for part in ("residual", "sink", "mask")
    ]
    position0 = [
        ARM
        | {
            "depth": d,
            "state_norm": 10.0**d,
            "massive_share": d / 2,
            "massive_later": d / 4,
            "contrast": 100.0 * d,
        }
        for d in (0, 1)
    ]
    parts = {"mean": 1.0, "position": 2.0, "context": 4.0, "residual": 1.0}
    states = [ARM | {"depth": d, "part": p, "energy": e} for d in (0, 1) for p, e in parts.items()]
    other = {"condition": "no-bos", "a_1_64": 0.9, "sink_share": 1.0}
    (tmp_path / "statistics").mkdir()
    for name, rows in {
        "sinks": [*sinks, sinks[0] | other],
        "energies": energies,
        "position0": position0,
        "states": states,
    }.items():
        pd.DataFrame(rows).to_csv(tmp_path / "statistics" / f"{name}.csv", index=False)
    text = neighbours.page(tmp_path)
    assert "Sink_1 = 50.0 %" in text
    assert "2 of 4 heads" in text
    assert "| energy of R, log | 4 | 1.00 |" in text
    assert "| energy of the mask, log | 4 | -1.00 |" in text
    assert "to within 6.0e-06 nats in all of 4 heads" in text
    assert "over rows, 3.00 nats in the median head (1.50 to 4.50)" in text
    assert "over offsets, 0.75 nats in the median head (0.00 to 1.50)" in text
    assert "| sink excess A_i(i) - P_i(i) | 4 | -1.00 |" in text, "of the map"
    assert "| 1 | 10 | 50 % | 25 % | 100 | 12.5 % | 25.0 % | 50.0 % | 12.5 % |" in text
