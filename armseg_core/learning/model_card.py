"""The model card: what a model is and how it is used, for people."""

from __future__ import annotations

from armseg_core.config.model import NONE, TINY
from armseg_core.files.json_text import to_json
from armseg_core.files.ownership import EMPTY_SEAL
from armseg_core.learning.backbone_loading import BackboneIdentity
from armseg_core.learning.clip_loading import ClipIdentity
from armseg_core.learning.model import Model
from armseg_core.model.backbones.table import find_backbone
from armseg_core.sensors.modalities import get_modality


def model_card(model: Model) -> str:
    """The model card."""
    sensors = ", ".join(get_modality(m).title for m in model.modalities)
    lines = [
        "# armseg model",
        "",
        f"RGB-X semantic segmentation with {sensors or 'RGB only'}; backbone {model.backbone.name}"
        + f"{_license_words(model.backbone)}, guided by {_guide_words(model.identity)}.",
        "",
        "Use: `armseg predict IMAGE [SENSOR_FILE...] --model THIS_FOLDER`",
        "",
    ]
    if model.identity is not None and model.identity.name == TINY:
        lines += [
            "Built on armseg-tiny, a demonstration CLIP trained on simulated scenes: not for real use.",
            "",
        ]
    if model.input_size is not None:
        h, w = model.input_size
        lines += [f"Inputs are resized to {w}x{h} pixels; masks have the size of the image.", ""]
    for dataset in model.datasets:
        lines += [f"Classes of {dataset.name}: {', '.join(dataset.class_names)}", ""]
    if model.metrics:
        lines += ["Validation:", "", "```json", to_json(model.metrics, indent=2), "```", ""]
    return "\n".join([*lines, f"<!-- {EMPTY_SEAL} -->", ""])


def _license_words(backbone: BackboneIdentity) -> str:
    """' (weights: Apache-2.0)' where the backbone began with published weights, else ''."""
    if backbone.weights in (NONE, "guide"):
        return ""
    known = find_backbone(backbone.name).license(backbone.name)
    return f" (weights: {known})" if known else ""


def _guide_words(identity: ClipIdentity | None) -> str:
    if identity is None:
        return "nothing (no guide)"
    return f"CLIP {identity.name}" + (f" ({identity.pretrained})" if identity.pretrained else "")
