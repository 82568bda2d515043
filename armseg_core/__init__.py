"""armseg: RGB-X semantic segmentation, from a raw sensor recording to a colored mask.

Importing this package imports neither torch nor OpenCV; the names below are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "convert_file": "armseg_core.conversion.convert",
    "to_tensor": "armseg_core.conversion.convert",
    "Predictor": "armseg_core.learning.prediction",
    "evaluate": "armseg_core.learning.evaluation",
    "train": "armseg_core.learning.training",
    "SensorTensor": "armseg_core.files.tensor_file",
    "TensorFile": "armseg_core.files.tensor_file",
    "ArmsegError": "armseg_core.errors",
    "MODALITIES": "armseg_core.sensors.modalities",
}
__all__ = ["__version__", *_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'armseg_core' has no attribute '{name}'")
