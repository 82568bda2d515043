"""The simulator: streets ray-cast once, seen by every sensor, written as raw files.

`simulate` writes a folder data set; see `classes.py` for what each sensor is needed for.
"""

from armseg_core.simulate.dataset import RAW_SENSORS, simulate

__all__ = ["RAW_SENSORS", "simulate"]
