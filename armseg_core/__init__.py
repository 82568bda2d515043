"""armseg: RGB-X semantic segmentation, from a raw sensor recording to a coloured mask.

Importing this package imports neither torch nor OpenCV; the names below are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "convert_file": "armseg_core.conversion",
    "to_tensor": "armseg_core.conversion",
    "Predictor": "armseg_core.prediction",
    "evaluate": "armseg_core.evaluation",
    "train": "armseg_core.training",
    "SensorTensor": "armseg_core.tensorfile",
    "TensorFile": "armseg_core.tensorfile",
    "ArmsegError": "armseg_core.errors",
    "MODALITIES": "armseg_core.modalities",
}
__all__ = ["__version__", *_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'armseg_core' has no attribute '{name}'")
