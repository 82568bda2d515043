"""What lies where depth is expected and is none: elevation, disparity, normals, renderings in color."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from armseg_core.errors import FormatError, UsageError
from armseg_core.files.image_headers import is_jpeg, tiff_tags
from armseg_core.files.pictures import AS_COLORS, AS_VALUES
from armseg_core.sensors.depth.options import DepthOptions

_ELEVATION_WORDS = ("dsm", "ndsm", "dem", "dtm", "chm", "elevation", "altitude", "height")
_DISPARITY_WORDS = ("disparity", "disp")
_GEO_KEYS = 34735  # TIFF tag GeoKeyDirectory (OGC GeoTIFF 1.1): the picture is a map, seen from no camera


def _said(path: Path, words: tuple[str, ...]) -> str:
    """The first of some words in the name of a file, or of its folder where that says nothing; or ""."""
    for name in (path.stem, path.absolute().parent.name):
        found: set[str] = set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))
        if hits := found & {*words, *(f"{word}s" for word in words)}:
            return min(hits)
        if found & {"depth", *_DISPARITY_WORDS}:
            break
    return ""


def refuse_disparity(path: Path, options: DepthOptions) -> None:
    """A disparity whose unit nobody gives is no distance.

    Raises:
        UsageError: the name speaks of disparity and no unit is given.
    """
    word = _said(path, _DISPARITY_WORDS)
    if word and options.depth_unit is None and options.depth_scale is None:
        raise UsageError(
            f"its name says {word}, which is no distance",
            where=path,
            hint="--depth-unit relative where the camera is not known, else "
            "--depth-unit disparity256 | disparity --baseline METERS --intrinsics fx,fy,cx,cy",
        )


def refuse_elevation(path: Path) -> None:
    """Heights over the ground are no distances from a camera: 0 is valid there, and great is near the sky.

    Raises:
        FormatError: the name of the file (or, where it says nothing, of its folder) speaks of elevation, or
            the picture carries the keys of a map (GeoTIFF).
    """
    word = _said(path, _ELEVATION_WORDS)
    reason = f"its name says {word}" if word else None
    if reason is None and _GEO_KEYS in tiff_tags(path):
        reason = "it carries the coordinates of a map (GeoTIFF)"
    if reason:
        raise FormatError(
            f"elevation, not depth ({reason}): heights over the ground are no distances from a camera",
            where=path,
            hint=AS_VALUES,
        )


def in_color(image: np.ndarray, path: Path) -> FormatError:
    """What a color picture given as depth is instead, and the ways to use it."""
    expected, hint = None, AS_COLORS
    if _is_normal_map(image[..., :3].astype(np.float32) / 127.5 - 1):
        what = "a map of surface normals (three different channels of unit length), not depth"
    elif is_jpeg(path):
        what = "a color picture: a false-color rendering or a photo, from which no distance can be read back"
    else:
        what = "an 8-bit color picture does not say how depth is coded in it: most are false-color renderings"
        expected = "--depth-unit carla (24-bit CARLA depth) or --depth-unit hha"
    return FormatError(what, where=path, expected=expected, hint=hint)


def _is_normal_map(vectors: np.ndarray) -> bool:
    """Whether most vectors (H, W, 3) that are not 0 have length 1 (8-bit steps and smoothing: +- 0.1)."""
    length = np.linalg.norm(np.nan_to_num(vectors), axis=2)
    known = length[length > 0]
    return known.size > 0 and float((np.abs(known - 1) < 0.1).mean()) > 0.9
