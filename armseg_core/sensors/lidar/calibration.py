"""Calibration of a LiDAR to a camera: our calib.json and the KITTI files.

calib.json: {"intrinsics": 3x3, "lidar_to_camera": 4x4, "size": [H, W]}.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from armseg_core.arrays import Calibration
from armseg_core.errors import FormatError, InputError, UsageError
from armseg_core.files.image_headers import image_header
from armseg_core.files.json_text import read_json
from armseg_core.files.text import read_text
from armseg_core.sensors.lidar.options import LidarOptions

_LARGEST = 65535  # pixels along a side of a camera picture: more is no camera, and too much to reserve
_KITTI_RAW_LIDAR = "calib_velo_to_cam.txt"  # KITTI raw: where the LiDAR stands, in the folder of the day
_KITTI_RAW_DEPTH = 4  # of DAY/DRIVE/velodyne_points/data/0000000000.bin
_KITTI_RAW_CAMERA = "calib_cam_to_cam.txt"  # KITTI raw: the camera, beside calib_velo_to_cam.txt


# where a calibration is looked for, from the folder of the cloud; NAME is its name up to the first dot
PLACES = ("calib.json", "NAME.json", "calib.txt", "../calib/NAME.txt", "../calib.json", "../calib.txt")


def find_calibration(cloud: Path) -> Path | None:
    """calib.json or KITTI calib beside the point cloud, or calib/NAME.txt as in the KITTI object set."""
    stem, folder = cloud.name.split(".")[0], cloud.parent
    names = (place.replace("NAME", stem) for place in PLACES)
    raw = [above / _KITTI_RAW_LIDAR for above in [*cloud.absolute().parents][:_KITTI_RAW_DEPTH]]
    places = [*(folder.parent / n[3:] if n.startswith("../") else folder / n for n in names), *raw]
    return next((place for place in places if place.is_file()), None)


def calibration_files(cloud: Path, options: LidarOptions) -> tuple[Path, ...]:
    """The files that say where the camera of a point cloud is; some of a KITTI calibration need not exist."""
    found = options.calibration or find_calibration(cloud)
    if found is None or found.suffix.lower() == ".json":
        return () if found is None else (found,)
    picture = () if options.image_size else (_kitti_picture(cloud),)
    return (found, found.parent / _KITTI_RAW_CAMERA, found.parent / _KITTI_RAW_LIDAR, *picture)


def read_calibration(path: Path, cloud: Path, image_size: tuple[int, int] | None) -> Calibration:
    """A calibration file, checked.

    Args:
        path: calib.json, KITTI calib.txt (object: P2, R0_rect, Tr_velo_to_cam; odometry: P2, Tr), or
            KITTI raw calib_velo_to_cam.txt or calib_cam_to_cam.txt, with the other beside it.
        cloud: the point cloud, beside whose folder KITTI keeps the images (their size is in no KITTI
            object file).
        image_size: (H, W), wins over what the files say.

    Raises:
        InputError: missing. FormatError: not UTF-8, not whole, or not a rigid transform. UsageError: no image
            size to be found.
    """
    if not path.is_file():
        raise InputError("no such calibration file", where=path)
    if path.name == _KITTI_RAW_CAMERA:
        path = path.parent / _KITTI_RAW_LIDAR
        if not path.is_file():
            what = "KITTI raw keeps the place of the LiDAR in a second file, which is missing"
            raise InputError(what, where=path)
    if path.suffix.lower() == ".json":
        intrinsics, extrinsics, size = _from_json(path)
    elif "R" in (table := _table(read_text(path))) and "T" in table:
        intrinsics, extrinsics, size = _from_kitti_raw(table, path)
    else:
        intrinsics, extrinsics = _from_kitti(table, path)
        size = image_size or _kitti_size(cloud)
    size = image_size or size
    if size is None:
        raise UsageError(
            "the size of the camera image is not known",
            where=path,
            hint="--image-size WIDTHxHEIGHT, such as 1242x375",
        )
    _check(intrinsics, extrinsics, path)
    return Calibration(intrinsics, extrinsics, size)


def _from_json(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[int, int] | None]:
    data = read_json(path)
    expected = '{"intrinsics": 3x3, "lidar_to_camera": 4x4, "size": [H, W]}'
    matrices = []
    for name in ("intrinsics", "lidar_to_camera"):
        if not isinstance(data, dict) or name not in data:
            raise FormatError(f"the calibration has no '{name}'", where=path, expected=expected)
        try:
            matrices.append(np.asarray(data[name], np.float64))
        except (ValueError, TypeError, OverflowError) as error:
            raise FormatError(
                f"'{name}' is not a matrix of numbers", where=path, expected=expected
            ) from error
    size = data.get("size")
    if size is not None:
        good = isinstance(size, list) and len(size) == 2 and all(type(side) is int for side in size)
        if not good or not all(0 < side <= _LARGEST for side in size):
            raise FormatError(
                "'size' is not the size of a picture",
                where=path,
                expected=f"[H, W], two whole numbers from 1 to {_LARGEST}",
            )
        size = (size[0], size[1])
    return matrices[0], matrices[1], size


def _table(text: str) -> dict[str, np.ndarray]:
    """'KEY: numbers' lines -> arrays; other lines (calib_time) are left out."""
    table = {}
    for line in text.splitlines():
        key, _, values = line.partition(":")
        try:
            table[key.strip()] = np.array([float(v) for v in values.split()])
        except ValueError:
            continue
    return table


def _matrix(
    table: dict[str, np.ndarray], names: tuple[str, ...], shape: tuple[int, int], path: Path
) -> np.ndarray:
    for name in names:
        if name in table and table[name].size == shape[0] * shape[1]:
            if not np.isfinite(table[name]).all():
                raise FormatError(f"{name} holds NaN or infinity", where=path, expected="finite numbers")
            return table[name].reshape(shape)
    raise FormatError(
        f"no {' / '.join(names)} of {shape[0]}x{shape[1]} numbers",
        where=path,
        expected="a KITTI calibration file, or calib.json",
    )


def _rigid(matrix: np.ndarray) -> np.ndarray:
    """3x3 or 3x4 -> 4x4."""
    full = np.eye(4)
    full[:3, : matrix.shape[1]] = matrix
    return full


def _camera(projection: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P (3, 4) = K [I | t] -> K and the 4x4 shift from the rectified reference camera to this one."""
    k = projection[:, :3]
    if abs(np.linalg.det(k)) < 1e-12:  # det = fx fy, at least thousands for a real camera
        return k, np.eye(4)  # refused by _check
    shift = np.eye(4)
    shift[:3, 3] = np.linalg.solve(k, projection[:, 3])
    return k, shift


def _from_kitti(table: dict[str, np.ndarray], path: Path) -> tuple[np.ndarray, np.ndarray]:
    k, shift = _camera(_matrix(table, ("P2", "P_rect_02"), (3, 4), path))
    velodyne = _rigid(_matrix(table, ("Tr_velo_to_cam", "Tr_velo_cam", "Tr"), (3, 4), path))
    rectify = np.eye(4)
    if "R0_rect" in table or "R_rect" in table:  # the odometry set has it inside Tr
        rectify = _rigid(_matrix(table, ("R0_rect", "R_rect"), (3, 3), path))
    return k, shift @ rectify @ velodyne


def _from_kitti_raw(
    table: dict[str, np.ndarray], path: Path
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    camera_file = path.parent / _KITTI_RAW_CAMERA
    if not camera_file.is_file():
        raise InputError("KITTI raw keeps the camera in a second file, which is missing", where=camera_file)
    camera = _table(read_text(camera_file))
    velodyne = np.eye(4)
    velodyne[:3, :3] = _matrix(table, ("R",), (3, 3), path)
    velodyne[:3, 3] = _matrix(table, ("T",), (3, 1), path)[:, 0]
    k, shift = _camera(_matrix(camera, ("P_rect_02",), (3, 4), camera_file))
    rectify = _rigid(_matrix(camera, ("R_rect_00",), (3, 3), camera_file))
    width, height = _matrix(camera, ("S_rect_02",), (2, 1), camera_file)[:, 0]
    if not (0 < height <= _LARGEST and 0 < width <= _LARGEST):
        raise FormatError(
            "S_rect_02 is not the size of a picture", where=camera_file, expected="width height"
        )
    return k, shift @ rectify @ velodyne, (int(height), int(width))


def _kitti_picture(cloud: Path) -> Path:
    """image_2/NAME.png beside the velodyne folder."""
    return cloud.parent.parent / "image_2" / f"{cloud.name.split('.')[0]}.png"


def _kitti_size(cloud: Path) -> tuple[int, int] | None:
    """Size of the camera image."""
    picture = _kitti_picture(cloud)
    header = image_header(picture) if picture.is_file() else None
    return None if header is None else header.size


def _check(intrinsics: np.ndarray, extrinsics: np.ndarray, path: Path) -> None:
    if (
        intrinsics.shape != (3, 3)
        or not np.isfinite(intrinsics).all()
        or min(intrinsics[0, 0], intrinsics[1, 1]) <= 0
    ):
        raise FormatError(
            "the intrinsics are not a camera matrix", where=path, expected="3x3 with positive focal lengths"
        )
    if extrinsics.shape != (4, 4) or not np.isfinite(extrinsics).all():
        raise FormatError(
            f"lidar_to_camera has shape {extrinsics.shape}", where=path, expected="4x4 finite numbers"
        )
    rotation = extrinsics[:3, :3]
    # 0.01: a rotation written with three digits passes, one in other units does not
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 0.01 or np.linalg.det(rotation) < 0:
        raise FormatError(
            "the rotation in lidar_to_camera is not a rotation",
            where=path,
            expected="orthonormal rows, right-handed (is the matrix transposed or in other units?)",
        )
