"""Which weights of a staged encoder train: none, LoRA, or all."""

from __future__ import annotations

from typing import get_args

from armseg_core.errors import UsageError
from armseg_core.model.backbones.base import Backbone, Tune
from armseg_core.model.lora import LoraAdapters, lora_targets

ADAPTER = "backbone"  # the name of its LoRA in files


def set_tune(backbone: Backbone, tune: Tune, rank: int = 8, alpha: float = 16.0) -> None:
    """Choose what trains of a backbone, once, after its weights are loaded.

    Args:
        backbone: one without LoRA.
        tune: "frozen": nothing of the encoder. "lora": low-rank updates of its linear layers and 1x1
            convolutions. "full": all of it; the batch statistics of a trained encoder stay as they are.
        rank: of the updates.
        alpha: their scale, alpha / sqrt(rank).

    Raises:
        UsageError: another word, or an encoder without layers for LoRA.
    """
    if tune not in get_args(Tune):
        raise UsageError(f"unknown way to tune a backbone '{tune}'", expected=", ".join(get_args(Tune)))
    if backbone.adapters is not None:
        raise ValueError("the backbone has LoRA already")
    if tune == "lora":
        targets = lora_targets(backbone.encoder, backbone.lora)
        if not targets:
            raise UsageError("the backbone has no layer that can take LoRA", hint="--tune full")
        backbone.adapters = LoraAdapters(backbone.encoder, (ADAPTER,), rank, alpha, 0.0, targets)
        backbone.adapters.activate(ADAPTER)
    else:
        backbone.encoder.requires_grad_(tune == "full")
    backbone.tune = tune
    backbone.train(backbone.training)
