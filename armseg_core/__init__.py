"""armseg: RGB-X semantic segmentation, from a raw sensor recording to a colored mask.

Importing this package imports neither torch nor OpenCV; the names below are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from armseg_core.arrays import Frame as Frame
    from armseg_core.config.training import TrainConfig as TrainConfig
    from armseg_core.conversion.convert import convert_file as convert_file
    from armseg_core.conversion.convert import to_tensor as to_tensor
    from armseg_core.conversion.recording import Recording as Recording
    from armseg_core.data.registry import open_dataset as open_dataset
    from armseg_core.errors import ArmsegError as ArmsegError
    from armseg_core.files.tensor_file import SensorTensor as SensorTensor
    from armseg_core.files.tensor_file import TensorFile as TensorFile
    from armseg_core.learning.evaluation import evaluate as evaluate
    from armseg_core.learning.metrics import ConfusionMatrix as ConfusionMatrix
    from armseg_core.learning.prediction import Predictor as Predictor
    from armseg_core.learning.training import train as train
    from armseg_core.sensors.modalities import MODALITIES as MODALITIES

__version__ = "0.1.0"

_LAZY = {  # the public names and where they are; the same as above
    "ArmsegError": "errors",
    "ConfusionMatrix": "learning.metrics",
    "Frame": "arrays",
    "MODALITIES": "sensors.modalities",
    "Predictor": "learning.prediction",
    "Recording": "conversion.recording",
    "SensorTensor": "files.tensor_file",
    "TensorFile": "files.tensor_file",
    "TrainConfig": "config.training",
    "convert_file": "conversion.convert",
    "evaluate": "learning.evaluation",
    "open_dataset": "data.registry",
    "to_tensor": "conversion.convert",
    "train": "learning.training",
}
__all__ = ["__version__", *_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"armseg_core.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'armseg_core' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
