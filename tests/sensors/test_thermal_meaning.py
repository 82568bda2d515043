"""Thermal frames: which unit the values are in, and which pixels and rows are no measurement.

The last part reads real recordings, where they lie beside the checkout, against the values of other readers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from picture_writer import png, tiff
from PIL import Image
from shared_data import shared

from armseg_core.arrays import Thermal
from armseg_core.conversion.convert import to_tensor
from armseg_core.conversion.inspection import inspect_file
from armseg_core.errors import ArmsegWarning, FormatError, UsageError
from armseg_core.sensors.recognition import sniff
from armseg_core.sensors.thermal import representations as rep
from armseg_core.sensors.thermal.options import ThermalOptions

no_note = pytest.mark.filterwarnings("error")


def read(path: Path, **options) -> Thermal:
    return sniff(path, "thermal").read(path, ThermalOptions(**options))


def scene(low: float, high: float, shape=(60, 80)) -> np.ndarray:
    """Numbers rising from left to right."""
    return low + (high - low) * np.linspace(0, 1, shape[1])[None].repeat(shape[0], 0)


# --- units ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "dtype", "unit"),
    [
        (6743, 7077, np.uint16, "tau"),
        (29315, 30815, np.uint16, "tlinear"),
        (2931, 3081, np.uint16, "decikelvin"),
        (19.5, 30.0, np.float32, "celsius"),
        (292.5, 303.0, np.float32, "kelvin"),
    ],
)
def test_the_hint_names_the_unit_that_gives_usual_temperatures(tmp_path, low, high, dtype, unit) -> None:
    path = tiff(tmp_path / "t.tiff", scene(low, high).astype(dtype))
    data = read(path)
    with pytest.raises(UsageError, match=rf"values fit {unit}: .* Celsius.* Try: --thermal-unit {unit}$"):
        rep.celsius(data, ThermalOptions())
    options = ThermalOptions(thermal_unit=unit)
    frame = rep.celsius(read(path, thermal_unit=unit), options).values
    assert -10 < frame.min() < frame.max() < 40


@pytest.mark.parametrize("values", [scene(0, 255).astype(np.uint8), scene(100, 60000).astype(np.uint16)])
def test_no_unit_is_proposed_where_none_fits(tmp_path, values) -> None:
    data = read(png(tmp_path / "t.png", values))
    with pytest.raises(UsageError, match="--scale DEGREES --offset DEGREES"):
        rep.celsius(data, ThermalOptions())


def test_a_wrong_unit_is_doubted_with_the_right_one(tmp_path) -> None:
    path = tiff(tmp_path / "t.tiff", scene(6743, 7077).astype(np.uint16))
    with pytest.warns(
        ArmsegWarning, match=r"-205\.7 to -202\.4 degrees .* --thermal-unit tau gives -3\.4 to"
    ):
        read(path, thermal_unit="tlinear")


@no_note
def test_inspect_shows_degrees_where_the_unit_is_given(tmp_path) -> None:
    path = tiff(tmp_path / "t.tiff", scene(6743, 7077).astype(np.uint16))
    report = inspect_file(path, modality="thermal", options={"thermal_unit": "tau"})
    assert report["unit"] == "celsius"
    np.testing.assert_allclose(report["values"], [-3.43, 3.23, 9.93], atol=0.05)
    assert report["counts"][0] == 6743
    assert inspect_file(path, modality="thermal")["unit"] == "counts"


# --- no measurement ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-9999, -10000, -32767, -3.4028235e38, -273.15])
def test_values_below_absolute_zero_are_no_measurement(tmp_path, value) -> None:
    clean = scene(20, 30).astype(np.float32)
    stored, nan = clean.copy(), clean.copy()
    stored[:, :8], nan[:, :8] = value, np.nan
    with pytest.warns(ArmsegWarning, match=r"10\.0% of the pixels hold no measurement \(below absolute zero"):
        data = read(tiff(tmp_path / "t.tiff", stored))
    np.testing.assert_array_equal(np.isnan(data.values), np.isnan(nan))
    expected = rep.percentile(read(tiff(tmp_path / "n.tiff", nan)), ThermalOptions()).values
    np.testing.assert_array_equal(rep.percentile(data, ThermalOptions()).values, expected)
    degrees = rep.celsius(data, ThermalOptions(thermal_unit="celsius")).values
    assert degrees.min() == pytest.approx(clean[:, 8:].min())


def test_zero_kelvin_is_no_measurement_where_the_unit_says_kelvin(tmp_path) -> None:
    stored = scene(29315, 30815).astype(np.uint16)
    stored[30, 40] = 0
    with pytest.warns(ArmsegWarning, match="below absolute zero"):
        assert np.isnan(read(png(tmp_path / "t.png", stored), thermal_unit="tlinear").values[30, 40])


def test_the_value_that_the_user_names_and_the_one_of_gdal(tmp_path) -> None:
    stored = scene(20, 30).astype(np.float32)
    stored[:, :8] = 999
    path = tiff(tmp_path / "t.tiff", stored)
    with pytest.warns(ArmsegWarning, match=r"no measurement \(999, --nodata\)"):
        assert np.isnan(read(path, nodata=999).values[:, :8]).all()
    Image.fromarray(stored).save(tmp_path / "g.tif", tiffinfo={42113: "999"})
    with pytest.warns(ArmsegWarning, match="GDAL_NODATA"):
        assert np.isnan(read(tmp_path / "g.tif").values).mean() == pytest.approx(0.1)


def test_a_frame_without_any_measurement_is_refused(tmp_path) -> None:
    path = tiff(tmp_path / "t.tiff", np.full((12, 16), -9999, np.float32))
    with (
        pytest.warns(ArmsegWarning, match=r"100\.0% of the pixels"),
        pytest.raises(FormatError, match="no measurement in the frame"),
    ):
        read(path)


def test_a_border_of_zeros_is_no_measurement(tmp_path) -> None:
    for values, kind in ((scene(6700, 7100), np.uint16), (scene(20, 30), np.float32)):
        stored = values.astype(kind)
        stored[:5], stored[40, 40] = 0, 0
        with pytest.warns(ArmsegWarning, match="0 in a border"):
            data = read(tiff(tmp_path / "t.tiff", stored))
        assert np.isnan(data.values[:5]).all()
        assert data.values[40, 40] == 0  # a single dead pixel inside
        assert rep.percentile(data, ThermalOptions()).values[0, 30, 40] == pytest.approx(0.5, abs=0.03)


@no_note
def test_zeros_that_may_be_cold_are_kept(tmp_path) -> None:
    for values, kind in (
        (scene(0, 30), np.float32),
        (scene(-8, 30), np.float32),
        (scene(0, 65535), np.uint16),
    ):
        stored = values.astype(kind)
        stored[:5] = 0
        assert np.isfinite(read(tiff(tmp_path / "t.tiff", stored)).values).all()


def test_a_border_of_zeros_of_eight_bits_is_doubted(tmp_path) -> None:
    stored = scene(40, 220).astype(np.uint8)
    read(png(tmp_path / "whole.png", stored))
    stored[:5] = 0
    with pytest.warns(ArmsegWarning, match=r"at its edge are 0 \(8\.3% of all\).*--nodata 0"):
        assert np.isfinite(read(png(tmp_path / "t.png", stored)).values).all()


# --- telemetry --------------------------------------------------------------------------------------------


def with_telemetry(rows: int, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A frame of 0.01 K counts, and the same with rows of status words below it."""
    clean = scene(29315, 30815, shape).astype(np.uint16)
    words = np.zeros((rows, shape[1]), np.uint16)
    words[:, ::7], words[:, 3::9] = 58744, 14
    return clean, np.vstack([clean, words])


@pytest.mark.parametrize(("rows", "shape"), [(2, (120, 160)), (3, (60, 80))])
def test_telemetry_of_a_known_camera_is_cut_off(tmp_path, rows, shape) -> None:
    clean, stored = with_telemetry(rows, shape)
    for path in (png(tmp_path / "t.png", stored), tmp_path / "t.npy"):
        np.save(tmp_path / "t.npy", stored)
        with pytest.warns(ArmsegWarning, match=rf"last {rows} rows are telemetry and cut off"):
            np.testing.assert_array_equal(read(path).values, clean)
        assert read(path, crop_bottom=0).values.shape == stored.shape
        np.testing.assert_array_equal(read(path, crop_bottom=rows).values, clean)


def test_rows_like_telemetry_in_another_frame_are_said(tmp_path) -> None:
    clean, stored = with_telemetry(1, (100, 150))
    with pytest.warns(ArmsegWarning, match=r"last 1 rows look like telemetry \(--crop-bottom 1 cuts"):
        assert read(png(tmp_path / "t.png", stored)).values.shape == stored.shape
    np.testing.assert_array_equal(read(tmp_path / "t.png", crop_bottom=1).values, clean)
    with pytest.raises(UsageError, match="cuts off 101 rows"):
        read(tmp_path / "t.png", crop_bottom=101)


@no_note
def test_a_frame_of_that_size_without_telemetry_stays_whole(tmp_path) -> None:
    stored = scene(29315, 30815, (122, 160)).astype(np.uint16)
    assert read(png(tmp_path / "t.png", stored)).values.shape == (122, 160)


def test_a_false_color_rendering_is_refused_with_the_way_out(tmp_path) -> None:
    (tmp_path / "thermal").mkdir()
    path = tmp_path / "thermal" / "1.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 24, 3)).astype(np.uint8)).save(path)
    with pytest.raises(FormatError, match=r'color-mapped rendering.*kind = "image"'):
        to_tensor(path)


# --- real recordings --------------------------------------------------------------------------------------


def test_the_jpeg_of_a_mavic_is_refused_by_name() -> None:
    with pytest.raises(FormatError, match="DJI's Thermal SDK"):
        sniff(shared("data", "thermal", "M3T_DJI_0002_R.JPG"), "thermal")


def test_a_real_tau_2_frame() -> None:
    path = shared("data", "thermal", "tau2_example_radiometric.tiff")
    with pytest.raises(UsageError, match=r"--thermal-unit tau$"):
        rep.celsius(read(path), ThermalOptions())
    report = inspect_file(path, modality="thermal", options={"thermal_unit": "tau"})
    np.testing.assert_allclose(report["values"], (-3.43, 6.61, 9.93), atol=0.006)
    assert report["counts"] == [6743, 6994, 7077]
    with pytest.warns(ArmsegWarning, match="--thermal-unit tau gives"):
        read(path, thermal_unit="tlinear")


@pytest.mark.filterwarnings("ignore:.*no measurement:armseg_core.errors.ArmsegWarning")
def test_cases_without_data() -> None:
    folder = shared("cases", "15_thermal_nodata", "in")
    clean = read(folder / "thermal_clean.tif").values
    for name in ("m10000", "m32767", "fltmin", "nan"):
        data = read(folder / f"thermal_{name}.tif")
        assert np.isnan(data.values[:, :8]).all()
        np.testing.assert_array_equal(data.values[:, 8:], clean[:, 8:])
        frame = rep.percentile(data, ThermalOptions()).values[0]
        assert 0.44 < np.median(frame[:, 40]) < 0.52


@pytest.mark.filterwarnings("ignore:.*are telemetry:armseg_core.errors.ArmsegWarning")
def test_cases_with_telemetry() -> None:
    folder = shared("cases", "16_lepton_telemetry", "in")
    clean = rep.percentile(read(folder / "thermal_clean.png"), ThermalOptions()).values
    for name in ("thermal_frame.png", "thermal_frame.npy"):
        np.testing.assert_array_equal(rep.percentile(read(folder / name), ThermalOptions()).values, clean)
    assert clean[0, 60, 40] == pytest.approx(0.248, abs=2e-3)
