"""A ConvNeXt of timm's own code, small enough for tests, with a file of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from timm.models import register_model

NAME = "convnext_of_the_tests"


def convnext_of_the_tests(pretrained: bool = False, **options: Any) -> Any:
    from timm.models.convnext import _create_convnext

    sizes = {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}
    return _create_convnext("convnext_atto", pretrained=pretrained, **sizes, **options)


convnext_of_the_tests.__module__ = "timm.models.convnext"  # where the table looks for its family
register_model(convnext_of_the_tests)


def write_backbone(folder: Path, seed: int = 0) -> dict[str, Any]:
    """Write weights as timm publishes them, head and all; returns the fields of ModelConfig for them."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = timm.create_model(NAME).state_dict()
    for name in state:
        if name.endswith("gamma"):  # blocks start as nearly nothing
            state[name].fill_(0.5)
    file = folder / "backbone.safetensors"
    safetensors.torch.save_file(state, file)
    return {"backbone": NAME, "backbone_weights": str(file)}
