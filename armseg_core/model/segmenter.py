"""The whole network: RGB and one extra sensor in, class logits out.

The parts are composed here and nowhere else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from armseg_core.config.training import ModelConfig
from armseg_core.model.aligned_embedding import AlignedEmbedding
from armseg_core.model.clip_tower import STAGES, ClipTower, TowerOutput
from armseg_core.model.decoder import Decoder, Stem, TextClassifier
from armseg_core.model.dsrm import DSRM
from armseg_core.model.fusion import GatedFusion
from armseg_core.model.layers import LayerNorm2d, resize
from armseg_core.model.lora import LoraAdapters
from armseg_core.model.ma_clip import MAClip, pseudo_rgb_layers
from armseg_core.sensors.modalities import get_modality


@dataclass(frozen=True)
class SegmenterOutput:
    """What a forward pass gives.

    logits: (B, K, H, W) at the input size. embeddings: MA-CLIP embedding (B, E) per stream ('rgb', sensor
    name). aligned: per stage the projected (RGB, sensor) maps when both streams ran, for the alignment loss.
    """

    logits: Tensor
    embeddings: dict[str, Tensor]
    aligned: tuple[list[Tensor], list[Tensor]] | None = None


class Standardize(nn.Module):
    """(x - mean) / std per channel with the training data's statistics, cut to +-5."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("std", torch.ones(1, channels, 1, 1))

    def set(self, mean: Tensor, std: Tensor) -> None:
        """Take over the statistics (C,) of the training data."""
        self.mean.copy_(mean.view_as(self.mean))
        self.std.copy_(std.view_as(self.std).clamp(min=1e-4))  # a constant channel stays finite

    def forward(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / self.std).clamp(-5.0, 5.0)  # a hot pixel does not rule the stem


def _laterals(channels: list[int], width: int) -> nn.ModuleList:
    """For every stage: (B, C, h, w) -> (B, D, h, w)."""
    return nn.ModuleList(nn.Sequential(LayerNorm2d(c), nn.Conv2d(c, width, 1)) for c in channels)


class Segmenter(nn.Module):
    """SegRGB-X: MA-CLIP, modality-aligned embeddings, gated fusion, DSRM, pyramid decoder, text classifier.

    Args:
        tower: frozen CLIP tower.
        config: sizes and switches.
        modalities: extra sensors the model knows, e.g. ('thermal', 'depth').
        texts: class matrix (K, E) of every data set the model is trained on, in order.
    """

    def __init__(
        self, tower: ClipTower, config: ModelConfig, modalities: tuple[str, ...], texts: list[Tensor]
    ) -> None:
        super().__init__()
        self.config, self.modalities = config, tuple(modalities)
        width = config.width or (256 if tower.channels[-1] >= 384 else 96)
        dim = tower.embed_dim
        project = pseudo_rgb_layers(self.modalities)
        self.ma_clip = MAClip(tower, project, self._adapters(tower))
        self.aligned = (
            nn.ModuleList(
                AlignedEmbedding(c, dim, self.modalities, config.prompts, config.guidance)
                for c in tower.channels
            )
            if config.aligned and self.modalities
            else None
        )
        self.lateral_rgb = _laterals(tower.channels, width)
        self.standardize = nn.ModuleDict(
            {m: Standardize(get_modality(m).num_channels) for m in self.modalities}
        )
        self.stem_rgb = Stem(3, config.stem_width)
        self.dsrm = (
            DSRM(width, dim, len(texts), config.experts, config.expert_rank, config.guidance)
            if config.dsrm
            else None
        )
        self.decoder = Decoder(width, config.stem_width, dim)
        self.classifiers = nn.ModuleList(TextClassifier(text) for text in texts)
        self.stem_sensor = nn.ModuleDict(
            {m: Stem(get_modality(m).num_channels, config.stem_width) for m in self.modalities}
        )
        if self.modalities:
            self.lateral_sensor = _laterals(tower.channels, width)
            self.fuse = nn.ModuleList(GatedFusion(width) for _ in range(STAGES))
            self.fuse_stem = GatedFusion(config.stem_width)

    def _adapters(self, tower: ClipTower) -> LoraAdapters | None:
        """A LoRA adapter per stream; None with rank 0."""
        config = self.config
        if not config.lora_rank:
            return None
        names = ("rgb", *self.modalities)
        return LoraAdapters(tower.visual, names, config.lora_rank, config.lora_alpha, config.lora_dropout)

    @property
    def stride(self) -> int:
        """Height and width are padded to a multiple of this inside `forward`."""
        return math.lcm(self.ma_clip.tower.stride, 4)

    def forward(
        self, rgb: Tensor | None, sensor: Tensor | None = None, modality: str | None = None, dataset: int = 0
    ) -> SegmenterOutput:
        """Segment a batch.

        rgb: (B, 3, H, W) in [0, 1] or None. sensor: model tensor (B, C, H, W) of `modality` (see
        modalities.py) or None. dataset: index of the data set whose classes are wanted. Any H, W; not both
        inputs None.
        """
        given = rgb if rgb is not None else sensor
        if given is None or (sensor is None) != (modality is None):
            raise ValueError("give rgb, or sensor with its modality, or all three")
        if rgb is not None and sensor is not None and rgb.shape[-2:] != sensor.shape[-2:]:
            raise ValueError(f"rgb is {tuple(rgb.shape)} and sensor {tuple(sensor.shape)}: sizes differ")
        h, w = given.shape[-2:]
        rgb, sensor = (None if x is None else self._pad(x) for x in (rgb, sensor))
        embeddings: dict[str, Tensor] = {}
        rgb_maps = sensor_maps = rgb_stem = sensor_stem = None
        if rgb is not None:
            out = self.ma_clip(rgb, "rgb")
            embeddings["rgb"] = out.embedding
            rgb_maps = [lateral(m) for lateral, m in zip(self.lateral_rgb, out.maps, strict=True)]
            rgb_stem = self.stem_rgb(self.ma_clip.tower.normalize(rgb))
        if sensor is not None:
            assert modality is not None
            out = self._sensor(sensor, modality)
            embeddings[modality] = out.embedding
            sensor_maps = [lateral(m) for lateral, m in zip(self.lateral_sensor, out.maps, strict=True)]
            sensor_stem = self.stem_sensor[modality](self.standardize[modality](sensor))
        maps, stem = self._fuse(rgb_maps, sensor_maps, rgb_stem, sensor_stem)
        if self.dsrm is not None:
            guide = torch.stack(list(embeddings.values())).mean(0)
            maps[-1] = self.dsrm(maps[-1], guide, dataset)
        logits = self.classifiers[dataset](self.decoder(maps, stem))
        logits = resize(logits.float(), self._padded(h, w))[..., :h, :w]
        both = None if rgb_maps is None or sensor_maps is None else (rgb_maps, sensor_maps)
        return SegmenterOutput(logits, embeddings, both)

    def embed(self, x: Tensor, modality: str) -> Tensor:
        """MA-CLIP embedding (B, E) of a stream (B, C, H, W), any H, W: the one `forward` gives for it."""
        out: TowerOutput = self.ma_clip(self._pad(x), modality)
        return out.embedding

    def _sensor(self, sensor: Tensor, modality: str) -> TowerOutput:
        out: TowerOutput = self.ma_clip(sensor, modality)
        if self.aligned is None:
            return out
        maps = [a(m, out.embedding, modality) for a, m in zip(self.aligned, out.maps, strict=True)]
        return TowerOutput(maps, out.embedding)

    def _fuse(
        self,
        rgb_maps: list[Tensor] | None,
        sensor_maps: list[Tensor] | None,
        rgb_stem: Tensor | None,
        sensor_stem: Tensor | None,
    ) -> tuple[list[Tensor], Tensor]:
        if sensor_maps is None:
            assert rgb_maps is not None
            assert rgb_stem is not None
            return list(rgb_maps), rgb_stem
        pairs = zip(self.fuse, rgb_maps or STAGES * (None,), sensor_maps, strict=True)
        maps = [fuse(a, b) for fuse, a, b in pairs]
        return maps, self.fuse_stem(rgb_stem, sensor_stem)

    def _padded(self, h: int, w: int) -> tuple[int, int]:
        s = self.stride
        return -(-h // s) * s, -(-w // s) * s

    def _pad(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        ph, pw = self._padded(h, w)
        return x if (ph, pw) == (h, w) else F.pad(x, (0, pw - w, 0, ph - h), mode="replicate")

    def trainable(self) -> dict[str, nn.Parameter]:
        """Every parameter that training may change, by name: LoRA and all parts outside the tower."""
        return {n: p for n, p in self.named_parameters() if p.requires_grad}

    @property
    def texts(self) -> list[Tensor]:
        """The class matrix (K, E) of every data set."""
        return [cast(TextClassifier, c).text for c in self.classifiers]

    def own_state(self) -> dict[str, Tensor]:
        """Weights and statistics outside the tower (what segmenter.safetensors holds)."""
        return {n: t for n, t in self.state_dict().items() if not n.startswith("ma_clip.tower.")}
