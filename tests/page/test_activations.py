"""What the layers of a network read, on real images."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxcomp.data import open_data
from onnxcomp.page import activations, runs


def test_a_histogram_for_each_layer_within_the_reach_of_its_scale(made: Path) -> None:
    network = runs.read(made, "run").networks[-1]
    shown: list[tuple[str, int, int]] = []
    found = activations.observe(
        network, open_data("digits"), images=32, threads=1, show=lambda *words: shown.append(words)
    )
    assert shown[-1] == ("images observed", 32, 32)
    assert found.keys() == {item.activation for item in network.layers}
    for item in network.layers:
        seen = found[item.activation]
        assert seen.low <= seen.quantiles[0] <= seen.quantiles[1] <= seen.quantiles[2] <= seen.high
        if item.reach is not None:
            # Calibrated on 512 images before the training, which moves activations a little.
            assert seen.high < 2 * item.reach[1]
    assert found[network.layers[0].activation].high == pytest.approx(seen_of_pixels(), rel=0.2)


def seen_of_pixels() -> float:
    """The brightest pixel of the digits as the network sees it."""
    data = open_data("digits")
    return (255 - data.mean[0]) / data.std[0]
