"""Everything that differs between sensors.

Each has a folder of its own with one row (`row.py`); SENSORS holds the rows. What is shared lies beside the
folders: no folder imports another.
"""

from __future__ import annotations

from armseg_core.sensors.modalities import MODALITIES, RGB, SENSORS, get_modality, parse_modalities
from armseg_core.sensors.modality import Modality

__all__ = ["MODALITIES", "RGB", "SENSORS", "Modality", "get_modality", "parse_modalities"]
