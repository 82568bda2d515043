"""Options of event recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from armseg_core.config.base import Options
from armseg_core.sensors.options import Duration, Size, positive_size


class EventOptions(Options):
    """How an event recording is read, cut into windows and turned into frames."""

    # windows
    # a usual length for driving: RVT and Ev-SegNet use 50 ms; shorter is sparser, longer blurs motion
    window: Duration = Field(50_000, description="Length of a window (50ms, 20000us, 0.1s).")
    count: int | None = Field(None, ge=1, description="Events per window, instead of a fixed time.")
    end_times: Path | None = Field(
        None, description="Text file of label times in absolute microseconds: one window ending at each."
    )
    # frames
    # 5 bins as DSEC-Semantic (ESS) has them; the model tensor has this many channels
    bins: int = Field(5, ge=1, le=256, description="Time bins of the voxel grids.")
    # 10 slices as RVT has them in 50 ms
    stack: int = Field(10, ge=1, le=256, description="Time slices of stacked_histogram and frames of mdes.")
    norm: Literal["dsec", "none"] = Field(
        "dsec", description="Voxel grids: dsec = zero mean and unit deviation over the non-zero cells."
    )
    size: Size | None = Field(
        None, description="Size of the frames; coordinates are scaled (default: the sensor's own)."
    )
    # free choice: the surface falls to 19 % over the default window
    tau: Duration = Field(30_000, description="Decay time of time_surface.")
    # free choice; each more is two more channels
    depth: int = Field(4, ge=1, le=64, description="Most recent events per pixel and polarity kept by tore.")
    # what uint8 holds, as in RVT
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
        return None if value is None else positive_size(value)
