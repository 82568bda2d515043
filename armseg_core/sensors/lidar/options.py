"""Options of point clouds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from armseg_core.sensors.options import Size, SizedOptions, positive_size


class LidarOptions(SizedOptions):
    """How a point cloud is projected into the camera."""

    calibration: Path | None = Field(
        None,
        description="KITTI calibration file, or JSON of intrinsics (3x3), lidar_to_camera (4x4) and size "
        "[H, W] (default: found beside the point cloud).",
    )
    lidar_unit: Literal["auto", "m", "ft", "us-ft"] = Field(
        "auto", description="Unit of the coordinates (auto: what a LAS file says, else meters)."
    )
    image_size: Size | None = Field(
        None, description="Size of the camera image, where the calibration does not say it."
    )
    cell: float | None = Field(
        None, gt=0, description="Meters per pixel of the representation bev (default: the cloud fills it)."
    )

    @field_validator("image_size")
    @classmethod
    def _image_size(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        return None if value is None else positive_size(value)
