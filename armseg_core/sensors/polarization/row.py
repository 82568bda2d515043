"""The row of the polarization camera."""

from __future__ import annotations

from armseg_core.sensors.modality import Modality
from armseg_core.sensors.polarization.options import PolarizationOptions
from armseg_core.sensors.polarization.panels import panels, picture
from armseg_core.sensors.polarization.readers import POLARIZATION_READERS
from armseg_core.sensors.polarization.representations import POLARIZATION_REPRESENTATIONS
from armseg_core.sensors.polarization.resizing import resize

SENSOR = Modality(
    name="polarization",
    title="polarization camera",
    prompt="polarization image",
    channels=("s0", "dolp", "sin2aolp", "cos2aolp"),
    value_range=(-1.0, 1.0),
    representation="stokes",
    flip_negates=("sin2aolp",),
    # Free choice: intensity red, degree of polarization green, angle blue. S0 is 2 at full scale, so 0.8
    # leaves it in range up to 60 % of it; the two blues keep within 0.5 - 0.36 and 0.5 + 0.36.
    pseudo_rgb=((0.8, 0.0, 0.0), (0.2, 1.0, 0.0), (0.0, 0.0, 0.25), (0.0, 0.0, 0.25)),
    pseudo_rgb_bias=(0.0, 0.0, 0.5),
    aliases=("polarisation", "polar"),
    words=("polarized", "mosaic", "dofp", "stokes", "dolp", "aolp", "poll"),
    options=PolarizationOptions,
    readers=POLARIZATION_READERS,
    representations=POLARIZATION_REPRESENTATIONS,
    resize=resize,
    picture=picture,
    panels=panels,
)
