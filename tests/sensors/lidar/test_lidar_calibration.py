"""Calibration of a LiDAR to a camera, against matrices worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from lidar_clouds import (
    AXES,
    P2,
    RECTIFY,
    ROTATION,
    SIZE,
    VELODYNE,
    K,
    numbers,
    points,
    read,
    write_calibration,
)
from picture_writer import png

from armseg_core.arrays import Calibration
from armseg_core.errors import FormatError, InputError, UsageError


def test_our_calibration_is_found_beside_the_cloud(tmp_path):
    path = tmp_path / "lidar.bin"
    path.write_bytes(points().tobytes())
    write_calibration(tmp_path / "calib.json")
    found = read(path).calibration
    np.testing.assert_array_equal(found.intrinsics, K)
    np.testing.assert_array_equal(found.lidar_to_camera, AXES)
    assert found.size == SIZE
    other = write_calibration(tmp_path / "other.json", size=[10, 20])
    assert read(path, calibration=other).calibration.size == (10, 20)
    assert read(path, calibration=other, image_size="80x60").calibration.size == (60, 80)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"lidar_to_camera": np.eye(3).tolist()}, r"lidar_to_camera has shape \(3, 3\)"),
        ({"lidar_to_camera": (np.eye(4) * 2).tolist()}, "not a rotation"),
        ({"lidar_to_camera": np.diag([1.0, 1, -1, 1]).tolist()}, "not a rotation"),
        ({"intrinsics": np.zeros((3, 3)).tolist()}, "not a camera matrix"),
        ({"intrinsics": "K"}, "is not a matrix of numbers"),
        ({"size": 5}, "is not the size of a picture"),
    ],
)
def test_damaged_calibration(tmp_path, changes, text):
    (tmp_path / "a.bin").write_bytes(points().tobytes())
    write_calibration(tmp_path / "calib.json", **changes)
    with pytest.raises(FormatError, match=text):
        read(tmp_path / "a.bin")


def test_calibration_text_that_is_nothing(tmp_path):
    (tmp_path / "a.bin").write_bytes(points().tobytes())
    for name, data, text in (
        ("calib.json", b"{", "not JSON"),
        ("c.txt", b"hello: world", "no P2"),
        ("d.txt", b"\xff\xfe\x80", "UTF-16 text"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(FormatError, match=text):
            read(tmp_path / "a.bin", calibration=tmp_path / name)
    with pytest.raises(InputError, match="no such calibration"):
        read(tmp_path / "a.bin", calibration=tmp_path / "missing.json")


def expected_pixels(cloud: np.ndarray) -> np.ndarray:
    """KITTI devkit: x = P2 R0_rect Tr_velo_to_cam X, homogeneous, divided by the third coordinate."""
    full_r, full_t = np.eye(4), np.eye(4)
    full_r[:3, :3], full_t[:3] = RECTIFY, VELODYNE
    image = P2 @ full_r @ full_t @ np.column_stack([cloud, np.ones(len(cloud))]).T
    return (image[:2] / image[2]).T


def check_kitti(calibration: Calibration, size: tuple[int, int]) -> None:
    cloud = np.array([[10, 1, 0.5], [8, -2, -1], [20, 3, 1]], np.float64)
    camera = calibration.lidar_to_camera @ np.column_stack([cloud, np.ones(3)]).T
    image = calibration.intrinsics @ camera[:3]
    np.testing.assert_allclose((image[:2] / image[2]).T, expected_pixels(cloud), atol=1e-6)
    assert calibration.size == size


def test_kitti_object_calibration(tmp_path):
    cloud = tmp_path / "velodyne" / "000007.bin"
    cloud.parent.mkdir()
    cloud.write_bytes(points().tobytes())
    (tmp_path / "calib").mkdir()
    text = (
        numbers("P0", P2)
        + numbers("P2", P2)
        + numbers("R0_rect", RECTIFY)
        + numbers("Tr_velo_to_cam", VELODYNE)
    )
    (tmp_path / "calib" / "000007.txt").write_text(text + "\n")
    with pytest.raises(UsageError, match="--image-size"):
        read(cloud)
    check_kitti(read(cloud, image_size="1242x375").calibration, (375, 1242))
    png(tmp_path / "image_2" / "000007.png", np.zeros((30, 44, 3), np.uint8))
    check_kitti(read(cloud).calibration, (30, 44))


def test_kitti_odometry_calibration_has_the_rectification_inside(tmp_path):
    (tmp_path / "a.bin").write_bytes(points().tobytes())
    inside = RECTIFY @ VELODYNE
    (tmp_path / "calib.txt").write_text(numbers("P2", P2) + numbers("Tr", inside))
    check_kitti(read(tmp_path / "a.bin", image_size="44x30").calibration, (30, 44))


def test_kitti_raw_calibration(tmp_path):
    (tmp_path / "a.bin").write_bytes(points().tobytes())
    velo = tmp_path / "calib_velo_to_cam.txt"
    velo.write_text(
        "calib_time: 15-Mar-2012 11:37:16\n" + numbers("R", ROTATION) + numbers("T", VELODYNE[:, 3])
    )
    with pytest.raises(InputError, match="calib_cam_to_cam"):
        read(tmp_path / "a.bin", calibration=velo)
    (tmp_path / "calib_cam_to_cam.txt").write_text(
        "corner_dist: 9.95e-02\n"
        + numbers("R_rect_00", RECTIFY)
        + numbers("P_rect_02", P2)
        + numbers("S_rect_02", np.array([44.0, 30.0]))
    )
    check_kitti(read(tmp_path / "a.bin", calibration=velo).calibration, (30, 44))


def kitti_raw(day):
    """DAY/DRIVE/velodyne_points/data/x.bin and the two calibration files of the day; the cloud."""
    camera = numbers("P_rect_02", P2) + numbers("R_rect_00", RECTIFY) + "S_rect_02: 44 30\n"
    lidar = "calib_time: 1-Jan-2011\n" + numbers("R", ROTATION) + numbers("T", VELODYNE[:, 3])
    cloud = day / "drive_0001_sync/velodyne_points/data/0000000000.bin"
    cloud.parent.mkdir(parents=True)
    cloud.write_bytes(points().tobytes())
    (day / "calib_cam_to_cam.txt").write_text(camera)
    (day / "calib_velo_to_cam.txt").write_text(lidar)
    return cloud


def test_the_pair_of_kitti_raw_is_found_above_and_from_either_file(tmp_path):
    cloud = kitti_raw(tmp_path / "2011_09_26")
    check_kitti(read(cloud).calibration, (30, 44))
    for name in ("calib_cam_to_cam.txt", "calib_velo_to_cam.txt"):
        check_kitti(read(cloud, calibration=tmp_path / "2011_09_26" / name).calibration, (30, 44))
    (tmp_path / "2011_09_26/calib_velo_to_cam.txt").unlink()
    with pytest.raises(InputError, match=r"calib_velo_to_cam\.txt: KITTI raw keeps the place of the LiDAR"):
        read(cloud, calibration=tmp_path / "2011_09_26/calib_cam_to_cam.txt")
