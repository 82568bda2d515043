"""A model in memory: the network with all that is needed to use it, and how a new one is built."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from armseg_core.config.model import CLIP, DEFAULT, NONE, ModelConfig
from armseg_core.data.sample import ClassInfo
from armseg_core.errors import CheckpointError
from armseg_core.learning.backbone_loading import BackboneIdentity, backbone_identity, build_backbone
from armseg_core.learning.clip_loading import ClipIdentity, LoadedClip, load_clip
from armseg_core.model.backbones.base import Backbone
from armseg_core.model.backbones.clip import ClipBackbone
from armseg_core.model.backbones.tune import set_tune
from armseg_core.model.ma_clip import MAClip, modality_prompt
from armseg_core.model.segmenter import Segmenter
from armseg_core.sensors.modalities import MODALITIES

# of class texts where no guide has a text tower: as many as a small CLIP has
TEXT_DIM = 128


@dataclass(frozen=True)
class KnownDataSet:
    """A data set the model can label: its name, its class list, and how its sensors were converted.

    options: sensor -> conversion options of its raw files (event window, depth unit, ...), files left out.
    """

    name: str
    classes: tuple[ClassInfo, ...]
    options: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.classes)

    @property
    def palette(self) -> list[tuple[int, int, int]]:
        return [c.color for c in self.classes]


@dataclass
class Model:
    """A segmenter with all that is needed to use it.

    identity: of the guide, None without one. backbone: of the backbone's weights. prompts: modality name ->
    unit text embedding (E,) of "a thermal infrared image." and the like, empty without a guide. clip: the
    CLIP it was built on; None without, and after loading from a folder (the text tower is then not needed).
    input_size: (H, W) that its inputs are resized to, in training and whenever it is used; None: as they
    come.
    """

    segmenter: Segmenter
    config: ModelConfig
    datasets: tuple[KnownDataSet, ...]
    identity: ClipIdentity | None
    backbone: BackboneIdentity
    prompts: dict[str, Tensor]
    clip: LoadedClip | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    input_size: tuple[int, int] | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        return self.segmenter.modalities

    @property
    def frozen_sha256(self) -> str:
        """Of the weights that the model uses and does not hold: guide, and backbone unless tuned in full."""
        parts = [] if self.identity is None else [self.identity.sha256]
        return "+".join([*parts, *([] if self.config.tune == "full" else [self.backbone.sha256])])

    @property
    def device(self) -> torch.device:
        return next(self.segmenter.parameters()).device

    def dataset_index(self, name: str | None) -> int:
        """Number of a data set by name, whose case may differ; None means the only (or first) one.

        Raises:
            CheckpointError: no such data set.
        """
        if name is None:
            return 0
        names = [d.name for d in self.datasets]
        found = [i for i, known in enumerate(names) if known == name] or [
            i for i, known in enumerate(names) if known.casefold() == name.casefold()
        ]
        if not found:
            raise CheckpointError(
                f"the model knows no data set '{name}'", expected="one of " + ", ".join(names)
            )
        return found[0]


def build(
    config: ModelConfig,
    modalities: tuple[str, ...],
    datasets: tuple[KnownDataSet, ...],
    input_size: tuple[int, int] | None = None,
) -> Model:
    """A new model on the guide and backbone that are configured.

    Random parts come from torch's global generator.
    """
    clip = None if config.guide == NONE else load_clip(config)
    if clip is None:
        texts = [F.normalize(torch.randn(len(d.classes), TEXT_DIM), dim=-1) for d in datasets]
        prompts = {}
    else:
        texts = [clip.class_matrix([(c.name, *c.synonyms) for c in d.classes]) for d in datasets]
        encoded = clip.encode_text([modality_prompt(m) for m in MODALITIES])
        prompts = dict(zip(MODALITIES, encoded, strict=True))
    segmenter, backbone = assemble(config, modalities, clip, texts)
    identity = None if clip is None else clip.identity
    return Model(segmenter, config, datasets, identity, backbone, prompts, clip, input_size=input_size)


def assemble(
    config: ModelConfig, modalities: tuple[str, ...], clip: LoadedClip | None, texts: list[Tensor]
) -> tuple[Segmenter, BackboneIdentity]:
    """The network on its two towers."""
    guide = None if clip is None else MAClip.of(clip.visual, config, modalities)
    backbone, identity = _backbone(config, guide)
    return Segmenter(backbone, guide, config, modalities, texts), identity


def _backbone(config: ModelConfig, guide: MAClip | None) -> tuple[Backbone, BackboneIdentity]:
    """The encoder that is configured, set to learn as configured."""
    if config.backbone == CLIP:
        assert guide is not None
        return ClipBackbone(guide), BackboneIdentity(CLIP, "guide", "")
    weights, default = config.backbone_weights, config.backbone_weights == DEFAULT
    file = None if weights is None or default else Path(weights)
    backbone = build_backbone(config.backbone, file, default)
    identity = backbone_identity(backbone, config.backbone, file, default)
    set_tune(backbone, config.tune, config.lora_rank, config.lora_alpha)
    return backbone, identity
