"""What the numbers of a depth picture mean: relative depth, scales, likely units, what is no depth.

The last part reads real recordings, where they lie beside the checkout, against the values of other readers.
"""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from picture_writer import pfm, png, tiff
from PIL import Image
from shared_data import shared

from armseg_core.arrays import Depth, RelativeDepth
from armseg_core.conversion.convert import convert_file, to_tensor
from armseg_core.conversion.inspection import inspect_file
from armseg_core.errors import ArmsegError, ArmsegWarning, FormatError, UsageError
from armseg_core.figures import make_figure
from armseg_core.files.tensor_file import TensorFile
from armseg_core.sensors.depth.options import DepthOptions
from armseg_core.sensors.recognition import sniff

RNG = np.random.default_rng(0)


def read(path: Path, **options):
    return sniff(path, "depth").read(path, DepthOptions(**options))


def slope(shape=(24, 32)) -> np.ndarray:
    """Smooth numbers from 1000 to 3000, like a depth in millimeters."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    return np.rint(1000 + 2000 * (y / shape[0] * 0.3 + x / shape[1] * 0.7)).astype(np.uint16)


# --- relative depth ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("near", ["great", "small"])
def test_relative_depth_is_one_at_the_nearest(tmp_path: Path, near: str) -> None:
    stored = np.array([[0, 100, 300, 500]], np.uint16)
    data = read(png(tmp_path / "disp.png", stored), depth_unit="relative", near=near)
    assert isinstance(data, RelativeDepth)
    np.testing.assert_array_equal(data.valid, [[False, True, True, True]])
    expected = [0, 0, 0.5, 1] if near == "great" else [0, 1, 0.5, 0]
    np.testing.assert_allclose(data.inverse, [expected])


def test_relative_depth_of_a_network_may_be_negative(tmp_path: Path) -> None:
    values = np.array([[-1, 0, 3, np.nan]], np.float32).repeat(12, 0).repeat(4, 1)
    np.save(tmp_path / "midas.npy", values)
    data = read(tmp_path / "midas.npy", depth_unit="relative", near="great")
    np.testing.assert_allclose(data.inverse[0, ::4], [0, 0.25, 1, 0])
    np.testing.assert_array_equal(data.valid[0, ::4], [True, True, True, False])


def test_one_wrong_match_does_not_flatten_the_rest(tmp_path: Path) -> None:
    stored = slope((40, 50))
    stored[3, 3] = 65535
    data = read(png(tmp_path / "d.png", stored), depth_unit="relative", near="great")
    assert data.inverse[:, 40].mean() > 0.5  # 0.03 if that one pixel were the end


def test_which_values_are_near_is_said_when_it_is_assumed(tmp_path: Path) -> None:
    path = png(tmp_path / "d.png", slope())
    with pytest.warns(ArmsegWarning, match=r"great values taken as near.*--near small"):
        read(path, depth_unit="relative")


def test_a_constant_or_empty_picture_is_finite(tmp_path: Path) -> None:
    same = read(png(tmp_path / "s.png", np.full((3, 4), 7, np.uint16)), depth_unit="relative", near="great")
    assert (same.inverse == 0).all()
    assert same.valid.all()
    with pytest.warns(ArmsegWarning, match="no valid depth"):
        none = read(png(tmp_path / "n.png", np.zeros((3, 4), np.uint16)), depth_unit="relative", near="great")
    assert not none.valid.any()


def test_no_meter_stands_anywhere(tmp_path: Path, monkeypatch) -> None:
    """inspect, the converted file, the model tensor and the color bar of relative depth."""
    path, options = png(tmp_path / "disparity.png", slope()), {"depth_unit": "relative", "near": "great"}
    report = inspect_file(path, modality="depth", options=options)
    assert report["unit"].startswith("none")
    assert not {"depth_m"} & set(report)
    assert report["relative_inverse_depth"] == [0, pytest.approx(0.5, abs=0.1), 1]
    convert_file(path, tmp_path / "d.h5", modality="depth", options=options)
    with TensorFile(tmp_path / "d.h5") as file:
        assert file.info.representation == "relative"
        assert file.info.channels == ("relative_inverse_depth", "valid")
        assert not {"m", "1/m"} & set(file.info.units)
    for source, given in ((path, options), (tmp_path / "d.h5", {})):
        tensor = to_tensor(source, modality="depth", options=given).frames[0]
        assert tensor.shape == (3, 24, 32)
        assert not tensor[0].any()  # meters
        assert tensor[1].all()
        assert (tensor[2].min(), tensor[2].max()) == (0, 1)
    bars = []
    monkeypatch.setattr("armseg_core.sensors.drawing.figure", lambda t, s, panels, *a: bars.extend(panels))
    for source, given in ((path, options), (tmp_path / "d.h5", {})):
        with pytest.raises(AttributeError):  # the drawing itself is replaced
            make_figure(source, modality=None if given == {} else "depth", options=given)
    assert len(bars) == 2
    assert all(panel.bar[1:] == (0.0, 1.0, "", False) for panel in bars)


@pytest.mark.parametrize("name", ["metric", "inverse", "normals", "hha"])
def test_representations_in_meters_refuse_relative_depth(tmp_path: Path, name: str) -> None:
    path = png(tmp_path / "d.png", slope())
    options = {"depth_unit": "relative", "near": "great", "intrinsics": "20,20,16,12"}
    with pytest.raises(UsageError, match=r"needs meters.*--representation relative"):
        convert_file(path, tmp_path / "x.h5", modality="depth", representation=name, options=options)


def test_a_disparity_by_name_is_never_taken_as_meters(tmp_path: Path) -> None:
    for name in ("disparity/a.png", "x_disp.png", "left_disparities.png"):
        path = png(tmp_path / name, slope())
        with pytest.raises(UsageError, match=r"no distance.*--depth-unit relative"):
            read(path)
        assert isinstance(read(path, depth_unit="relative", near="great"), RelativeDepth)
    read(png(tmp_path / "disparity/depth.png", slope()), depth_unit="mm")
    with pytest.warns(ArmsegWarning, match="taken as mm"):
        read(tmp_path / "disparity/depth.png")


def test_near_without_relative_depth_is_refused() -> None:
    with pytest.raises(UsageError, match="near together with depth_unit relative"):
        DepthOptions.parse({"near": "small", "depth_unit": "mm"})


# --- scale ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "scale"), [(8000, 0.00025), (20000, 0.0001)])
def test_meters_per_count(tmp_path: Path, recwarn, count: int, scale: float) -> None:
    data = read(png(tmp_path / "d.png", np.full((3, 4), count, np.uint16)), depth_scale=scale)
    np.testing.assert_allclose(data.meters, 2.0, rtol=1e-6)
    assert not recwarn.list  # nothing was assumed
    with pytest.raises(UsageError, match="depth_scale or depth_unit, not both"):
        DepthOptions.parse({"depth_scale": scale, "depth_unit": "mm"})


# --- eight bits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["mm", "kitti256", "tum5000", "sunrgbd"])
def test_eight_bits_are_no_unit_of_sixteen(tmp_path: Path, unit: str) -> None:
    path = png(tmp_path / "d.png", np.full((3, 4), 100, np.uint8))
    with pytest.raises(FormatError, match=rf"none is in {unit}.*--depth-unit relative"):
        read(path, depth_unit=unit)
    np.save(tmp_path / "d.npy", np.full((12, 16), 100, np.uint8))
    with pytest.raises(FormatError, match="256 levels"):
        read(tmp_path / "d.npy", depth_unit=unit)
    assert read(path, depth_scale=0.02).meters[0, 0] == 2
    assert isinstance(read(path, depth_unit="relative", near="great"), RelativeDepth)


# --- likely units -----------------------------------------------------------------------------------------


def test_a_likely_unit_is_named(tmp_path: Path) -> None:
    rotated = ((slope() << 3) | (slope() >> 13)).astype(np.uint16)
    five = (slope() * 5).astype(np.uint16)
    for stored, unit in ((rotated, "sunrgbd"), (five, "tum5000")):
        with pytest.warns(ArmsegWarning, match=f"taken as mm.*--depth-unit {unit} is likely"):
            read(png(tmp_path / "d.png", stored))
    for stored in (slope(), (slope() * 10).astype(np.uint16), np.full((3, 4), 40, np.uint16)):
        with pytest.warns(ArmsegWarning) as said:
            read(png(tmp_path / "d.png", stored))
        assert "is likely" not in str(said[0].message)


# --- byte order -------------------------------------------------------------------------------------------


def pgm(path: Path, values: np.ndarray, order: str) -> Path:
    h, w = values.shape
    path.write_bytes(b"P5\n%d %d\n65535\n" % (w, h) + values.astype(f"{order}u2").tobytes())
    return path


def test_a_swapped_pgm_of_the_first_kinect_is_read_as_such(tmp_path: Path) -> None:
    raw = (slope() // 4 + 400).astype(np.uint16)  # 650 to 1150
    raw[0] = 2047
    with pytest.warns(ArmsegWarning, match="other order than PGM says.*kinect11"):
        data = read(pgm(tmp_path / "d.pgm", raw, "<"))
    expected = np.where(raw <= 1092, 351.3 / (1092.5 - raw.astype(float)), 0)
    np.testing.assert_allclose(data.meters, expected, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*taken as mm:armseg_core.errors.ArmsegWarning")
def test_a_pgm_in_the_right_order_stays_as_it_is(tmp_path: Path) -> None:
    millimeters = slope()
    for order, said in ((">", "taken as mm"), ("<", "other order than PGM")):
        with pytest.warns(ArmsegWarning, match=said):
            data = read(pgm(tmp_path / "d.pgm", millimeters, order))
        np.testing.assert_allclose(data.meters, millimeters / 1000, rtol=1e-6)
    coarse = (slope() // 100 * 256).astype(np.uint16)  # whole pixels of KITTI's disparity: one byte only
    np.testing.assert_allclose(
        read(pgm(tmp_path / "d.pgm", coarse, ">"), depth_unit="kitti256").meters, coarse / 256, rtol=1e-6
    )


# --- what is no depth -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dsm_height.tif", "dem/1.tif", "elevation/x.tif", "tile_DTM.tif"])
def test_elevation_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    path = tiff(tmp_path / name, slope().astype(np.float32))
    with pytest.raises(FormatError, match=r'elevation, not depth.*kind = "image"'):
        read(path, depth_unit="m")


def test_a_map_is_refused_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "depth.tif"
    Image.fromarray(slope().astype(np.float32)).save(path, tiffinfo={34735: (1, 1, 0, 0)})
    with pytest.raises(FormatError, match="GeoTIFF"):
        read(path, depth_unit="m")


def test_a_normal_map_is_no_depth(tmp_path: Path) -> None:
    normals = RNG.normal((0, 0, 3), 1, (6, 8, 3))
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    path = png(tmp_path / "n.png", np.rint((normals + 1) * 127.5).astype(np.uint8))
    with pytest.raises(FormatError, match="map of surface normals"):
        read(path)
    (tmp_path / "n.pfm").write_bytes(
        b"PF\n8 6\n-1\n" + np.ascontiguousarray(normals[::-1]).astype("<f4").tobytes()
    )
    with pytest.raises(FormatError, match="in color"):
        read(tmp_path / "n.pfm", depth_unit="m")
    read(pfm(tmp_path / "one.pfm", slope().astype(np.float32)), depth_unit="mm")
    exr = pytest.importorskip("OpenEXR")

    def header() -> dict[str, object]:  # the library writes into it
        return {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}

    for names in ("RGB", "XYZ"):
        planes = {name: np.ascontiguousarray(normals[..., i], np.float32) for i, name in enumerate(names)}
        exr.File(header(), planes).write(str(tmp_path / "n.exr"))
        with pytest.raises(FormatError, match="three different channels"):
            read(tmp_path / "n.exr", depth_unit="m")
    gray = {name: slope().astype(np.float32) / 100 for name in "RGB"}
    exr.File(header(), gray).write(str(tmp_path / "g.exr"))
    np.testing.assert_allclose(read(tmp_path / "g.exr", depth_unit="m").meters, slope() / 100, rtol=1e-6)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_color_picture_in_a_folder_of_depth_is_refused_with_the_way_out(tmp_path: Path, suffix) -> None:
    (tmp_path / "depth").mkdir()
    path = tmp_path / "depth" / f"1.{suffix}"
    Image.fromarray(RNG.integers(0, 255, (16, 24, 3)).astype(np.uint8)).save(path)
    for look in (
        lambda: inspect_file(path),
        lambda: make_figure(path),
        lambda: to_tensor(path, modality="depth"),
    ):
        with pytest.raises(ArmsegError, match=r'color.*kind = "image"'):
            look()


def test_a_gray_jpeg_is_relative_depth_only(tmp_path: Path) -> None:
    path = tmp_path / "depth.jpg"
    Image.fromarray((slope() // 16).astype(np.uint8)).save(path, quality=95)
    with pytest.raises(FormatError, match=r"256 levels.*--depth-unit relative"):
        read(path)
    assert read(path, depth_unit="relative", near="great").valid.all()


# --- Hypersim ---------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*with its focal length:armseg_core.errors.ArmsegWarning")
def test_the_distance_of_hypersim_becomes_depth(tmp_path: Path) -> None:
    """A wall at z = 2 m: distance = z sqrt(u^2 + v^2 + f^2) / f (Roberts et al., ICCV 2021)."""
    h, w = 48, 64
    v, u = np.mgrid[0:h, 0:w] - np.array([(h - 1) / 2, (w - 1) / 2])[:, None, None]
    for focal, options in ((55.0, {"intrinsics": "55,55,31.5,23.5"}), (32 / np.tan(np.pi / 6), {})):
        distance = (2 * np.sqrt(u * u + v * v + focal**2) / focal).astype(np.float16)
        distance[:4] = np.nan
        path = tmp_path / "frame.0000.depth_meters.hdf5"
        with h5py.File(path, "w") as file:
            file["dataset"] = distance
        data = read(path, **options)
        np.testing.assert_allclose(data.meters[4:], 2, atol=2e-3)
        assert not data.valid[:4].any()
        assert data.intrinsics[0, 0] == pytest.approx(focal)
    with pytest.warns(ArmsegWarning, match=r"focal length, 55\.43 px"):
        read(path)


# --- data sets --------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*great values:armseg_core.errors.ArmsegWarning")
def test_options_of_a_data_set_reach_the_reader(tmp_path: Path) -> None:
    from armseg_core.data.registry import open_dataset

    png(tmp_path / "rgb/a.png", RNG.integers(0, 255, (24, 32, 3)).astype(np.uint8))
    png(tmp_path / "d/a.png", np.full((24, 32), 8000, np.uint16))
    (tmp_path / "train.txt").write_text("a\n")
    for options, channel, value in (("depth_scale = 0.00025", 0, 2.0), ('depth_unit = "relative"', 1, 1.0)):
        (tmp_path / "dataset.toml").write_text(
            'format_version = 1\nname = "x"\nclasses = [{name = "a"}, {name = "b"}]\n'
            '[rgb]\npath = "rgb/{id}.png"\n[splits]\ntrain = "train.txt"\n'
            f'[modalities.depth]\npath = "d/{{id}}.png"\noptions = {{ {options} }}\n'
        )
        sample = open_dataset(tmp_path, "train").load(0)
        np.testing.assert_allclose(sample.sensors["depth"][channel], value, rtol=1e-6)


# --- real recordings --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*other order than PGM:armseg_core.errors.ArmsegWarning")
@pytest.mark.parametrize(
    ("name", "options", "meters", "valid"),
    [
        ("NYU_depth.pgm", {}, (1.386, 3.268, 6.691), 0.928),
        ("SUN_depth.png", {"depth_unit": "sunrgbd"}, (1.057, 2.723, 8.0), 0.818),  # its toolbox caps at 8 m
        ("TUM_depth.png", {"depth_unit": "tum5000"}, (1.464, 2.415, 9.331), 0.808),
        ("redwood_00000_depth.png", {"depth_unit": "mm"}, (0.955, 1.861, 2.702), 0.870),
        ("xtion_1.pgm", {"depth_unit": "mm"}, (0.946, 2.915, 9.823), 0.681),
        ("cleargrasp_000000153-opaque-depth-img.exr", {"depth_unit": "m"}, (0.482, 0.623, 1.281), 0.529),
    ],
)
def test_real_depth(name: str, options: dict[str, str], meters: tuple[float, ...], valid: float) -> None:
    path = shared("data", "depth", name)
    if path.suffix == ".exr":
        pytest.importorskip("OpenEXR")
    data = read(path, **options)
    assert isinstance(data, Depth)
    known = data.meters[data.valid]
    found = (known.min(), np.median(known), known.max())
    np.testing.assert_allclose(found, meters, atol=6e-4)
    assert data.valid.mean() == pytest.approx(valid, abs=6e-4)


@pytest.mark.parametrize(("name", "unit"), [("SUN_depth.png", "sunrgbd"), ("TUM_depth.png", "tum5000")])
def test_the_likely_unit_of_real_depth(name: str, unit: str) -> None:
    with pytest.warns(ArmsegWarning, match=f"--depth-unit {unit} is likely"):
        read(shared("data", "depth", name))


@pytest.mark.parametrize("name", ["redwood_00000_depth.png", "xtion_1.pgm"])
def test_real_millimeters_are_not_suspected(name: str) -> None:
    with pytest.warns(ArmsegWarning, match="taken as mm") as said:
        read(shared("data", "depth", name))
    assert "likely" not in str(said[0].message)


def test_real_normals_are_no_depth() -> None:
    pytest.importorskip("OpenEXR")
    with pytest.raises(FormatError, match="three different channels"):
        read(shared("data", "depth", "cleargrasp_000000153-normals.exr"))


def test_potholes_are_farther_than_the_road_around_them() -> None:
    """In all pictures the disparity inside is less (median) than around: relative inverse depth, too."""
    import cv2

    for path in sorted(shared("data", "labelled", "potholes", "disparity").glob("*.png")):
        inverse = to_tensor(
            path, modality="depth", options={"depth_unit": "relative", "near": "great"}
        ).frames[0, 2]
        hole = np.asarray(Image.open(path.parents[1] / "label" / path.name)) == 1
        ring = cv2.dilate(hole.astype(np.uint8), np.ones((9, 9))).astype(bool) & ~hole & (inverse > 0)
        assert np.median(inverse[hole & (inverse > 0)]) < np.median(inverse[ring]), path.name


def test_cases_of_users() -> None:
    depth = shared("cases", "05_depth_scale", "in")
    assert read(depth / "l515_depth.png", depth_scale=0.00025).meters.max() == pytest.approx(2)
    assert read(depth / "tenth_mm_depth.png", depth_scale=0.0001).meters.max() == pytest.approx(2)
    hypersim = read(
        shared("cases", "08_hypersim_depth", "in", "frame.0000.depth_meters.hdf5"),
        intrinsics="55,55,31.5,23.5",
    )
    np.testing.assert_allclose(hypersim.meters[4:], 2, atol=2e-3)
    with pytest.raises(FormatError, match="elevation"):
        read(shared("cases", "25_dsm_as_depth", "in", "dsm_height.tif"))
    assert json.dumps(inspect_file(depth / "l515_depth.png", modality="depth"))
