"""Depth: every unit against its published formula, readers against files written byte by byte, normals and
HHA against planes in closed form."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_writer import pfm, png, tiff

from armseg_core.arrays import Depth, HhaImage
from armseg_core.errors import ArmsegWarning, FormatError, MissingExtraError, UsageError
from armseg_core.sensors.depth import readers as sensor
from armseg_core.sensors.depth import representations as rep
from armseg_core.sensors.depth.options import DepthOptions
from armseg_core.sensors.recognition import sniff

K = np.array([[100.0, 0, 31.5], [0, 100.0, 23.5], [0, 0, 1]])
SIZE = (48, 64)


def read(path: Path, **options):
    return sniff(path, "depth").read(path, DepthOptions(**options))


def values16(seed=0, shape=(5, 7)) -> np.ndarray:
    values = np.random.default_rng(seed).integers(500, 20_000, shape).astype(np.uint16)
    values[0, 0] = 0
    return values


# --- units ---


@pytest.mark.parametrize(
    ("unit", "stored", "meters"),
    [
        ("mm", 1234, 1.234),
        ("cm", 123, 1.23),
        ("m", 7, 7.0),
        ("kitti256", 2560, 10.0),  # KITTI depth devkit: v / 256 m
        ("tum5000", 5000, 1.0),  # TUM RGB-D: v / 5000 m
        ("sunrgbd", 16000, 2.0),  # SUN RGB-D: 2000 mm rotated left by 3
        ("sunrgbd", 0xFFFF, 8.0),  # clipped to 8 m
        ("cityscapes", 257, 0.2 * 1000 / 1),  # disparity (257 - 1) / 256 = 1 px
        ("disparity256", 512, 0.2 * 1000 / 2),  # DSEC: 2 px
        ("disparity", 4, 0.2 * 1000 / 4),
    ],
)
def test_units_by_hand(tmp_path, unit, stored, meters):
    path = png(tmp_path / "d.png", np.array([[stored, 0]], np.uint16))
    data = read(path, depth_unit=unit, baseline=0.2, intrinsics="1000,1000,0,0")
    np.testing.assert_allclose(data.meters, [[meters, 0]], rtol=1e-6)
    np.testing.assert_array_equal(data.valid, [[True, False]])


def test_sunrgbd_rotation_keeps_the_high_bits():
    """The low 3 bits of the file are the high 3 bits of the millimeters (bitshift -3 | bitshift 13)."""
    millimeters = np.arange(1, 8000, 7, dtype=np.uint16)
    stored = ((millimeters << 3) | (millimeters >> 13)).astype(np.uint16)
    np.testing.assert_allclose(sensor.to_meters(stored[None], "sunrgbd")[0], millimeters / 1000, rtol=1e-6)


def test_carla_24_bits(tmp_path):
    """CARLA: (R + 256 G + 65536 B) / (2^24 - 1) km."""
    image = np.array([[[1, 2, 3], [255, 255, 255], [0, 0, 0]]], np.uint8)
    data = read(png(tmp_path / "c.png", image), depth_unit="carla")
    expected = [(1 + 2 * 256 + 3 * 65536) / 16777215 * 1000, 1000, 0]
    np.testing.assert_allclose(data.meters[0], expected, rtol=1e-6)


def test_disparity_needs_baseline_and_focal_length(tmp_path):
    path = png(tmp_path / "d.png", values16())
    with pytest.raises(UsageError, match="--baseline METERS --intrinsics"):
        read(path, depth_unit="disparity256")


def test_unit_that_is_not_given_is_said(tmp_path):
    with pytest.warns(ArmsegWarning, match="depth taken as mm, which the file does not say"):
        data = read(png(tmp_path / "d.png", values16()))
    np.testing.assert_allclose(data.meters, values16() / 1000, rtol=1e-6)
    with pytest.warns(ArmsegWarning, match="depth taken as m,"):
        read(pfm(tmp_path / "d.pfm", np.ones((3, 4), np.float32)))


@pytest.mark.parametrize(("unit", "stored"), [("m", 20_000), ("mm", 3)])
def test_implausible_median_is_said(tmp_path, unit, stored):
    path = png(tmp_path / "d.png", np.full((3, 4), stored, np.uint16))
    with pytest.warns(ArmsegWarning, match="median depth is .* is the unit right"):
        read(path, depth_unit=unit)


def test_all_zero_picture_is_said(tmp_path):
    with pytest.warns(ArmsegWarning, match="no valid depth in the whole picture"):
        data = read(png(tmp_path / "d.png", np.zeros((3, 4), np.uint16)), depth_unit="mm")
    frame = rep.metric(data, DepthOptions()).values
    assert not frame.any()


# --- readers ---


@pytest.mark.parametrize("big", [False, True])
def test_pfm(tmp_path, big):
    values = np.random.default_rng(0).uniform(1, 9, (5, 7)).astype(np.float32)
    values[0, 0], values[1, 1], values[2, 2] = np.inf, np.nan, -1
    data = read(pfm(tmp_path / "d.pfm", values, big), depth_unit="m")
    good = np.isfinite(values) & (values > 0)
    np.testing.assert_array_equal(data.valid, good)
    np.testing.assert_array_equal(data.meters, np.where(good, values, 0))


def test_float_tiff_and_npy(tmp_path):
    values = np.random.default_rng(0).uniform(1, 9, (12, 16)).astype(np.float32)
    np.testing.assert_array_equal(read(tiff(tmp_path / "d.tiff", values), depth_unit="m").meters, values)
    for name, stored in (("a", values), ("b", values[..., None]), ("c", values[None])):
        np.save(tmp_path / f"{name}.npy", stored.astype(np.float64))
        np.testing.assert_array_equal(read(tmp_path / f"{name}.npy", depth_unit="m").meters, values)
    np.savez(tmp_path / "d.npz", depth=values, extra=np.zeros(2))
    np.testing.assert_array_equal(read(tmp_path / "d.npz", depth_unit="m").meters, values)
    np.save(tmp_path / "i.npy", (values * 1000).astype(np.uint16))
    with pytest.warns(ArmsegWarning, match="taken as mm"):
        assert abs(read(tmp_path / "i.npy").meters - values).max() < 1e-3


def test_nyu_mat_has_its_axes_reversed(tmp_path):
    """MATLAB depths (H, W, N) = (480, 640, 1449) appear in HDF5 as (N, W, H)."""
    depths = np.random.default_rng(0).uniform(1, 9, (6, 8, 3)).astype(np.float32)
    with h5py.File(tmp_path / "nyu.mat", "w", userblock_size=512) as f:
        f["depths"] = depths.transpose()
        f["images"] = np.zeros((3, 3, 8, 6), np.uint8)
    with (tmp_path / "nyu.mat").open("r+b") as f:
        f.write(b"MATLAB 7.3 MAT-file".ljust(512, b" "))
    for i in range(3):
        np.testing.assert_array_equal(read(tmp_path / "nyu.mat", frame=i).meters, depths[:, :, i])
    with pytest.raises(FormatError, match="--frame 0 to 2"):
        read(tmp_path / "nyu.mat", frame=3)
    with h5py.File(tmp_path / "d.h5", "w") as f:
        f["depth"] = depths[:, :, 0]
    np.testing.assert_array_equal(read(tmp_path / "d.h5", depth_unit="m").meters, depths[:, :, 0])


def test_exr(tmp_path):
    exr = pytest.importorskip("OpenEXR")
    values = np.random.default_rng(0).uniform(1, 9, (6, 8)).astype(np.float32)
    path = tmp_path / "d.exr"
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    exr.File(header, {"Z": values}).write(str(path))
    np.testing.assert_array_equal(read(path, depth_unit="m").meters, values)
    exr.File(header, {"a": values, "b": values}).write(str(path))
    with pytest.raises(FormatError, match="expected channel Z"):
        read(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(FormatError, match="cannot be decoded"):
        read(path)


def test_exr_without_its_package_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "d.exr").write_bytes(b"\x76\x2f\x31\x01" + bytes(20))
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(MissingExtraError, match=r"armseg\[exr\]"):
        read(tmp_path / "d.exr")


def test_eight_bit_depth_is_doubted(tmp_path):
    path = png(tmp_path / "d.png", np.full((3, 4), 100, np.uint8))
    with pytest.raises(FormatError, match="256 levels"):
        read(path)
    assert read(path, depth_unit="cm").meters[0, 0] == 1


def test_equal_channels_are_one_and_colors_are_refused(tmp_path):
    gray = values16()[..., None].repeat(3, -1)
    np.testing.assert_array_equal(
        read(png(tmp_path / "g.png", gray), depth_unit="mm").meters[1:], values16()[1:] / np.float32(1000)
    )
    gray[0, 0, 0] = 9
    with pytest.raises(FormatError, match="in color"):
        read(png(tmp_path / "c.png", gray), depth_unit="mm")
    with pytest.raises(FormatError, match="--depth-unit carla"):
        read(png(tmp_path / "rgb.png", np.random.default_rng(0).integers(0, 255, (4, 5, 3)).astype(np.uint8)))


def test_unit_for_another_number_of_channels(tmp_path):
    path = png(tmp_path / "d.png", values16())
    for unit in ("carla", "hha"):
        with pytest.raises(UsageError, match="three 8-bit channels"):
            read(path, depth_unit=unit)


def test_intrinsics_from_the_calibration_beside_the_file(tmp_path):
    path = png(tmp_path / "d.png", np.full(SIZE, 2000, np.uint16))
    assert read(path, depth_unit="mm").intrinsics is None
    calibration = {"intrinsics": K.tolist(), "lidar_to_camera": np.eye(4).tolist(), "size": list(SIZE)}
    (tmp_path / "calib.json").write_text(json.dumps(calibration))
    np.testing.assert_array_equal(read(path, depth_unit="mm").intrinsics, K)
    given = read(path, depth_unit="mm", intrinsics="50,60,1,2").intrinsics
    np.testing.assert_array_equal(given, [[50, 0, 1], [0, 60, 2], [0, 0, 1]])
    for text in (
        json.dumps(calibration | {"size": [1, 2]}),
        "{",
        "[]",
        json.dumps({"intrinsics": "x", "size": 3}),
    ):
        (tmp_path / "calib.json").write_text(text)
        assert read(path, depth_unit="mm").intrinsics is None


# --- representations ---


def test_metric_by_hand():
    meters = np.array([[2, 0, 0.001, 4]], np.float32)
    data = Depth(meters, np.array([[True, True, True, False]]))
    made = rep.metric(data, DepthOptions())
    frame, names, units = made.values, made.channels, made.units
    assert names == ("depth", "valid", "inverse_depth")
    assert units == ("m", "1", "1/m")
    np.testing.assert_allclose(frame[:, 0, 0], [2, 1, 0.5])
    np.testing.assert_array_equal(frame[:, 0, 1], 0)
    assert frame[2, 0, 2] == 100  # nearer than 1 cm is capped
    np.testing.assert_array_equal(frame[:, 0, 3], 0)  # not valid although a number is stored
    np.testing.assert_array_equal(rep.inverse(data, DepthOptions()).values, frame[2:])
    assert meters[0, 3] == 4


def test_resizing_never_mixes_depths():
    meters = np.where(np.arange(64)[None] < 33, 1.0, 9.0).repeat(48, 0).reshape(48, 64).astype(np.float32)
    meters[::5] = 0
    frame = rep.metric(Depth(meters, meters > 0), DepthOptions(size=(31, 27))).values
    assert frame.shape == (3, 31, 27)
    assert set(np.unique(frame[0])) <= {0, 1, 9}


def plane_depth(normal: np.ndarray, distance: float, camera: np.ndarray = K, size=SIZE) -> np.ndarray:
    """Depth of the plane normal . X = distance: z = distance / (normal . ray)."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float64)
    ray = np.stack([(x - camera[0, 2]) / camera[0, 0], (y - camera[1, 2]) / camera[1, 1], np.ones_like(x)])
    return (distance / np.tensordot(normal, ray, axes=1)).astype(np.float32)


@pytest.mark.parametrize("normal", [(0, 0, 1), (0.3, 0.2, 0.9), (-0.6, 0.1, 0.7)])
def test_normals_of_a_plane(normal):
    normal = np.array(normal) / np.linalg.norm(normal)
    depth = plane_depth(normal, 3.0)
    depth[10:12, 10:20] = 0
    frame = rep.normals(Depth(depth, depth > 0, K), DepthOptions()).values
    seen = np.moveaxis(frame, 0, -1)
    assert not seen[10:12, 10:20].any()
    np.testing.assert_allclose(seen[depth > 0], np.broadcast_to(-normal, seen[depth > 0].shape), atol=2e-3)


def test_normals_survive_resizing():
    normal = np.array([0.3, 0.2, 0.9]) / np.linalg.norm([0.3, 0.2, 0.9])
    depth = plane_depth(normal, 3.0, size=(96, 128))
    camera = np.array([[100, 0, 40.0], [0, 100, 20.0], [0, 0, 1]])
    depth = plane_depth(normal, 3.0, camera, (96, 128))
    frame = rep.normals(Depth(depth, depth > 0, camera), DepthOptions(size=(48, 64))).values
    assert np.abs(np.moveaxis(frame, 0, -1) + normal).max() < 0.05  # nearest pixel is up to half a pixel away


ROOM_K = np.array([[40.0, 0, 31.5], [0, 40.0, 23.5], [0, 0, 1]])


def room(pitch_deg: float):
    """Depth of a floor 1.5 m below and a wall 4 m ahead, floor mask, gravity; the camera looks down."""
    a = np.radians(pitch_deg)
    gravity = np.array([0, np.cos(a), np.sin(a)])
    wall = np.array([0, -np.sin(a), np.cos(a)])
    with np.errstate(divide="ignore"):
        floor_z, wall_z = plane_depth(gravity, 1.5, ROOM_K), plane_depth(wall, 4.0, ROOM_K)
    floor = (floor_z > 0) & (floor_z < wall_z)
    return np.where(floor, floor_z, wall_z).astype(np.float32), floor, gravity


@pytest.mark.parametrize("pitch", [10, 20, 35])
def test_gravity_and_hha_of_a_room(pitch):
    depth, floor, gravity = room(pitch)
    assert 0.05 < floor.mean() < 0.95
    estimate = rep.gravity_direction(rep.plane_normals(depth, ROOM_K, 10))
    assert np.degrees(np.arccos(estimate @ gravity)) < 3
    made = rep.hha(Depth(depth, depth > 0, ROOM_K), DepthOptions())
    frame, names = made.values, made.channels
    assert names == ("disparity", "height", "angle")
    assert frame.dtype == np.uint8
    np.testing.assert_array_equal(
        frame[0], np.rint(np.clip(31000 / np.maximum(depth.astype(float) * 100, 100), 0, 255))
    )
    near_corner = cv2.dilate(cv2.Canny(floor.astype(np.uint8) * 255, 1, 2), np.ones((11, 11))) > 0
    inside = np.zeros(SIZE, bool)
    inside[4:-4, 4:-4] = True
    for surface, code in ((floor, 0 + 128 - 90), (~floor, 90 + 128 - 90)):
        chosen = surface & inside & ~near_corner
        assert chosen.sum() > 50
        assert np.abs(frame[2][chosen].astype(int) - code).max() <= 4
    points = rep.back_project(depth, ROOM_K)
    height = -(gravity @ points.reshape(3, -1)).reshape(SIZE) * 100
    expected = np.clip(height - height.min(), 0, 255)
    assert np.median(np.abs(frame[1] - expected)) < 8


def test_gravity_without_any_normal_is_the_image_vertical():
    np.testing.assert_array_equal(rep.gravity_direction(np.zeros((3, 4, 5))), [0, 1, 0])


def test_hha_pictures_pass_unchanged(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (6, 8, 3)).astype(np.uint8)
    path = png(tmp_path / "hha" / "a.png", image)
    with pytest.warns(ArmsegWarning, match="taken as HHA, by its name"):
        data = read(path)
    assert isinstance(data, HhaImage)
    frame = rep.hha(data, DepthOptions()).values
    np.testing.assert_array_equal(frame, np.moveaxis(image, -1, 0))
    with pytest.warns(ArmsegWarning, match="310 / value"):
        metric = rep.metric(data, DepthOptions()).values
    seen = image[..., 0] > 0
    np.testing.assert_allclose(metric[0][seen], 310 / image[..., 0][seen], rtol=1e-5)
    with pytest.raises(UsageError, match="the input is HHA"):
        rep.normals(data, DepthOptions())


@pytest.mark.parametrize("make", [rep.normals, rep.hha])
def test_missing_intrinsics(make):
    depth = np.ones(SIZE, np.float32)
    with pytest.raises(UsageError, match="--intrinsics fx,fy,cx,cy"):
        make(Depth(depth, depth > 0), DepthOptions())


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 2**31),
    st.sampled_from(["mm", "m", "kitti256", "tum5000", "sunrgbd", "cityscapes", "disparity256", "disparity"]),
    st.sampled_from(["uint16", "float32", "float64", "int32"]),
)
@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")
def test_any_numbers_give_a_finite_frame(tmp_path_factory, h, w, seed, unit, dtype):
    rng = np.random.default_rng(seed)
    values = rng.choice([0, 1, 65535, 3.3, 1e30, -5, np.nan, np.inf, -np.inf], (h, w))
    with np.errstate(invalid="ignore"):
        values = (
            values.astype(dtype)
            if dtype.startswith("f")
            else np.nan_to_num(values, posinf=7, neginf=3).clip(0, 65535).astype(dtype)
        )
    path = tmp_path_factory.mktemp("d") / "d.npy"
    np.save(path, values)
    options = DepthOptions(depth_unit=unit, baseline=0.5, intrinsics="50,50,3,3")
    if unit == "sunrgbd" and dtype.startswith("f"):
        with pytest.raises(UsageError, match="16-bit integers"):
            sensor.read_array(path, options)
        return
    data = sensor.read_array(path, options)
    for make in (rep.metric, rep.normals, rep.hha):
        frame = make(data, options).values
        assert frame.shape == (3, h, w)
        assert np.isfinite(frame).all()
