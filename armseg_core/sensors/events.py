"""Raw formats of event cameras: EVENT_READERS is the table of what can be read (and what is refused, and why).

Adding a format = one reading function in one of the `events_*.py` modules and one row there.
"""

from __future__ import annotations

from armseg_core.sensors.events_hdf5 import HDF5_READERS
from armseg_core.sensors.reader import Reader

EVENT_READERS: tuple[Reader, ...] = (*HDF5_READERS,)
