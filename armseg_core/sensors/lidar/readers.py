"""Readers of LiDAR point clouds: KITTI and nuScenes .bin, PCD, PLY, LAS / LAZ; calibration found beside them.

Every reader drops points that are not finite, gives intensity in [0, 1], and moves map coordinates to the
middle of the cloud.

Shape letters: N points.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from armseg_core.arrays import PointCloud
from armseg_core.errors import ArmsegWarning, FormatError, InputError, require_extra
from armseg_core.files.facts import head_of, refuse_special
from armseg_core.files.libraries import LibraryError, library_call
from armseg_core.files.limits import refuse_bomb
from armseg_core.sensors.lidar.calibration import calibration_files
from armseg_core.sensors.lidar.clouds import FARTHEST_M, cloud_of, finish, unit_range
from armseg_core.sensors.lidar.las_header import check_las_header
from armseg_core.sensors.lidar.options import LidarOptions
from armseg_core.sensors.lidar.units import Unit, las_unit
from armseg_core.sensors.reader import Reader, quiet

_PCD_TYPES = {
    ("F", 4): "f4",
    ("F", 8): "f8",
    ("I", 1): "i1",
    ("I", 2): "i2",
    ("I", 4): "i4",
    ("I", 8): "i8",
    ("U", 1): "u1",
    ("U", 2): "u2",
    ("U", 4): "u4",
    ("U", 8): "u8",
}
_PLY_TYPES = {
    "char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "uint8": "u1",
    "short": "i2",
    "int16": "i2",
    "ushort": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "uint": "u4",
    "uint32": "u4",
    "float": "f4",
    "float32": "f4",
    "double": "f8",
    "float64": "f8",
}


def read_kitti_bin(path: Path, options: LidarOptions) -> PointCloud:
    """float32 x, y, z, reflectance (in [0, 1])."""
    return _from_floats(path, 4, options)


def read_xyz_bin(path: Path, options: LidarOptions) -> PointCloud:
    """float32 x, y, z."""
    return _from_floats(path, 3, options)


def read_nuscenes_bin(path: Path, options: LidarOptions) -> PointCloud:
    """float32 x, y, z, intensity (0 to 255), ring."""
    return _from_floats(path, 5, options)


def read_pcd(path: Path, options: LidarOptions) -> PointCloud:
    """Point Cloud Data file, version 0.7: ascii, binary, and binary_compressed with the package pypcd4.

    Raises:
        FormatError: damaged header, no x y z, or fewer points than declared.
    """
    data = _bytes(path)
    header, start = _pcd_header(data, path)
    kind = header["DATA"][0].lower()
    if kind == "binary_compressed":
        return _pcd_compressed(path, data, start, options)
    try:
        fields, count = header["FIELDS"], int(header["POINTS"][0])
        counts = [int(c) for c in header.get("COUNT", ["1"] * len(fields))]
        types = [_PCD_TYPES[t, int(s)] for t, s in zip(header["TYPE"], header["SIZE"], strict=True)]
        record = [
            (f"{name}_{i}" if name == "_" else name, "<" + code, (n,) if n > 1 else ())
            for i, (name, code, n) in enumerate(zip(fields, types, counts, strict=True))
        ]
        dtype = np.dtype(record)
        if count < 0:
            raise ValueError("negative POINTS")
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise FormatError(
            "the PCD header is not whole: a line is missing, or fields, sizes and types do not go together",
            where=path,
            expected="FIELDS, SIZE, TYPE, COUNT, POINTS and DATA",
        ) from error
    if kind == "ascii":
        table = _ascii_table(data[start:], sum(counts), count, path)
        columns = np.cumsum([0, *counts[:-1]])
        values = {name: table[:, c] for name, c in zip(fields, columns, strict=True)}
        return cloud_of(values, dict(zip(fields, types, strict=True)), path, options)
    if kind != "binary":
        raise FormatError(f"PCD data '{kind}'", where=path, expected="ascii, binary or binary_compressed")
    return _from_records(data, start, dtype, count, path, options)


def read_ply(path: Path, options: LidarOptions) -> PointCloud:
    """PLY, ascii or binary of either byte order; the element `vertex` with x, y, z.

    Raises:
        FormatError: damaged header, no x y z, or fewer points than declared.
    """
    data = _bytes(path)
    end = data.find(b"end_header")
    newline = data.find(b"\n", end)
    if end < 0 or newline < 0:
        raise FormatError("the PLY header has no end", where=path)
    lines = [line.split() for line in data[:end].decode("ascii", "replace").splitlines()]
    form, elements = _ply_elements(lines, path)
    before, fields, count = _ply_vertex(elements, path)
    if form == "ascii":
        rows = data[newline + 1 :].split(b"\n")[sum(n for _, n in before) :]
        table = _ascii_table(b"\n".join(rows[:count]), len(fields), count, path)
        values = {name: table[:, i] for i, (name, _) in enumerate(fields)}
        return cloud_of(values, dict(fields), path, options)
    order = {"binary_little_endian": "<", "binary_big_endian": ">"}.get(form)
    if order is None:
        raise FormatError(f"PLY format '{form}'", where=path, expected="ascii or binary_little_endian")
    start = newline + 1
    for properties, n in before:
        start += n * np.dtype([(name, order + code) for name, code in properties]).itemsize
    return _from_records(
        data, start, np.dtype([(name, order + code) for name, code in fields]), count, path, options
    )


def read_las(path: Path, options: LidarOptions) -> PointCloud:
    """LAS / LAZ (package laspy), in meters: feet are converted where the file or `lidar_unit` names them.

    Raises:
        FormatError: damaged.
    """
    laspy = require_extra("laspy", "lidar", "reading LAS / LAZ")
    check_las_header(path)
    try:
        with library_call():  # laspy has errors of its own, and lazrs, written in Rust, panics
            cloud = laspy.read(str(path))
            xyz = np.stack([np.asarray(cloud.x), np.asarray(cloud.y), np.asarray(cloud.z)], axis=1)
            raw = np.asarray(cloud.intensity)
            records = [(v.user_id, v.record_id, v.record_data_bytes()) for v in cloud.header.vlrs]
            records += [(v.user_id, v.record_id, v.record_data_bytes()) for v in cloud.header.evlrs or ()]
    except LibraryError as error:
        raise FormatError(
            "the points of the LAS file cannot be decoded: damaged, or of a compression that is not known",
            where=path,
            hint="las2las or PDAL, which may write it again as LAS 1.2 to 1.4",
        ) from error
    if options.lidar_unit == "auto":
        xyz = _in_meters(xyz, las_unit(records), path)
    return finish(xyz, unit_range(raw, "u2", path), path, options)


def _in_meters(xyz: np.ndarray, unit: Unit, path: Path) -> np.ndarray:
    """Coordinates (N, 3) of a LAS file in meters; a conversion and an unknown unit are said."""
    if not unit.source:
        text = "unit unknown (the file names none): taken as meters; --lidar-unit ft or us-ft says otherwise"
        warnings.warn(ArmsegWarning(f"{path}: {text}"), stacklevel=3)
    elif (unit.horizontal, unit.vertical) != (1.0, 1.0):
        factors = dict.fromkeys(f"{factor:.6g}" for factor in (unit.horizontal, unit.vertical))
        text = f"units of {' and '.join(factors)} m ({unit.source}) converted to meters"
        warnings.warn(ArmsegWarning(f"{path}: {text}; --lidar-unit says otherwise"), stacklevel=3)
    meters: np.ndarray = xyz * np.array([unit.horizontal, unit.horizontal, unit.vertical])
    return meters


def _bytes(path: Path) -> bytes:
    refuse_special(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=path) from error


def _from_floats(path: Path, columns: int, options: LidarOptions) -> PointCloud:
    data = _bytes(path)
    if len(data) % (4 * columns) or not data:
        raise FormatError(
            f"{len(data)} bytes are not a whole number of points",
            where=path,
            expected=f"a multiple of {4 * columns} bytes: truncated, or not {columns} float32 per point",
        )
    table = np.frombuffer(data, "<f4").reshape(-1, columns)
    intensity = unit_range(table[:, 3], "f4", path) if columns > 3 else None
    return finish(table[:, :3], intensity, path, options)


def _pcd_header(data: bytes, path: Path) -> tuple[dict[str, list[str]], int]:
    header: dict[str, list[str]] = {}
    at = 0
    while "DATA" not in header:
        end = data.find(b"\n", at)
        if end < 0 or end - at > 10_000:  # no header line is that long: binary data
            raise FormatError("the PCD header has no DATA line", where=path)
        words = data[at:end].decode("ascii", "replace").split()
        at = end + 1
        if words and not words[0].startswith("#"):
            header[words[0].upper()] = words[1:]
    if not header["DATA"]:
        raise FormatError("the PCD header has an empty DATA line", where=path)
    return header, at


def _pcd_compressed(path: Path, data: bytes, start: int, options: LidarOptions) -> PointCloud:
    pypcd4 = require_extra("pypcd4", "lidar", "reading binary_compressed PCD")
    if len(data) - start < 8:
        raise FormatError("the PCD file ends before its points", where=path)
    packed, unpacked = np.frombuffer(data, "<u4", 2, start).tolist()
    if packed > len(data) - start - 8:
        raise FormatError(
            f"{len(data) - start - 8:,} bytes of compressed points",
            where=path,
            expected=f"{packed:,}: the file is truncated or damaged",
        )
    refuse_bomb(path, "what the points are", unpacked, packed)
    try:
        with library_call():  # lzf and pydantic errors of damaged files
            cloud = pypcd4.PointCloud.from_path(str(path))
            values = {name: cloud.pc_data[name] for name in cloud.fields}
    except LibraryError as error:
        raise FormatError("the compressed points of the PCD file are damaged", where=path) from error
    return cloud_of(values, {name: v.dtype.str[1:] for name, v in values.items()}, path, options)


def _ply_elements(lines: list[list[str]], path: Path) -> tuple[str, list[tuple[str, int, list[list[str]]]]]:
    """The format word and (name, count, property lines) of every element."""
    form = ""
    elements: list[tuple[str, int, list[list[str]]]] = []
    try:
        for words in lines[1:]:
            if words[:1] == ["format"]:
                form = words[1]
            elif words[:1] == ["element"]:
                elements.append((words[1], int(words[2]), []))
            elif words[:1] == ["property"]:
                elements[-1][2].append(words[1:])
    except (IndexError, ValueError) as error:
        raise FormatError("the PLY header is damaged", where=path) from error
    return form, elements


def _ply_vertex(
    elements: Sequence[tuple[str, int, list[list[str]]]], path: Path
) -> tuple[list[tuple[list[tuple[str, str]], int]], list[tuple[str, str]], int]:
    """(fields, count) of the elements before `vertex`, its fields, its count; a field is (name, code)."""
    if "vertex" not in [name for name, _, _ in elements]:
        raise FormatError("the PLY file has no element 'vertex'", where=path)
    before: list[tuple[list[tuple[str, str]], int]] = []
    for name, count, properties in elements:
        if count < 0 or any(p[:1] == ["list"] or len(p) != 2 or p[0] not in _PLY_TYPES for p in properties):
            raise FormatError(
                f"the PLY element '{name}' has lists or unknown types",
                where=path,
                expected="points with scalar properties",
            )
        fields = [(p[1], _PLY_TYPES[p[0]]) for p in properties]
        if len({field for field, _ in fields}) < len(fields):
            raise FormatError(f"the PLY element '{name}' names a property twice", where=path)
        if name == "vertex":
            break
        before.append((fields, count))
    return before, fields, count


def _ascii_table(data: bytes, columns: int, count: int, path: Path) -> np.ndarray:
    """(count, columns) float64 of whitespace-separated numbers."""
    words = data.split()
    if len(words) < columns * count:
        raise FormatError(
            f"{len(words)} numbers for {count} points of {columns}",
            where=path,
            expected=f"{columns * count}: the file is truncated",
        )
    try:
        return np.array(words[: columns * count], dtype=np.float64).reshape(count, columns)
    except ValueError as error:
        raise FormatError("not all values are numbers", where=path) from error


def _from_records(
    data: bytes, start: int, dtype: np.dtype, count: int, path: Path, options: LidarOptions
) -> PointCloud:
    needed = count * dtype.itemsize
    if len(data) - start < needed:
        raise FormatError(
            f"{len(data) - start} bytes of points",
            where=path,
            expected=f"{needed} for {count} points: the file is truncated",
        )
    records = np.frombuffer(data, dtype, count, start) if count else np.zeros(0, dtype)
    names = dtype.names or ()
    return cloud_of({n: records[n] for n in names}, {n: dtype[n].base.str[1:] for n in names}, path, options)


# --- content tests ---


def _plausible(path: Path, columns: int) -> bool:
    """The first points look like meters: finite, not all zero, within the range of a LiDAR."""
    size = path.stat().st_size
    if not path.is_file() or size == 0 or size % (4 * columns):
        return False
    head = np.frombuffer(head_of(path, 4 * columns * 256), "<f4").reshape(-1, columns)
    xyz, intensity = head[:, :3], head[:, 3:4]
    return bool(
        np.isfinite(head).all()
        and np.abs(xyz).max() < FARTHEST_M
        and np.abs(xyz).max() > 0.01
        and intensity.min(initial=0) >= 0
        and intensity.max(initial=0) <= 65535
    )


@quiet
def _is_kitti(path: Path) -> bool:
    return (
        path.suffix.lower() == ".bin" and not path.name.lower().endswith(".pcd.bin") and _plausible(path, 4)
    )


@quiet
def _is_xyz(path: Path) -> bool:
    """Three columns, and surely not four: what would be the intensity is negative somewhere."""
    if path.suffix.lower() != ".bin" or path.name.lower().endswith(".pcd.bin") or not _plausible(path, 3):
        return False
    head = np.frombuffer(head_of(path, 16 * 256), "<f4")
    return bool(head[: len(head) // 4 * 4].reshape(-1, 4)[:, 3].min() < 0)


@quiet
def _is_nuscenes(path: Path) -> bool:
    return path.name.lower().endswith(".pcd.bin") and _plausible(path, 5)


@quiet
def _is_pcd(path: Path) -> bool:
    head = head_of(path, 2048)
    return path.suffix.lower() != ".bin" and b"\nFIELDS " in b"\n" + head and b"\nDATA " in head


@quiet
def _is_ply(path: Path) -> bool:
    return head_of(path, 4) in (b"ply\n", b"ply\r")


@quiet
def _is_las(path: Path) -> bool:
    return head_of(path, 4) == b"LASF"


LIDAR_READERS: tuple[Reader, ...] = (
    Reader(
        "kitti-bin",
        "lidar",
        "KITTI velodyne .bin",
        ("*.bin",),
        _is_kitti,
        read_kitti_bin,
        notes="float32 N x 4; calib.json or KITTI calib beside it",
        beside=calibration_files,
    ),
    Reader(
        "xyz-bin",
        "lidar",
        "float32 x, y, z .bin",
        ("*.bin",),
        _is_xyz,
        read_xyz_bin,
        notes="float32 N x 3; no intensity",
        beside=calibration_files,
    ),
    Reader(
        "nuscenes-bin",
        "lidar",
        "nuScenes .pcd.bin",
        ("*.pcd.bin",),
        _is_nuscenes,
        read_nuscenes_bin,
        notes="float32 N x 5; needs a calib.json",
        beside=calibration_files,
    ),
    Reader(
        "pcd",
        "lidar",
        "PCD point cloud",
        ("*.pcd",),
        _is_pcd,
        read_pcd,
        notes="ascii and binary; binary_compressed with the extra `lidar`",
        beside=calibration_files,
    ),
    Reader(
        "ply",
        "lidar",
        "PLY point cloud",
        ("*.ply",),
        _is_ply,
        read_ply,
        notes="ascii and binary",
        beside=calibration_files,
    ),
    Reader(
        "las",
        "lidar",
        "LAS / LAZ point cloud",
        ("*.las", "*.laz"),
        _is_las,
        read_las,
        extra="lidar",
        notes="feet become meters where GeoKeys or OGC WKT name them; --lidar-unit where they do not",
        beside=calibration_files,
    ),
)
