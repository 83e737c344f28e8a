"""Bands of a cube beside the wavelengths of a training."""

from __future__ import annotations

import numpy as np

from carl.wavelengths.coverage import coverage

TRAINED = np.arange(500.0, 1001, 5)


def test_bands_within_the_training_are_inside():
    found = coverage(np.linspace(500, 1000, 60), TRAINED, "net")
    assert found.is_complete
    assert found.sentence == "net was trained on 500–1000 nm: all 60 bands lie inside."


def test_bands_beyond_the_training_are_extrapolated():
    found = coverage(np.arange(380.0, 1101, 10), TRAINED, "net")
    assert found.inside.sum() == 51
    assert not found.missing
    assert found.sentence == (
        "net was trained on 500–1000 nm: 51 of 73 bands lie inside, 22 extrapolated."
    )


def test_parts_without_a_band_are_missing():
    bands = np.concatenate([np.arange(500.0, 701, 10), np.arange(850.0, 951, 10)])
    found = coverage(bands, TRAINED, "net")
    assert found.inside.all()
    assert found.missing == ((700.0, 850.0),)
    assert "700–850 nm missing in this cube" in found.sentence
    assert coverage(bands[::-1], TRAINED, "net").missing == found.missing

    visible = coverage(np.arange(400.0, 701, 10), np.array([380.0, 2500.0]), "net")
    assert visible.missing == ((700.0, 2500.0),)


def test_a_band_at_the_edge_of_the_training_is_inside():
    found = coverage(np.array([496.0, 600.0, 704.0]), np.array([500.0, 700.0]), "net")
    assert found.inside.all()
    assert coverage(np.array([300.0]), TRAINED, "net").inside.tolist() == [False]
