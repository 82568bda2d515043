"""Polarization recordings of real cameras against values of other readers (skipped where they are absent)."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from shared_data import shared

from armseg_core.conversion.folder import convert_folder
from armseg_core.conversion.inspection import inspect_file
from armseg_core.sensors.polarization import representations as rep
from armseg_core.sensors.polarization.options import PolarizationOptions
from armseg_core.sensors.recognition import sniff

OPTIONS = PolarizationOptions()
POLARCAM = "45,0,90,135"


def data(name: str):
    return shared("data", "polarization", name)


def intensities(path, **options):
    return sniff(path, "polarization").read(path, PolarizationOptions(**options))


def dolp_and_aolp(images, region: tuple[slice, slice]) -> tuple[float, float]:
    """Degree, and angle in degrees, of the mean intensities of a region."""
    mean = images.intensity[:, region[0], region[1]].mean(axis=(1, 2), dtype=np.float64)
    s0, s1, s2 = mean.sum() / 2, mean[0] - mean[2], mean[1] - mean[3]
    return np.hypot(s1, s2) / s0, np.degrees(np.arctan2(s2, s1) / 2) % 180


@pytest.mark.parametrize(
    ("columns", "dolp", "aolp"),
    [
        (slice(328, 428), 0.503, 83.0),
        (slice(854, 954), 0.434, 43.8),
        (slice(1418, 1518), 0.423, 175.4),
        (slice(2054, 2154), 0.504, 135.7),
    ],
)
def test_four_polarizing_filters_before_a_sony_sensor(columns, dolp, aolp):
    images = intensities(data("polarizer_IMX250MZR.png"), pattern="90,45,135,0")
    got = dolp_and_aolp(images, (slice(1178, 1278), columns))
    assert got == (pytest.approx(dolp, abs=2e-3), pytest.approx(aolp, abs=0.2))


@pytest.mark.parametrize(
    ("rows", "dolp", "aolp"), [(slice(0, 300), 0.182, 125.1), (slice(760, 1000), 0.123, 129.1)]
)
def test_a_polarcam_mosaic_with_its_own_cell(rows, dolp, aolp):
    images = intensities(data("file_1000x1000_001002.tiff"), pattern=POLARCAM, bits=12)
    got = dolp_and_aolp(images, (rows, slice(None)))
    assert got == (pytest.approx(dolp, abs=2e-3), pytest.approx(aolp, abs=0.2))


def test_the_cell_of_a_polarcam_mosaic_is_an_assumption_that_is_named():
    path = data("file_1000x1000_001002.tiff")
    assert any("assumed cell 90,45,135,0" in note for note in inspect_file(path)["notes"])
    assert not any("cell" in n for n in inspect_file(path, options={"pattern": POLARCAM})["notes"])


def test_four_pictures_of_a_polarcam():
    images = intensities(data("file_1000x1000_001002_I0.png"))
    frame = rep.stokes(images, OPTIONS).values  # 7 saturated pixels of 250,000 are no warning
    assert np.median(frame[0]) / 2 == pytest.approx(0.237, abs=1e-3)
    assert np.median(frame[1]) == pytest.approx(0.1905, abs=1e-3)
    assert dolp_and_aolp(images, (slice(0, 150), slice(None)))[1] == pytest.approx(125.4, abs=0.2)


def test_a_folder_of_two_mosaics_and_a_set_gives_three_results(tmp_path):
    made = convert_folder([data(".")], tmp_path, workers=1, progress=False)
    assert (made.converted, made.failed) == (3, 0)


def test_two_sets_in_one_folder_give_two_results(tmp_path):
    for angle in (0, 45, 90, 135):
        picture = data(f"file_1000x1000_001002_I{angle}.png")
        for name in ("file", "kettle"):
            (tmp_path / "two").mkdir(exist_ok=True)
            shutil.copy(picture, tmp_path / "two" / f"{name}_I{angle}.png")
    made = convert_folder([tmp_path / "two"], tmp_path / "out", workers=1, progress=False)
    assert (made.converted, made.failed) == (2, 0)
