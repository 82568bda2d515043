"""Options of thermal frames."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from armseg_core.sensors.options import SizedOptions
from armseg_core.sensors.thermal.units import UNITS


class ThermalOptions(SizedOptions):
    """What the counts of a thermal frame mean and how they are scaled."""

    thermal_unit: Literal["counts", "celsius", "kelvin", "tlinear", "decikelvin", "tau"] = Field(
        "counts",
        description="Meaning of the values: tlinear = 0.01 K (Lepton), decikelvin = 0.1 K, tau = 0.04 K.",
    )
    scale: float | None = Field(None, gt=0, description="Degrees Celsius per count (with --offset).")
    offset: float | None = Field(None, description="Degrees Celsius at count 0 (with --scale).")
    nodata: float | None = Field(None, description="Value that stands for no measurement, such as -9999.")
    crop_bottom: int | None = Field(
        None, ge=0, description="Rows cut off at the bottom (telemetry of known cameras is cut unless given)."
    )
    # with 0 and 100 a few dead or hot pixels squeeze the rest of the frame; more cuts off small hot things
    low_percentile: float = Field(1.0, ge=0, lt=100, description="Percentile that becomes 0.")
    high_percentile: float = Field(99.0, gt=0, le=100, description="Percentile that becomes 1.")
    # free choice; 1 leaves the contrast nearly as it is, 40 (OpenCV's default) hardly limits it
    clip_limit: float = Field(2.0, gt=0, le=40, description="Contrast limit of clahe.")

    @model_validator(mode="after")
    def _consistent(self) -> ThermalOptions:
        if self.low_percentile >= self.high_percentile:
            raise ValueError("low_percentile below high_percentile")
        if (self.scale is None) != (self.offset is None):
            raise ValueError("scale and offset together (celsius = counts * scale + offset)")
        return self

    @property
    def to_celsius(self) -> tuple[float, float] | None:
        """(scale, offset) of degrees Celsius = values * scale + offset; None when nothing says it."""
        if self.scale is not None and self.offset is not None:
            return self.scale, self.offset
        return UNITS.get(self.thermal_unit)
