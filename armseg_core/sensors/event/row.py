"""The row of the event camera."""

from __future__ import annotations

from armseg_core.sensors.event.options import EventOptions
from armseg_core.sensors.event.panels import panels, picture
from armseg_core.sensors.event.readers import EVENT_READERS
from armseg_core.sensors.event.representations import EVENT_REPRESENTATIONS
from armseg_core.sensors.modality import Modality

SENSOR = Modality(
    name="event",
    title="event camera",
    prompt="event camera image",
    channels=("bin0", "bin1", "bin2", "bin3", "bin4"),
    value_range=(-3.0, 3.0),
    representation="voxel_grid",
    # Early bins red, late bins blue, around mid-gray: direction of motion stays visible. 0.16 times the 3
    # deviations of value_range is half the range of a color: one bin alone may fill it.
    pseudo_rgb=(
        (0.16, 0.04, 0.0),
        (0.12, 0.08, 0.0),
        (0.04, 0.16, 0.04),
        (0.0, 0.08, 0.12),
        (0.0, 0.04, 0.16),
    ),
    pseudo_rgb_bias=(0.5, 0.5, 0.5),
    aliases=("events", "dvs"),
    words=("prophesee", "davis"),
    options=EventOptions,
    readers=EVENT_READERS,
    representations=EVENT_REPRESENTATIONS,
    picture=picture,
    panels=panels,
)
