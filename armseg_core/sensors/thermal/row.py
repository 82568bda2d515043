"""The row of the thermal camera."""

from __future__ import annotations

from armseg_core.sensors.modality import Modality
from armseg_core.sensors.thermal.options import ThermalOptions
from armseg_core.sensors.thermal.panels import panels, picture
from armseg_core.sensors.thermal.readers import THERMAL_READERS
from armseg_core.sensors.thermal.representations import THERMAL_REPRESENTATIONS

SENSOR = Modality(
    name="thermal",
    title="thermal camera",
    prompt="thermal infrared image",
    channels=("temperature",),
    value_range=(0.0, 1.0),
    representation="percentile",
    pseudo_rgb=((1.0, 1.0, 1.0),),
    aliases=("infrared", "ir", "lwir"),
    words=("fir", "flir", "temperature"),
    options=ThermalOptions,
    readers=THERMAL_READERS,
    representations=THERMAL_REPRESENTATIONS,
    picture=picture,
    panels=panels,
)
