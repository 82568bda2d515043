"""Sizes of the network by name: what `--preset` sets, under the options that are given themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from armseg_core.errors import UsageError


@dataclass(frozen=True)
class Preset:
    """title: for help. values: key as for `--set` -> value."""

    title: str
    values: dict[str, Any]


# Published weights are fetched for the encoders that have some: from random ones they need far more data than
# the small one. Their rates are those of fine-tuning, which the random encoder's would wreck.
_FINE = {"model.backbone_weights": "default", "lr": 1e-3, "backbone_lr": 1e-4}
PRESETS = {
    "tiny": Preset("small CNN from scratch, for a CPU", {"model.backbone": "small"}),
    "s": Preset("ConvNeXt-nano", {"model.backbone": "convnext_nano", **_FINE}),
    "b": Preset("ConvNeXt-T", {"model.backbone": "convnext_tiny", "model.sensor_width": 24, **_FINE}),
    "l": Preset(
        "ConvNeXt-B",
        {"model.backbone": "convnext_base", "model.width": 32, "model.sensor_width": 32, **_FINE},
    ),
}


def preset_values(name: str | None) -> dict[str, Any]:
    """Key -> value of a preset; nothing without one.

    Raises:
        UsageError: there is none of that name.
    """
    if name is None:
        return {}
    if name not in PRESETS:
        raise UsageError(f"unknown preset '{name}'", where="--preset", expected=", ".join(PRESETS))
    return dict(PRESETS[name].values)
