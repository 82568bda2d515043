"""Folders of views: the names people give them, and whether the first number counts rows or columns."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from picture_writer import png
from shared_data import shared

from armseg_core.conversion.inspection import inspect_file
from armseg_core.conversion.recording import Recording
from armseg_core.errors import ArmsegWarning, FormatError
from armseg_core.sensors.light_field.options import LightFieldOptions
from armseg_core.sensors.light_field.representations import disparity
from armseg_core.sensors.recognition import sniff

SIDE = 5


def scene(shift: int = 1, side: int = SIDE) -> np.ndarray:
    """(side, side, 60, 80, 3) uint8 views of a wall of disparity `shift`, in whole pixels."""
    noise = np.random.default_rng(0).normal(size=(60 + 40, 80 + 40, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    wall = np.clip(127 + 200 * smooth, 0, 255).astype(np.uint8)
    starts = [20 + shift * (i - side // 2) for i in range(side)]
    return np.array([[wall[y : y + 60, x : x + 80] for x in starts] for y in starts])


def write(folder: Path, views: np.ndarray, name) -> Path:
    for number, (u, v) in enumerate(np.ndindex(views.shape[:2])):
        png(folder / name(number, u, v), views[u, v])
    return folder


def read(folder: Path, modality: str | None = None, **options) -> np.ndarray:
    return sniff(folder, modality).read(folder, LightFieldOptions(**options)).views


@pytest.mark.parametrize(
    "name",
    [
        lambda n, u, v: f"IMG_0001_{n + 1:03d}_{u + 1:02d}_{v + 1:02d}.png",
        lambda n, u, v: f"view_{u:02d}_{v:02d}.png",
        lambda n, u, v: f"out_{u:02d}_{v:02d}_-{10 * u}.900000_{10 * v}.700000_.png",
        lambda n, u, v: f"{u + 1}_{v + 1}.png",
        lambda n, u, v: f"input_Cam{n:03d}.png",
    ],
)
def test_names_of_views(tmp_path, name):
    views = scene()
    np.testing.assert_array_equal(read(write(tmp_path / "any", views, name)), views)


@pytest.mark.parametrize("first", [0, 1])
def test_a_plain_sequence_is_a_grid_where_the_user_or_the_folder_says_so(tmp_path, first):
    views = scene()
    plain = write(tmp_path / "any", views, lambda n, u, v: f"{n + first:03d}.png")
    np.testing.assert_array_equal(read(plain, "light_field"), views)
    with pytest.raises(FormatError, match=r"are named .*1_1\.png or NAME_01_01\.png.*--modality light_field"):
        sniff(plain)
    shutil.copytree(plain, tmp_path / "views")
    np.testing.assert_array_equal(read(tmp_path / "views"), views)
    (plain / "007.png").unlink()
    with pytest.raises(FormatError, match=r"000\.png, 001\.png"):
        read(plain, "light_field")


def test_names_that_are_no_grid(tmp_path):
    """Dates, pairs and the frames of a video are no views."""
    views = scene()
    days = [(2024, month, day) for month in (1, 2, 3) for day in (4, 15, 27)]
    for kind, names in {
        "days": ["_".join(map(str, day)) for day in days],
        "pairs": [f"left_{n}_0" for n in range(9)],
        "two": [f"tile_{u}_{v}" for u in (0, 1) for v in (0, 1)],
        "mixed": [f"{'ab'[u % 2]}_{u}_{v}" for u in range(3) for v in range(3)],
    }.items():
        for name in names:
            png(tmp_path / kind / f"{name}.png", views[0, 0])
        with pytest.raises(FormatError, match="not a recording"):
            sniff(tmp_path / kind)


def test_a_missing_view_of_a_named_grid_is_named(tmp_path):
    folder = write(tmp_path / "any", scene(), lambda n, u, v: f"view_{u:02d}_{v:02d}.png")
    (folder / "view_01_03.png").unlink()
    with pytest.raises(FormatError, match="1 of 5x5 views are missing: 1_3"):
        read(folder)


@pytest.mark.parametrize("shift", [-2, 1])
@pytest.mark.parametrize("side", [3, 4, 5])
def test_views_counted_by_columns_are_turned_and_that_is_said(tmp_path, shift, side):
    views = scene(shift, side)
    folder = write(tmp_path / "any", views, lambda n, u, v: f"view_{v}_{u}.png")
    with pytest.warns(ArmsegWarning, match=r"as columns, not rows .*--grid-order rows"):
        np.testing.assert_array_equal(read(folder), views)
    np.testing.assert_array_equal(read(folder, grid_order="columns"), views)
    np.testing.assert_array_equal(read(folder, grid_order="rows"), views.swapaxes(0, 1))
    with Recording.open(folder, options={"grid_order": "columns"}, representation="disparity") as recording:
        frame = recording.read(0).values
    # a wall moved by whole pixels has this disparity everywhere, and it is certain
    assert np.abs(frame[0] - shift)[8:-8, 8:-8].max() < 0.1
    assert np.median(frame[1]) > 0.95


@pytest.mark.parametrize("shift", [0, 1])
def test_views_that_fit_as_rows_or_either_way_stay_rows(tmp_path, shift):
    views = scene(shift)
    folder = write(tmp_path / "any", views, lambda n, u, v: f"{u}_{v}.png")
    np.testing.assert_array_equal(read(folder), views)  # a warning would be an error
    flat = np.full((SIDE, SIDE, 6, 5, 3), 93, np.uint8)
    np.testing.assert_array_equal(read(write(tmp_path / "flat", flat, lambda n, u, v: f"{u}_{v}.png")), flat)


# --- real recordings ---


def test_views_of_a_lytro_camera():
    """SS counts columns; about 1.2 pixels a view step, to the other side than near points go."""
    folder = shared("data", "light_field", "IMG_0001_adownsampled")
    report = inspect_file(folder)
    assert (report["size"], report["views"]) == ("256x256", "5x5")
    assert any("as columns, not rows" in note for note in report["notes"])
    options = LightFieldOptions(grid_order="columns")
    frame = disparity(sniff(folder).read(folder, options), options).values
    assert np.median(frame[0]) == pytest.approx(-1.3, abs=0.1)
    assert np.median(frame[1]) > 0.95


@pytest.mark.parametrize("name", ["stanford", "view_prefix", "sequence"])
def test_folders_with_the_names_people_have(name):
    folder = shared("cases", "18_view_names", "in", name)
    assert read(folder, "light_field").shape == (5, 5, 48, 64, 3)
    if name == "sequence":
        with pytest.raises(FormatError, match="are named"):
            sniff(folder)
