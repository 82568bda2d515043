"""The whole network: RGB and any number of extra sensors in, class logits out.

Two towers: the guide (MA-CLIP, at its own small input size) and the backbone with the sensors' stream beside
it, at full resolution. The parts are composed here and nowhere else.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from armseg_core.config.model import ModelConfig
from armseg_core.model.aligned_embedding import AlignedEmbedding
from armseg_core.model.backbones.base import Backbone
from armseg_core.model.clip_tower import TowerOutput
from armseg_core.model.decoder import Decoder, TextClassifier, decoder_widths
from armseg_core.model.dsrm import DSRM
from armseg_core.model.fusion import GatedSum
from armseg_core.model.guidance import TokenGuidance
from armseg_core.model.layers import ConvBlock, resize
from armseg_core.model.ma_clip import MAClip
from armseg_core.model.streams import STRIDES, SensorStream, stage_widths
from armseg_core.sensors.modalities import get_modality

# of the five stages: strides 8, 16 and 32. The guide's tokens say nothing finer, and attention is dear there
GUIDED = (2, 3, 4)


@dataclass(frozen=True)
class SegmenterOutput:
    """What a forward pass gives.

    logits: (B, K, H, W) at the input size. embeddings: MA-CLIP embedding (B, E) per stream ('rgb', sensor
    name); empty without guidance. aligned: sensor -> per stage the (RGB, sensor) maps that are fused, for the
    alignment loss; empty where RGB is absent. coarse: logits (B, K, h, w) of the decoder's coarser steps, on
    the padded input, in training only.
    """

    logits: Tensor
    embeddings: dict[str, Tensor]
    aligned: dict[str, tuple[list[Tensor], list[Tensor]]] = field(default_factory=dict)
    coarse: list[Tensor] = field(default_factory=list)


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


class Segmenter(nn.Module):
    """SegRGB-X: backbone and sensor stream, gated fusion, MA-CLIP's guidance, DSRM, decoder, classifier.

    Args:
        backbone: staged encoder of the RGB image.
        guide: MA-CLIP, or None for a network without it.
        config: sizes and switches.
        modalities: extra sensors the model knows, e.g. ('thermal', 'depth').
        texts: class matrix (K, E) of every data set the model is trained on, in order.
    """

    def __init__(
        self,
        backbone: Backbone,
        guide: MAClip | None,
        config: ModelConfig,
        modalities: tuple[str, ...],
        texts: list[Tensor],
    ) -> None:
        super().__init__()
        self.config, self.modalities = config, tuple(modalities)
        self.guide, self.backbone = guide, backbone
        widths = decoder_widths(config.width)
        sensor_widths = stage_widths(config.sensor_width)
        channels = {m: get_modality(m).num_channels for m in self.modalities}
        # an encoder that begins at stride 4 (most do) gets a stem for the edges that are finer
        self.fine = ConvBlock(3, widths[0], 2) if backbone.strides[0] == STRIDES[1] else None
        given = (widths[0],) * (self.fine is not None) + tuple(backbone.channels)
        self.lateral = nn.ModuleList(
            nn.Identity() if a == b else nn.Conv2d(a, b, 1) for a, b in zip(given, widths, strict=True)
        )
        self.standardize = nn.ModuleDict({m: Standardize(c) for m, c in channels.items()})
        if self.modalities:
            self.stream = SensorStream(channels, sensor_widths, config.streams == "shared")
            self.fuse = nn.ModuleList(GatedSum(a, b) for a, b in zip(widths, sensor_widths, strict=True))
        self._add_guided_parts(widths, sensor_widths, len(texts))
        self.decoder = Decoder(widths, texts[0].shape[1])
        self.classifiers = nn.ModuleList(TextClassifier(text) for text in texts)

    def _add_guided_parts(self, widths: Sequence[int], sensor_widths: Sequence[int], datasets: int) -> None:
        """The parts that MA-CLIP guides, as far as they are switched on."""
        config, guide = self.config, self.guide
        dim = guide.tower.embed_dim if guide is not None and config.guided else 0
        self.tokens = (
            TokenGuidance(guide.tower.channels[-1], [widths[i] for i in GUIDED])
            if guide is not None and config.guided
            else None
        )
        self.aligned = (
            nn.ModuleDict(
                {
                    str(i): AlignedEmbedding(sensor_widths[i], dim, self.modalities, config.prompts)
                    for i in GUIDED
                }
            )
            if config.aligned and self.modalities
            else None
        )
        self.dsrm = (
            DSRM(widths[-1], dim, datasets, config.experts, config.expert_rank) if config.dsrm else None
        )

    @property
    def stride(self) -> int:
        """Height and width are padded to a multiple of this inside `forward`."""
        return STRIDES[-1]

    def forward(
        self, rgb: Tensor | None, sensors: Mapping[str, Tensor] | None = None, dataset: int = 0
    ) -> SegmenterOutput:
        """Segment a batch.

        rgb: (B, 3, H, W) in [0, 1] or None. sensors: name -> model tensor (B, C, H, W) (see modalities.py),
        any number of them. dataset: index of the data set whose classes are wanted. Any H, W, the same of
        all; not everything absent.
        """
        sensors = dict(sensors or {})
        h, w = self._size(rgb, sensors)
        rgb = None if rgb is None else self._pad(rgb)
        sensors = {m: self._pad(x) for m, x in sensors.items()}
        embeddings, tokens = self._guide(rgb, sensors)
        rgb_maps = None if rgb is None else self._rgb_maps(rgb)
        maps, pairs = self._fuse(rgb_maps, self._sensor_maps(sensors, embeddings))
        if self.tokens is not None:
            guided = self.tokens([maps[i] for i in GUIDED], tokens)
            maps = [*maps[: GUIDED[0]], *guided]
        if self.dsrm is not None:
            guide = torch.stack(list(embeddings.values())).mean(0) if embeddings else None
            maps[-1] = self.dsrm(maps[-1], guide, dataset)
        finest, *coarser = map(self.classifiers[dataset], self.decoder(maps, every_step=self.training))
        logits = resize(finest.float(), self._padded(h, w))[..., :h, :w]
        return SegmenterOutput(logits, embeddings, pairs, coarser)

    def embed(self, x: Tensor, modality: str) -> Tensor:
        """MA-CLIP embedding (B, E) of a stream (B, C, H, W), any H, W: the one `forward` gives for it.

        Raises:
            ValueError: the model has no guide.
        """
        if self.guide is None:
            raise ValueError("a model without a guide has no embeddings")
        out: TowerOutput = self.guide(self._pad(x), modality)
        return out.embedding

    def _size(self, rgb: Tensor | None, sensors: Mapping[str, Tensor]) -> tuple[int, int]:
        """(H, W) of the inputs, which they share."""
        given = {**({} if rgb is None else {"rgb": rgb}), **sensors}
        if not given:
            raise ValueError("give rgb, a sensor, or both")
        sizes = {name: (x.shape[-2], x.shape[-1]) for name, x in given.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"sizes differ: {sizes}")
        return next(iter(sizes.values()))

    def _guide(
        self, rgb: Tensor | None, sensors: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """MA-CLIP's embedding and its patch tokens as a map, of every stream; empty without guidance."""
        if self.guide is None or not self.config.guided:
            return {}, {}
        streams = {**({} if rgb is None else {"rgb": rgb}), **sensors}
        outputs = {name: self.guide(x, name) for name, x in streams.items()}
        return (
            {name: out.embedding for name, out in outputs.items()},
            {name: out.maps[-1] for name, out in outputs.items()},
        )

    def _rgb_maps(self, rgb: Tensor) -> list[Tensor]:
        """Five maps of the image at STRIDES, as wide as the decoder's."""
        maps = ([] if self.fine is None else [self.fine(rgb)]) + list(self.backbone(rgb))
        return [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]

    def _sensor_maps(
        self, sensors: Mapping[str, Tensor], embeddings: Mapping[str, Tensor]
    ) -> dict[str, list[Tensor]]:
        if not sensors:
            return {}
        standardized = {m: self.standardize[m](x) for m, x in sensors.items()}
        maps: dict[str, list[Tensor]] = self.stream(standardized, functools.partial(self._align, embeddings))
        return maps

    def _align(self, embeddings: Mapping[str, Tensor], stage: int, modality: str, x: Tensor) -> Tensor:
        """A map of a sensor after its stage, drawn towards the guide."""
        if self.aligned is None or stage not in GUIDED:
            return x
        drawn: Tensor = self.aligned[str(stage)](x, embeddings.get(modality), modality)
        return drawn

    def _fuse(
        self, rgb_maps: list[Tensor] | None, sensor_maps: dict[str, list[Tensor]]
    ) -> tuple[list[Tensor], dict[str, tuple[list[Tensor], list[Tensor]]]]:
        """The fused maps, and the pairs of maps that were fused, by sensor."""
        if not sensor_maps:
            assert rgb_maps is not None
            return list(rgb_maps), {}
        fused: list[Tensor] = []
        pairs: dict[str, tuple[list[Tensor], list[Tensor]]] = {m: ([], []) for m in sensor_maps}
        for stage, fuse in enumerate(self.fuse):
            rgb = None if rgb_maps is None else rgb_maps[stage]
            assert isinstance(fuse, GatedSum)
            projected = {m: fuse.project(maps[stage]) for m, maps in sensor_maps.items()}
            fused.append(fuse(rgb, list(projected.values())))
            if rgb is not None:
                for m, x in projected.items():
                    pairs[m][0].append(rgb)
                    pairs[m][1].append(x)
        return fused, pairs if rgb_maps is not None else {}

    def _padded(self, h: int, w: int) -> tuple[int, int]:
        s = self.stride
        return -(-h // s) * s, -(-w // s) * s

    def _pad(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        ph, pw = self._padded(h, w)
        return x if (ph, pw) == (h, w) else F.pad(x, (0, pw - w, 0, ph - h), mode="replicate")

    def trainable(self) -> dict[str, nn.Parameter]:
        """Every parameter that training may change, by name: LoRA and all parts outside the frozen towers."""
        return {n: p for n, p in self.named_parameters() if p.requires_grad}

    @property
    def texts(self) -> list[Tensor]:
        """The class matrix (K, E) of every data set."""
        return [cast(TextClassifier, c).text for c in self.classifiers]

    def own_state(self) -> dict[str, Tensor]:
        """Weights and statistics that are the model's own (what segmenter.safetensors holds).

        Without the guide's tower and the frozen weights of the backbone: these are loaded from where they
        came from, and the guide's adapters lie in files of their own.
        """
        own = {n: t for n, t in self.state_dict().items() if not n.startswith(("guide.tower.", "backbone."))}
        return own | {f"backbone.{n}": t for n, t in self.backbone.own_state().items()}
