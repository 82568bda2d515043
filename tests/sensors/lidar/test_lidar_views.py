"""LiDAR without a camera: seen from above and over azimuth and elevation, against points placed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from lidar_clouds import points, read
from places import REPOSITORY
from shared_data import shared

from armseg_core.arrays import PointCloud
from armseg_core.figures import make_figure
from armseg_core.sensors.lidar import representations as rep
from armseg_core.sensors.lidar.calibration import PLACES, read_calibration
from armseg_core.sensors.lidar.options import LidarOptions


def cloud(*rows: tuple[float, float, float, float]) -> PointCloud:
    table = np.array(rows, np.float32)
    return PointCloud(table[:, :3].copy(), table[:, 3].copy())


def test_from_above_by_hand():
    """Four corners of a square of 4 m and a second, lower point in one: cells of 1 m, y up, x right."""
    made = rep.bev(
        cloud(
            (-2, 2, 1, 0.1),
            (2, 2, 2, 0.2),
            (-2, -2, 3, 0.3),
            (2, -2, 4, 0.4),
            (2, -2, -1, 0.9),
            (np.nan, 0, 9, 1),
        ),
        LidarOptions(cell=1.0, size=(6, 6)),
    )
    assert made.channels == ("height", "intensity", "valid")
    expected = np.zeros((3, 6, 6), np.float32)
    for row, column, height, intensity in ((1, 1, 1, 0.1), (1, 5, 2, 0.2), (5, 1, 3, 0.3), (5, 5, 4, 0.4)):
        expected[:, row, column] = height, intensity, 1
    np.testing.assert_allclose(made.values, expected, atol=1e-6)


def test_a_view_from_above_holds_the_cloud_in_square_cells():
    table = np.random.default_rng(0).uniform(-1, 1, (4000, 4)) * (40, 10, 2, 0) + (0, 0, 0, 0.5)
    frame = rep.bev(cloud(*table), LidarOptions()).values
    assert frame.shape[2] == 160  # the fewest pixels
    assert frame.shape[2] / frame.shape[1] == pytest.approx(4, rel=0.1)
    shown = rep.bev(cloud(*table), LidarOptions(cell=2.0)).values
    assert shown.shape[1:] == (pytest.approx(10, abs=1), pytest.approx(40, abs=2))


def test_azimuth_and_elevation_by_hand():
    """Forward is the middle, left is left; of two points in one direction the nearer counts."""
    level = [(10, 0, 0, 0.1), (0, 5, 0, 0.2), (0, -4, 0, 0.3), (20, 0, 0, 0.9)]
    up, down = (3, 0, 3, 0.4), (6, 0, -6, 0.5)
    made = rep.range_view(cloud(*level, up, down, (0, 0, 0, 1)), LidarOptions(size=(3, 8)))
    assert made.channels == ("range", "intensity", "valid")
    distance = made.values[0]
    assert distance[1, 4] == 10
    assert distance[1, 2] == 5
    assert distance[1, 6] == 4
    assert made.values[2].sum() == 3  # up and down are outside the middle 99 %


def test_a_cloud_without_a_camera_is_drawn_from_above_and_around(tmp_path, armseg):
    (tmp_path / "a.bin").write_bytes(points().tobytes())
    result = armseg("visualize", "a.bin", cwd=tmp_path)
    assert result.exit_code == 0, result.output
    assert "LiDAR, bev, range" in result.output
    assert "armseg convert a.bin --representation bev" in result.output
    both = make_figure(tmp_path / "a.bin").picture
    alone = [make_figure(tmp_path / "a.bin", representation=name).picture for name in ("bev", "range")]
    assert len(both) >= sum(map(len, alone))
    for name in ("bev", "range"):
        assert armseg("convert", "a.bin", "-r", name, cwd=tmp_path).exit_code == 0


def test_the_next_command_that_inspect_names_for_it_works(tmp_path, armseg):
    points(50, seed=2).tofile(tmp_path / "cloud.bin")
    seen = armseg("inspect", tmp_path / "cloud.bin", "-m", "lidar")
    (told,) = (line for line in seen.stdout.splitlines() if line.startswith("Next: "))
    assert told.endswith("--representation bev")
    made = armseg(*told.removeprefix("Next: armseg ").split(), "-o", tmp_path / "cloud.h5")
    assert made.exit_code == 0, made.stderr


def test_an_intensity_that_was_not_measured_is_not_drawn(tmp_path):
    table = points()
    (tmp_path / "a.bin").write_bytes(table.tobytes())
    measured = make_figure(tmp_path / "a.bin", representation="bev").picture
    table[:, 3] = 0
    (tmp_path / "a.bin").write_bytes(table.tobytes())
    with pytest.warns(UserWarning, match="no intensity"):
        assert make_figure(tmp_path / "a.bin", representation="bev").picture.shape[1] < measured.shape[1]


def test_the_message_says_where_a_calibration_is_looked_for(tmp_path, armseg):
    (tmp_path / "a.bin").write_bytes(points().tobytes())
    result = armseg("convert", "a.bin", cwd=tmp_path)
    assert result.exit_code == 2
    for text in (*PLACES, "docs/formats.md", "--calibration FILE", "--representation bev"):
        assert text in result.stderr


def test_the_documented_calibration_is_read_from_every_place(tmp_path):
    text = (REPOSITORY / "docs" / "formats.md").read_text()
    example = text.split("```json")[1].split("```")[0]
    path = tmp_path / "calib.json"
    path.write_text(example)
    found = read_calibration(path, tmp_path / "a.bin", None)
    assert found.size == tuple(json.loads(example)["size"])
    assert all(f"`{place}`" in text for place in PLACES)
    for place in PLACES:
        if place.endswith(".json"):
            folder = tmp_path / f"at {place.replace('/', '_')}" / "clouds"
            target = folder / Path(place.replace("NAME", "a"))
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(exist_ok=True)
            target.write_text(example)
            (folder / "a.bin").write_bytes(points().tobytes())
            assert read(folder / "a.bin").calibration is not None


@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")
@pytest.mark.parametrize(
    "name", ["simple.las", "vegetation_1_3.las", "CSite1_red2-utm.pcd", "autzen-utm.pcd"]
)
def test_real_clouds_without_a_camera_are_drawn(name):
    pytest.importorskip("laspy")
    pytest.importorskip("pypcd4")
    made = make_figure(shared("data", "lidar", name))
    assert "bev, range" in made.what
    assert made.picture.std() > 10
