"""Options of thermal frames."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from armseg_core.sensors.options import SizedOptions


class ThermalOptions(SizedOptions):
    """What the counts of a thermal frame mean and how they are scaled."""

    thermal_unit: Literal["counts", "celsius", "kelvin", "tlinear", "decikelvin", "tau"] = Field(
        "counts",
        description="Meaning of the values: tlinear = 0.01 K (Lepton), decikelvin = 0.1 K, tau = 0.04 K.",
    )
    scale: float | None = Field(None, gt=0, description="Degrees Celsius per count (with --offset).")
    offset: float | None = Field(None, description="Degrees Celsius at count 0 (with --scale).")
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
