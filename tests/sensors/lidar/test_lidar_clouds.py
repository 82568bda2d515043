"""LiDAR: units, map coordinates, intensity, columns of the files people have; and real recordings."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from lidar_clouds import AXES, SIZE, K, points, read, write_calibration
from shared_data import shared

from armseg_core.conversion.inspection import inspect_file
from armseg_core.conversion.recording import Recording
from armseg_core.errors import ArmsegWarning, FormatError
from armseg_core.sensors.lidar import clouds
from armseg_core.sensors.lidar.options import LidarOptions
from armseg_core.sensors.lidar.representations import project
from armseg_core.sensors.lidar.units import las_unit
from armseg_core.sensors.recognition import sniff

US_FOOT = 1200 / 3937


def geo_keys(**keys: int) -> tuple[str, int, bytes]:
    """The record of GeoKeys k3076=9002, ..."""
    words = [1, 1, 0, len(keys)]
    for name, value in keys.items():
        words += [int(name[1:]), 0, 1, value]
    return "LASF_Projection", 34735, struct.pack(f"<{len(words)}H", *words)


def wkt(text: str) -> tuple[str, int, bytes]:
    return "LASF_Projection", 2112, text.encode() + b"\0"


WKT_1 = (
    'COMPD_CS["a",PROJCS["b",GEOGCS["c",DATUM["d",SPHEROID["e",6378137,298.257]],'
    'UNIT["degree",0.0174532925199433]],PROJECTION["f"],PARAMETER["g",1],'
    'UNIT["US survey foot",0.304800609601219],AXIS["X",EAST]],'
    'VERT_CS["h",VERT_DATUM["i",2005],UNIT["metre",1]]]'
)
WKT_2 = (
    'PROJCRS["a",BASEGEOGCRS["b",DATUM["c",ELLIPSOID["d",6378137,298.257,LENGTHUNIT["metre",1]]]],'
    'CONVERSION["e",METHOD["f"],PARAMETER["g",2,LENGTHUNIT["metre",1]]],CS[Cartesian,2],'
    'AXIS["(X)",east,LENGTHUNIT["foot",0.3048]],AXIS["(Y)",north,LENGTHUNIT["foot",0.3048]]]'
)


@pytest.mark.parametrize(
    ("records", "horizontal", "vertical", "source"),
    [
        ([geo_keys(k3076=9002)], 0.3048, 0.3048, "GeoKey 3076 = 9002"),
        ([geo_keys(k3072=26995, k3076=9003)], US_FOOT, US_FOOT, "GeoKey 3076 = 9003"),
        ([geo_keys(k3076=9003, k4099=9001)], US_FOOT, 1, "GeoKey 3076 = 9003"),
        ([geo_keys(k3076=9001)], 1, 1, "GeoKey 3076 = 9001"),
        ([geo_keys(k3072=32632)], 1, 1, "EPSG:32632"),
        ([geo_keys(k3072=2228)], 1, 1, ""),  # in feet, but only EPSG's data base says so
        ([geo_keys(k1024=2, k3076=9002)], 1, 1, ""),  # longitude and latitude
        ([wkt(WKT_1)], 0.304800609601219, 1, "OGC WKT"),
        ([wkt(WKT_2)], 0.3048, 0.3048, "OGC WKT"),
        ([wkt('GEOGCS["a",UNIT["degree",0.0174532925199433]]')], 1, 1, ""),
        ([("other", 34735, geo_keys(k3076=9002)[2])], 1, 1, ""),
        ([("LASF_Projection", 34735, b"\1\0\1")], 1, 1, ""),
        ([], 1, 1, ""),
    ],
)
def test_the_unit_of_a_las_file(records, horizontal, vertical, source):
    unit = las_unit(records)
    assert (unit.horizontal, unit.vertical) == (pytest.approx(horizontal, rel=1e-9), pytest.approx(vertical))
    assert unit.source == source


def write_las(path, xyz, intensity=7, records=()):
    laspy = pytest.importorskip("laspy")
    header = laspy.LasHeader(point_format=3, version="1.2")
    header.scales, header.offsets = [0.001] * 3, np.floor(np.mean(xyz, axis=0))
    for user, number, content in records:
        header.vlrs.append(laspy.VLR(user, number, "", content))
    data = laspy.LasData(header)
    data.x, data.y, data.z = np.asarray(xyz, float).T
    data.intensity = np.full(len(xyz), intensity, np.uint16) if np.isscalar(intensity) else intensity
    data.write(str(path))
    return path


def notes_of(path, **options) -> str:
    return "\n".join(inspect_file(path, modality="lidar", options=options)["notes"])


def test_feet_become_meters_and_an_unknown_unit_is_said(tmp_path):
    xyz = points()[:, :3]
    feet = write_las(tmp_path / "feet.las", xyz / 0.3048, 65535, [geo_keys(k3076=9002)])
    with pytest.warns(ArmsegWarning, match="units of 0.3048 m .* converted to meters"):
        np.testing.assert_allclose(read(feet).points, xyz, atol=1e-3)
    plain = write_las(tmp_path / "plain.las", xyz / 0.3048, 65535)
    with pytest.warns(ArmsegWarning, match="unit unknown .*taken as meters; --lidar-unit"):
        np.testing.assert_allclose(read(plain).points, xyz / 0.3048, atol=2e-3)
    np.testing.assert_allclose(read(plain, lidar_unit="ft").points, xyz, atol=1e-3)
    np.testing.assert_allclose(read(feet, lidar_unit="m").points, xyz / 0.3048, atol=2e-3)


def pcd(path, xyz, fields="x y z", more=()):
    table = np.column_stack([xyz, *more])
    rows = "\n".join(" ".join(f"{value:.9f}" for value in row) for row in table)
    n, count = len(table.T), len(table)
    path.write_text(
        f"VERSION 0.7\nFIELDS {fields}\nSIZE {'8 ' * n}\nTYPE {'F ' * n}\nCOUNT {'1 ' * n}\n"
        f"WIDTH {count}\nHEIGHT 1\nPOINTS {count}\nDATA ascii\n{rows}\n"
    )
    return path


def ply(path, xyz):
    rows = "\n".join(f"{x:.6f} {y:.6f} {z:.6f} 0.5" for x, y, z in xyz)
    names = "".join(f"property double {name}\n" for name in ("x", "y", "z", "intensity"))
    path.write_text(f"ply\nformat ascii 1.0\nelement vertex {len(xyz)}\n{names}end_header\n{rows}\n")
    return path


@pytest.mark.parametrize("kind", ["las", "pcd", "ply"])
@pytest.mark.parametrize("place", [(5000, -3000, 40), (500_000, 5_400_000, 300), (-98_451, -55_976, -81_460)])
def test_map_coordinates_are_moved_in_every_format(tmp_path, kind, place):
    xyz = points()[:, :3].astype(np.float64)
    path = tmp_path / f"a.{kind}"
    if kind == "las":
        write_las(path, xyz + place, 65535)
    elif kind == "pcd":
        pcd(path, xyz + place, "x y z intensity", [np.full(200, 0.5)])
    else:
        ply(path, xyz + place)
    with pytest.warns(ArmsegWarning, match="map coordinates, moved by"):
        moved = read(path, lidar_unit="m").points
    assert np.abs(np.median(moved, axis=0)).max() <= 0.5
    np.testing.assert_allclose(moved - moved[0], xyz - xyz[0], atol=2e-3)


@pytest.mark.parametrize("place", [(0, 0, 0), (60, 5, 0), (900, 900, 900)])
def test_coordinates_of_a_sensor_stay(tmp_path, place):
    xyz = points()[:, :3].astype(np.float64) + place
    path = pcd(tmp_path / "a.pcd", xyz, "x y z intensity", [np.full(200, 0.5)])
    np.testing.assert_allclose(read(path).points, xyz, rtol=1e-6)  # a warning would be an error


def test_a_stray_point_does_not_keep_map_coordinates(tmp_path):
    xyz = points()[:, :3] + np.array([500_000.0, 5_400_000, 300])
    xyz[0] = 0
    path = pcd(tmp_path / "a.pcd", xyz, "x y z intensity", [np.full(200, 0.5)])
    with pytest.warns(ArmsegWarning, match="map coordinates, moved by"):
        assert np.abs(read(path).points[1:]).max() < 50


def test_the_camera_moves_with_the_map(tmp_path):
    """Pixels are the same whether the cloud and its camera stand at the origin or in map coordinates."""
    table, place = points(), np.array([5000.0, -3000.0, 40.0])
    shifted = AXES.copy()
    shifted[:3, 3] -= AXES[:3, :3] @ place
    write_calibration(tmp_path / "calib.json", lidar_to_camera=shifted.tolist())
    path = pcd(tmp_path / "a.pcd", table[:, :3] + place, "x y z intensity", [table[:, 3]])
    with pytest.warns(ArmsegWarning, match="moved by"):
        cloud = read(path)
    made = project(cloud.points, cloud.intensity, cloud.calibration)
    write_calibration(tmp_path / "calib.json")
    still = read(pcd(tmp_path / "a.pcd", table[:, :3], "x y z intensity", [table[:, 3]]))
    expected = project(still.points, still.intensity, still.calibration)
    assert cloud.calibration.size == SIZE
    np.testing.assert_array_equal(cloud.calibration.intrinsics, K)
    np.testing.assert_allclose(made[0], expected[0], atol=2e-3)


@pytest.mark.parametrize(
    ("top", "full"), [(254, 255), (255, 255), (900, 1023), (4095, 4095), (40_000, 65535), (65535, 65535)]
)
def test_las_intensity_is_scaled_by_its_bits(tmp_path, top, full):
    values = np.linspace(0, top, 200).astype(np.uint16)
    path = write_las(tmp_path / "a.las", points()[:, :3], values)
    np.testing.assert_allclose(inspect_file(path)["intensity"][2], top / full, rtol=1e-5)
    assert (f"no intensity above {top}: divided by {full}" in notes_of(path)) == (full < 65535)


def test_a_cloud_without_intensity_is_not_a_measured_zero(tmp_path):
    for path in (
        pcd(tmp_path / "none.pcd", points()[:, :3]),
        pcd(tmp_path / "zero.pcd", points()[:, :3], "x y z intensity", [np.zeros(200)]),
        write_las(tmp_path / "zero.las", points()[:, :3], 0, [geo_keys(k3076=9001)]),
    ):
        report = inspect_file(path)
        assert report["intensity"] is None
        assert report["notes"] == ["the cloud has no intensity: its channel is 0"]


def test_three_columns(tmp_path):
    xyz = points()[:, :3]
    path = tmp_path / "a.bin"
    path.write_bytes(xyz.tobytes())
    assert sniff(path).name == "xyz-bin"
    with pytest.warns(ArmsegWarning, match="no intensity"):
        np.testing.assert_array_equal(read(path).points, xyz)
    path.write_bytes(points(201).tobytes()[:-12])  # four columns, cut off, and a multiple of 12 bytes
    with pytest.raises(FormatError, match="not a recording"):
        sniff(path, "lidar")


def test_fields_in_capitals(tmp_path):
    table = points()
    path = pcd(tmp_path / "a.pcd", table[:, :3], "X Y Z Intensity", [table[:, 3]])
    cloud = read(path)
    np.testing.assert_allclose(cloud.points, table[:, :3], rtol=1e-6)
    np.testing.assert_allclose(cloud.intensity, table[:, 3], atol=1e-6)


# --- real recordings: name, points, extent in meters (x, y, z), greatest intensity, a note ---

FOOT = 0.3048
REAL = [
    ("kitti/training/velodyne/000001.bin", 120_268, (156.43, 113.04, 10.19), 0.99, ""),
    (
        "n015-2018-07-24-11-22-45+0800__LIDAR_TOP__1532402927647951.pcd.bin",
        34_688,
        (154.85, 194.88, 22.45),
        1,
        "",
    ),
    ("autzen_trim.laz", 110_000, (1177.46 * FOOT, 562.70 * FOOT, 114.25 * FOOT), 254 / 255, "GeoKey 3076"),
    ("simple.las", 1_065, (3362.70, 4635.73, 179.79), 254 / 255, "unit unknown"),
    ("vegetation_1_3.las", 10_683, (3.758, 5.990, 4.888), 0.572549, "map coordinates"),
    ("mvk-thin.las", 6_280, (4992.16 * US_FOOT, 4998.60 * US_FOOT, 132.94 * US_FOOT), 1, "GeoKey 3076"),
    ("CSite1_red2-utm.pcd", 131_622, (1100.2, 1040.5, 173.9), None, "no intensity"),
    ("autzen-utm.pcd", 1_065, (998.81, 1387.40, 54.80), 254 / 255, "map coordinates"),
]


@pytest.mark.parametrize(("name", "count", "extent", "top", "note"), REAL, ids=[row[0] for row in REAL])
@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")
def test_real_clouds(name, count, extent, top, note):
    path = shared("data", "lidar", *name.split("/"))
    pytest.importorskip("pypcd4")
    pytest.importorskip("laspy")
    cloud = read(path)
    assert len(cloud.points) == count
    np.testing.assert_allclose(np.ptp(cloud.points, axis=0), extent, rtol=1e-3, atol=0.02)
    assert cloud.has_intensity == (top is not None)
    assert cloud.intensity.max() == pytest.approx(top or 0, abs=1e-5)
    assert note in notes_of(path)


@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")
def test_feet_of_two_files_of_the_same_points_agree():
    """simple.las in feet, as the option says, is autzen-utm.pcd: 123.93 to 178.73 m above the sea."""
    pytest.importorskip("laspy")
    cloud = read(shared("data", "lidar", "simple.las"), lidar_unit="ft")
    assert np.ptp(cloud.points[:, 2]) == pytest.approx(178.73 - 123.93, abs=0.02)


@pytest.mark.parametrize(
    ("name", "count", "depth"),
    [
        ("kitti/training/velodyne/000001.bin", 18_630, (4.77, 12.50, 76.73)),
        (REAL[1][0], 3_067, (4.526, 10.358, 98.117)),
    ],
)
def test_real_clouds_in_their_cameras(name, count, depth):
    path = shared("data", "lidar", *name.split("/"))
    options = {}
    if "kitti" not in name:
        options = {"calibration": str(path.with_name(path.name.replace(".pcd.bin", ".json")))}
    with Recording.open(path, "lidar", options) as recording:
        cloud = recording.content
        transform = cloud.calibration.lidar_to_camera
        z = cloud.points @ transform[2, :3] + transform[2, 3]
        x, y = ((cloud.points @ transform[:3, :3].T + transform[:3, 3]) @ cloud.calibration.intrinsics.T)[
            :, :2
        ].T
        h, w = cloud.calibration.size
        with np.errstate(divide="ignore", invalid="ignore"):
            u, v = x / z, y / z
        inside = (z > 0) & (u >= -0.5) & (u < w - 0.5) & (v >= -0.5) & (v < h - 0.5)
        frame = recording.read(0).values
    assert inside.sum() == pytest.approx(count, rel=0.01)
    seen = z[inside]
    np.testing.assert_allclose((seen.min(), np.median(seen), seen.max()), depth, rtol=5e-3)
    assert frame[0][frame[2] > 0].min() == pytest.approx(depth[0], rel=5e-3)
    assert frame[0].max() == pytest.approx(depth[2], rel=5e-3)


def test_the_unit_option_is_one_of_the_table():
    names = set(LidarOptions.model_fields["lidar_unit"].annotation.__args__)
    assert names == {"auto", *clouds._UNITS_M}
