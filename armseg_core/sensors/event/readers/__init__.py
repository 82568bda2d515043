"""Raw formats of event cameras: EVENT_READERS is the table of what is read, and of what is refused and why.

Adding a format = one reading function and one row in one of the `events_*.py` modules.
"""

from __future__ import annotations

from armseg_core.sensors.event.readers.aedat import AEDAT_READERS
from armseg_core.sensors.event.readers.arrays import ARRAY_READERS
from armseg_core.sensors.event.readers.hdf5 import HDF5_READERS
from armseg_core.sensors.event.readers.prophesee import PROPHESEE_READERS
from armseg_core.sensors.event.readers.ros import ROS_READERS
from armseg_core.sensors.event.readers.stills import STILL_READERS
from armseg_core.sensors.event.readers.text import TEXT_READERS
from armseg_core.sensors.reader import Reader

# the first row whose content test fits is taken
EVENT_READERS: tuple[Reader, ...] = (
    *HDF5_READERS,
    *PROPHESEE_READERS,
    *AEDAT_READERS,
    *ROS_READERS,
    *ARRAY_READERS,
    *TEXT_READERS,
    *STILL_READERS,
)
