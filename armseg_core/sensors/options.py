"""Options of `armseg convert`: one group per sensor, every field with its default, help and checks.

The name of a field is the name of its flag with '_' for '-'.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from armseg_core.config.base import Options, parse_duration_us, parse_size
from armseg_core.errors import UsageError


def _duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_duration_us(value)
    except UsageError as error:
        raise ValueError(error.expected or error.what) from error


def _size(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_size(value)
    except UsageError as error:
        raise ValueError(error.expected or error.what) from error


def _positive_size(value: tuple[int, int]) -> tuple[int, int]:
    if min(value) < 1:
        raise ValueError("a size of at least 1x1")
    return value


# microseconds; text such as '50ms' is understood
Duration = Annotated[int, BeforeValidator(_duration), Field(gt=0)]
# (H, W); text such as '640x480' (width x height) is understood
Size = Annotated[tuple[int, int], BeforeValidator(_size)]


class EventOptions(Options):
    """How an event recording is read, cut into windows and turned into frames."""

    # windows
    window: Duration = Field(50_000, description="Length of a window (50ms, 20000us, 0.1s).")
    count: int | None = Field(None, ge=1, description="Events per window, instead of a fixed time.")
    end_times: Path | None = Field(
        None, description="Text file of label times in absolute microseconds: one window ending at each."
    )
    # frames
    bins: int = Field(5, ge=1, le=256, description="Time bins of the voxel grids.")
    stack: int = Field(10, ge=1, le=256, description="Time slices of stacked_histogram and frames of mdes.")
    norm: Literal["dsec", "none"] = Field(
        "dsec", description="Voxel grids: dsec = zero mean and unit deviation over the non-zero cells."
    )
    size: Size | None = Field(
        None, description="Size of the frames; coordinates are scaled (default: the sensor's own)."
    )
    tau: Duration = Field(30_000, description="Decay time of time_surface.")
    depth: int = Field(4, ge=1, le=64, description="Most recent events per pixel and polarity kept by tore.")
    clip: int = Field(255, ge=1, le=65535, description="Largest count of a stacked_histogram cell.")
    # reading
    sensor_size: Size | None = Field(
        None, description="Resolution of the sensor, where the file does not say it."
    )
    rectify_map: Path | None = Field(
        None, description="DSEC rectify_map.h5 (default: the file of that name beside the recording)."
    )
    rectify: bool = Field(True, description="Undistort the coordinates when there is a rectify map.")
    time_unit: Literal["auto", "s", "ms", "us", "ns"] = Field(
        "auto", description="Unit of the recorded times, for formats that do not fix it."
    )
    columns: str | None = Field(
        None, description="Column order of text and N x 4 files, such as txyp or xytp."
    )
    stream: str | None = Field(
        None, description="Which camera (HDF5 group or ROS topic), when a recording holds several."
    )
    polarity_missing: bool = Field(
        False, description="Accept a recording without polarity: every event counts as positive."
    )
    hot_pixels: float | None = Field(
        None, gt=1, description="Drop pixels with more than this many times the median count around them."
    )
    crop_bottom: int = Field(0, ge=0, description="Sensor rows cut off at the bottom (DSEC-Semantic: 40).")

    @field_validator("columns")
    @classmethod
    def _columns(cls, value: str | None) -> str | None:
        if value is None:
            return None
        value = value.lower().replace(",", "").replace(" ", "")
        if sorted(value) not in (sorted("txyp"), sorted("txy")):
            raise ValueError("the letters t, x, y and p in the order of the columns, such as txyp")
        return value

    @field_validator("size", "sensor_size")
    @classmethod
    def _sizes(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        return None if value is None else _positive_size(value)


class _SizedOptions(Options):
    """The group of a sensor that gives one frame per recording."""

    size: Size | None = Field(None, description="Size of the frame, such as 640x480 (default: the sensor's).")

    @field_validator("size")
    @classmethod
    def _size(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        return None if value is None else _positive_size(value)


def _numbers(text: str, counts: tuple[int, ...], expected: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.replace(";", ",").split(","))
    except ValueError as error:
        raise ValueError(expected) from error
    if len(values) not in counts or not all(math.isfinite(value) for value in values):
        raise ValueError(expected)
    return values


Bayer = Literal["none", "rggb", "bggr", "grbg", "gbrg"]


class LightFieldOptions(_SizedOptions):
    """How a light field is read and which of its views are kept."""

    angular: int | None = Field(
        None, ge=2, le=64, description="Views per side of a lenslet / ESLF picture (Lytro Illum: 14)."
    )
    central: int | None = Field(
        None, ge=1, description="Keep only this many central views per side (outer lenslet views are dark)."
    )
    views: Literal["all", "row", "column", "cross", "star", "center"] = Field(
        "all", description="Views kept: all, the central row or column, both, these with diagonals, or one."
    )
    planes: int = Field(8, ge=1, le=128, description="Planes of focal_stack.")
    disparity_range: float = Field(
        3.0, gt=0, le=16, description="Largest disparity searched and refocused to, in pixels per view step."
    )


class PolarizationOptions(_SizedOptions):
    """How polarized intensities are read and demosaiced."""

    pattern: str = Field(
        "90,45,135,0",
        description="Polarizer angles of a 2x2 cell: top left, top right, bottom left, bottom right.",
    )
    bayer: Bayer = Field(
        "none", description="Color filter over the polarizers (quad-Bayer: rggb); none = gray sensor."
    )
    bits: int | None = Field(
        None, ge=8, le=16, description="Bits per sample, right-aligned (default: found and said)."
    )
    demosaic: Literal["bilinear", "half"] = Field(
        "bilinear", description="bilinear = full resolution; half = one pixel per 2x2 cell."
    )
    gamma: float = Field(
        1.0, gt=0, le=4, description="Gamma to undo (2.2 for pictures that are not linear); 1 = linear."
    )
    calibration: Path | None = Field(
        None,
        description="npy of (4, 4) or (H, W, 4, 4) correcting the intensities behind 0, 45, 90, 135 degrees.",
    )
    aolp_unit: Literal["rad", "deg"] = Field("rad", description="Unit of AoLP npy files.")
    crop_left: int = Field(0, ge=0, description="Columns of the picture cut off at the left (MCubeS: 192).")

    @field_validator("pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        expected = "the angles 0, 45, 90 and 135 in the order of the cell, such as 90,45,135,0"
        angles = _numbers(value, (4,), expected)
        if sorted(angles) != [0, 45, 90, 135]:
            raise ValueError(expected)
        return ",".join(f"{angle:g}" for angle in angles)

    @property
    def cell(self) -> tuple[int, ...]:
        """`pattern` as four angles in degrees, row by row."""
        return tuple(int(part) for part in self.pattern.split(","))


class ThermalOptions(_SizedOptions):
    """What the counts of a thermal frame mean and how they are scaled."""

    thermal_unit: Literal["counts", "celsius", "kelvin", "tlinear", "decikelvin", "tau"] = Field(
        "counts",
        description="Meaning of the values: tlinear = 0.01 K (Lepton), decikelvin = 0.1 K, tau = 0.04 K.",
    )
    scale: float | None = Field(None, gt=0, description="Degrees Celsius per count (with --offset).")
    offset: float | None = Field(None, description="Degrees Celsius at count 0 (with --scale).")
    low_percentile: float = Field(1.0, ge=0, lt=100, description="Percentile that becomes 0.")
    high_percentile: float = Field(99.0, gt=0, le=100, description="Percentile that becomes 1.")
    clip_limit: float = Field(2.0, gt=0, le=40, description="Contrast limit of clahe.")

    @model_validator(mode="after")
    def _consistent(self) -> ThermalOptions:
        if self.low_percentile >= self.high_percentile:
            raise ValueError("low_percentile below high_percentile")
        if (self.scale is None) != (self.offset is None):
            raise ValueError("scale and offset together (celsius = counts * scale + offset)")
        return self


class DepthOptions(_SizedOptions):
    """What the values of a depth picture mean, and the camera behind it."""

    depth_unit: (
        Literal[
            "mm",
            "cm",
            "m",
            "kitti256",
            "tum5000",
            "sunrgbd",
            "carla",
            "cityscapes",
            "disparity256",
            "disparity",
            "hha",
        ]
        | None
    ) = Field(
        None, description="Meaning of the stored values (16-bit PNG: mm, others: m, each said when assumed)."
    )
    intrinsics: str | None = Field(
        None, description="fx,fy,cx,cy in pixels (default: calib.json beside the file), for hha and normals."
    )
    baseline: float | None = Field(None, gt=0, description="Stereo baseline in meters, for disparity units.")
    frame: int = Field(0, ge=0, description="Frame of a file that holds many (NYUv2 .mat).")

    @field_validator("intrinsics")
    @classmethod
    def _intrinsics(cls, value: str | None) -> str | None:
        expected = "fx,fy,cx,cy with positive focal lengths, such as 525,525,319.5,239.5"
        if value is not None and min(_numbers(value, (4,), expected)[:2]) <= 0:
            raise ValueError(expected)
        return value

    @property
    def camera(self) -> tuple[float, ...] | None:
        """`intrinsics` as (fx, fy, cx, cy)."""
        return None if self.intrinsics is None else _numbers(self.intrinsics, (4,), "fx,fy,cx,cy")


class LidarOptions(_SizedOptions):
    """How a point cloud is projected into the camera."""

    calibration: Path | None = Field(
        None, description="calib.json or a KITTI calibration file (default: found beside the point cloud)."
    )
    image_size: Size | None = Field(
        None, description="Size of the camera image, where the calibration does not say it."
    )

    @field_validator("image_size")
    @classmethod
    def _image_size(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        return None if value is None else _positive_size(value)


OPTIONS: dict[str, type[Options]] = {  # modality -> its options
    "event": EventOptions,
    "light_field": LightFieldOptions,
    "polarization": PolarizationOptions,
    "thermal": ThermalOptions,
    "depth": DepthOptions,
    "lidar": LidarOptions,
}
