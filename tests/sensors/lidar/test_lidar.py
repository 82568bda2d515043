"""LiDAR: point clouds written with struct, projection against a plain loop."""

from __future__ import annotations

import struct
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lidar_clouds import AXES, OPTIONS, SIZE, K, check, points, read

from armseg_core.arrays import Calibration, PointCloud
from armseg_core.errors import ArmsegWarning, FormatError, MissingExtraError, UsageError
from armseg_core.sensors.lidar import readers as sensor
from armseg_core.sensors.lidar import representations as rep
from armseg_core.sensors.lidar.options import LidarOptions
from armseg_core.sensors.recognition import sniff

# --- formats ---


def test_kitti_bin(tmp_path):
    table = points()
    path = tmp_path / "000001.bin"
    path.write_bytes(b"".join(struct.pack("<4f", *row) for row in table))
    cloud = read(path)
    check(cloud, table)
    assert cloud.calibration is None
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(FormatError, match="a multiple of 16 bytes"):
        sensor.read_kitti_bin(path, OPTIONS)


def test_nuscenes_bin(tmp_path):
    table = points()
    path = tmp_path / "n.pcd.bin"
    path.write_bytes(
        b"".join(struct.pack("<5f", *row[:3], round(row[3] * 255), i % 32) for i, row in enumerate(table))
    )
    assert sniff(path, "lidar").name == "nuscenes-bin"
    check(read(path), np.column_stack([table[:, :3], np.rint(table[:, 3] * 255) / 255]))


def pcd_header(kind: str, count: int, fields="x y z intensity ring") -> bytes:
    names = fields.split()
    size = {"x": 4, "y": 4, "z": 4, "intensity": 4, "ring": 2, "_": 1}
    letter = {"ring": "U", "_": "U"}
    return (
        "# .PCD v0.7\nVERSION 0.7\n"
        f"FIELDS {fields}\nSIZE {' '.join(str(size[n]) for n in names)}\n"
        f"TYPE {' '.join(letter.get(n, 'F') for n in names)}\n"
        f"COUNT {' '.join('3' if n == '_' else '1' for n in names)}\n"
        f"WIDTH {count}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {count}\nDATA {kind}\n"
    ).encode()


def test_pcd_ascii_and_binary(tmp_path):
    table = points()
    lines = "\n".join(f"{x:.9g} {y:.9g} {z:.9g} {i:.9g} {n}" for n, (x, y, z, i) in enumerate(table))
    (tmp_path / "a.pcd").write_bytes(pcd_header("ascii", 200) + lines.encode())
    check(read(tmp_path / "a.pcd"), table)
    body = b"".join(struct.pack("<4fH", *row, n) for n, row in enumerate(table))
    (tmp_path / "b.pcd").write_bytes(pcd_header("binary", 200) + body)
    check(read(tmp_path / "b.pcd"), table)
    padded = b"".join(struct.pack("<3f3xf", *row) for row in table)
    (tmp_path / "p.pcd").write_bytes(pcd_header("binary", 200, "x y z _ intensity") + padded)
    check(read(tmp_path / "p.pcd"), table)
    text = "\n".join(f"{x:.9g} {y:.9g} {z:.9g} 7 8 9 {i:.9g}" for x, y, z, i in table)
    (tmp_path / "q.pcd").write_bytes(pcd_header("ascii", 200, "x y z _ intensity") + text.encode())
    check(read(tmp_path / "q.pcd"), table)


def test_pcd_compressed(tmp_path, monkeypatch):
    """Field by field, packed with LZF; a packer may leave all literal, 32 bytes behind each length byte."""
    pytest.importorskip("pypcd4")
    table = points()
    path = tmp_path / "c.pcd"
    plain = table.T.astype("<f4").tobytes()
    packed = b"".join(
        bytes([len(plain[i : i + 32]) - 1]) + plain[i : i + 32] for i in range(0, len(plain), 32)
    )
    header = pcd_header("binary_compressed", 200, "x y z intensity")
    path.write_bytes(header + struct.pack("<II", len(packed), len(plain)) + packed)
    check(read(path), table)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(FormatError, match="bytes of compressed points"):
        read(path)
    monkeypatch.setitem(sys.modules, "pypcd4", None)
    with pytest.raises(MissingExtraError, match=r"armseg\[lidar\]"):
        read(path)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (pcd_header("binary", 200) + bytes(100), "truncated"),
        (pcd_header("ascii", 3) + b"1 2 3", "truncated"),
        (pcd_header("ascii", 1) + b"1 2 x 4 5", "not all values are numbers"),
        (pcd_header("zip", 1), "PCD data 'zip'"),
        (pcd_header("binary", 1, "x y intensity") + bytes(12), "expected x, y and z"),
        (pcd_header("binary", 1).replace(b"SIZE", b"SIZ"), "header is not whole"),
        (pcd_header("binary", 1).replace(b"POINTS 1", b"POINTS -1"), "header is not whole"),
        (pcd_header("binary", 1).replace(b"x y z", b"x x z"), "header is not whole"),
        (pcd_header("binary", 1).split(b"DATA")[0], "no DATA line"),
        (pcd_header("", 1), "empty DATA line"),
    ],
)
def test_damaged_pcd(tmp_path, data, text):
    (tmp_path / "d.pcd").write_bytes(data)
    with pytest.raises(FormatError, match=text):
        sensor.read_pcd(tmp_path / "d.pcd", OPTIONS)


def ply_header(form: str, count: int, before: str = "") -> bytes:
    return (
        f"ply\nformat {form} 1.0\ncomment made by hand\n{before}element vertex {count}\n"
        "property float x\nproperty float y\n"
        "property double z\nproperty uchar red\nproperty uchar intensity\nelement face 1\n"
        "property list uchar int vertex_indices\nend_header\n"
    ).encode()


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("before", ["", "element camera 2\nproperty float f\nproperty short n\n"])
def test_ply(tmp_path, form, before):
    table = points()
    table[:, 3] = np.rint(table[:, 3] * 255) / 255
    if form == "ascii":
        rows = ["1.5 2"] * (2 if before else 0)
        rows += [f"{x:.9g} {y:.9g} {z:.17g} 9 {round(i * 255)}" for x, y, z, i in table]
        body = "\n".join([*rows, "3 0 1 2", ""]).encode()
    else:
        order = "<" if form.endswith("little_endian") else ">"
        body = struct.pack(order + "fh", 1.5, 2) * (2 if before else 0)
        body += b"".join(struct.pack(order + "ffdBB", x, y, z, 9, round(i * 255)) for x, y, z, i in table)
        body += struct.pack(order + "B3i", 3, 0, 1, 2)
    (tmp_path / "p.ply").write_bytes(ply_header(form, len(table), before) + body)
    check(read(tmp_path / "p.ply"), table)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (ply_header("binary_little_endian", 9) + bytes(20), "truncated"),
        (ply_header("ascii", 9) + b"1 2 3 4 5\n", "truncated"),
        (ply_header("base64", 1) + bytes(99), "PLY format 'base64'"),
        (ply_header("ascii", 1).replace(b"double z", b"double w") + b"1 2 3 4 5\n", "expected x, y and z"),
        (ply_header("ascii", 1).replace(b"float y", b"float x") + b"1 2 3 4 5\n", "names a property twice"),
        (ply_header("ascii", 1).replace(b"vertex 1", b"vertex one"), "header is damaged"),
        (ply_header("ascii", 1).replace(b"vertex 1", b"vertex -1"), "lists or unknown types"),
        (ply_header("ascii", 1).replace(b"element vertex", b"element other"), "no element 'vertex'"),
        (ply_header("ascii", 1, "element a 1\nproperty list uchar int i\n"), "lists or unknown types"),
        (b"ply\nformat ascii 1.0\n", "header has no end"),
    ],
)
def test_damaged_ply(tmp_path, data, text):
    (tmp_path / "d.ply").write_bytes(data)
    with pytest.raises(FormatError, match=text):
        sensor.read_ply(tmp_path / "d.ply", OPTIONS)


@pytest.mark.parametrize("suffix", ["las", "laz"])
def test_las(tmp_path, suffix):
    laspy = pytest.importorskip("laspy")
    table = points()
    header = laspy.LasHeader(point_format=3, version="1.2")
    header.scales, header.offsets = [0.001] * 3, [0, 0, 0]
    data = laspy.LasData(header)
    data.x, data.y, data.z = table[:, :3].T.astype(float)
    data.intensity = np.rint(table[:, 3] * 65535).astype(np.uint16)
    data.write(str(tmp_path / f"a.{suffix}"))
    check(read(tmp_path / f"a.{suffix}", lidar_unit="m"), table, atol=1e-3)
    data.x = table[:, 0].astype(float) + 400_000
    data.write(str(tmp_path / f"map.{suffix}"))
    with pytest.warns(ArmsegWarning, match="map coordinates, moved"):
        cloud = read(tmp_path / f"map.{suffix}", lidar_unit="m")
    assert np.abs(cloud.points).max() < 60
    (tmp_path / f"bad.{suffix}").write_bytes(b"LASF" + bytes(50))
    with pytest.raises(FormatError, match="ends after 54 bytes, within its header"):
        read(tmp_path / f"bad.{suffix}")


def test_points_that_are_not_finite_are_dropped(tmp_path):
    table = points(5)
    table[1, 0], table[3, 2] = np.nan, np.inf
    (tmp_path / "a.bin").write_bytes(table.tobytes())
    check(sensor.read_kitti_bin(tmp_path / "a.bin", OPTIONS), table[[0, 2, 4]])
    table[:, 0] = np.nan
    (tmp_path / "a.bin").write_bytes(table.tobytes())
    with pytest.raises(FormatError, match="no finite point"):
        sensor.read_kitti_bin(tmp_path / "a.bin", OPTIONS)


def test_coordinates_that_are_not_meters_are_said(tmp_path):
    table = points(5) * np.array([1000, 1000, 1000, 1], np.float32)
    (tmp_path / "a.bin").write_bytes(table.tobytes())
    with pytest.warns(ArmsegWarning, match="are the coordinates meters"):
        sensor.read_kitti_bin(tmp_path / "a.bin", OPTIONS)


def test_n_mnist_events_are_not_taken_for_points(tmp_path):
    rng = np.random.default_rng(0)
    times = np.sort(rng.integers(0, 300_000, 1600))
    records = [
        bytes([rng.integers(34), rng.integers(34), (p << 7) | (t >> 16), (t >> 8) & 255, t & 255])
        for t, p in zip(times.tolist(), rng.integers(0, 2, 1600).tolist(), strict=True)
    ]
    (tmp_path / "00001.bin").write_bytes(b"".join(records))
    assert len(b"".join(records)) % 16 == 0
    assert not any(reader.matches(tmp_path / "00001.bin") for reader in sensor.LIDAR_READERS)


# --- projection ---


def loop(cloud: np.ndarray, intensity: np.ndarray, calibration: Calibration) -> np.ndarray:
    """P = K [R|t] X point by point in plain Python: the nearest wins, the first of equals."""
    h, w = calibration.size
    depth, value, valid = np.zeros((3, h, w))
    for point, brightness in zip(cloud.astype(float), intensity, strict=True):
        camera = calibration.lidar_to_camera @ [*point, 1]
        if camera[2] <= 0:
            continue
        x, y, z = calibration.intrinsics @ camera[:3]
        column, row = int(np.floor(x / z + 0.5)), int(np.floor(y / z + 0.5))
        if 0 <= column < w and 0 <= row < h and (not valid[row, column] or camera[2] < depth[row, column]):
            depth[row, column], value[row, column], valid[row, column] = camera[2], brightness, 1
    return np.stack([depth, value, valid])


@pytest.mark.parametrize("seed", range(3))
def test_projection_equals_a_plain_loop(seed):
    table = points(6000, seed)
    table[100:200] = table[:100]  # equal depths
    table[100:200, 3] = 0.123
    calibration = Calibration(K, AXES, SIZE)
    before = table.copy()
    frame = rep.project(table[:, :3], table[:, 3], calibration)
    np.testing.assert_allclose(frame, loop(table[:, :3], table[:, 3], calibration), rtol=1e-6)
    assert 50 < frame[2].sum() < 1200
    np.testing.assert_array_equal(table, before)


def test_projection_by_hand():
    """A point 10 m ahead, 1 m left, 0.5 m up of an identity pose: x = 20 - 5, y = 15 - 3."""
    pose = AXES.copy()
    pose[:3, 3] = 0
    cloud = PointCloud(
        np.array([[10, 1, 0.5], [12, 1.2, 0.6], [-10, 1, 0.5], [0, 1, 1]], np.float32),
        np.array([0.3, 0.9, 0.9, 0.9], np.float32),
        Calibration(K, pose, SIZE),
    )
    made = rep.projected(cloud, OPTIONS)
    frame, names, units = made.values, made.channels, made.units
    assert names == ("depth", "intensity", "valid")
    assert units == ("m", "1", "1")
    assert frame.dtype == np.float32
    np.testing.assert_allclose(frame[:, 12, 15], [10, 0.3, 1], rtol=1e-6)
    assert frame[2].sum() == 1  # the farther one, the one behind and the one at z = 0 are gone
    assert not frame[:, frame[2] == 0].any()


def test_size_scales_the_camera():
    table = points(4000)
    cloud = PointCloud(table[:, :3].copy(), table[:, 3].copy(), Calibration(K, AXES, SIZE))
    small = rep.projected(cloud, LidarOptions(size=(15, 20))).values
    assert small.shape == (3, 15, 20)
    full = rep.projected(cloud, OPTIONS).values
    nearest = np.where(full[2] > 0, full[0], np.inf).reshape(15, 2, 20, 2).min(axis=(1, 3))
    np.testing.assert_allclose(np.where(small[2] > 0, small[0], np.inf), nearest, rtol=1e-6)


def test_missing_calibration_and_a_wrong_one():
    table = points(10)
    with pytest.raises(UsageError, match="--calibration FILE"):
        rep.projected(PointCloud(table[:, :3].copy(), table[:, 3].copy()), OPTIONS)
    behind = PointCloud(
        np.array([[-5, 0, 0]], np.float32), np.ones(1, np.float32), Calibration(K, AXES, SIZE)
    )
    with pytest.warns(ArmsegWarning, match="no point of the cloud falls into the picture"):
        frame = rep.projected(behind, OPTIONS).values
    assert not frame.any()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1e3, 1e3, width=32)] * 3), max_size=30))
def test_any_points_are_projected_like_the_loop(cloud):
    cloud = np.array(cloud, np.float32).reshape(-1, 3)
    intensity = np.linspace(0, 1, len(cloud)).astype(np.float32)
    calibration = Calibration(K, AXES, SIZE)
    frame = rep.project(cloud, intensity, calibration)
    np.testing.assert_allclose(frame, loop(cloud, intensity, calibration), rtol=1e-6)
