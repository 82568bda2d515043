"""Any open_clip visual tower behind one interface: image -> four feature maps and a global embedding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from armseg_core.errors import CheckpointError
from armseg_core.model.layers import SplitMHA, resize

STAGES = 4  # maps at strides 4 to 32 (or four depths of a plain ViT), as pyramid decoders expect them


@dataclass(frozen=True)
class TowerOutput:
    """maps: four (B, C_s, h_s, w_s) feature maps, shallow to deep. embedding: (B, E), unit length."""

    maps: list[Tensor]
    embedding: Tensor


def tapped_blocks(depth: int) -> list[int]:
    """Numbers of the blocks after which the four maps are taken, evenly spaced and the last one among them.

    12 -> [2, 5, 8, 11]. With fewer than four blocks some are tapped more than once.
    """
    return [math.ceil((stage + 1) * depth / STAGES) - 1 for stage in range(STAGES)]


def split_attention(visual: nn.Module) -> int:
    """Replace every fused attention of a native open_clip tower by SplitMHA; returns how many were replaced.

    Call it right after the weights are loaded and before LoRA is added.
    """
    count = 0
    for module in list(visual.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.MultiheadAttention) and child.in_proj_weight is not None:
                setattr(module, name, SplitMHA.from_fused(child))
                count += 1
    return count


def tower_kind(visual: Any) -> str:
    """The kind of a tower: "native" (open_clip's own ViT), "timm_vit" or "pyramid".

    Raises:
        CheckpointError: a tower without feature maps that we know how to tap.
    """
    if hasattr(visual, "transformer") and hasattr(visual, "conv1"):
        return "native"
    trunk = getattr(visual, "trunk", None)
    if not hasattr(trunk, "forward_intermediates"):
        raise CheckpointError(
            f"tower {type(visual).__name__} has no intermediate features",
            expected="a ViT, ConvNeXt or FastViT tower of open_clip",
        )
    return "timm_vit" if hasattr(trunk, "pos_embed") and hasattr(trunk, "patch_embed") else "pyramid"


def _take_any_size(trunk: Any) -> None:
    """Switch a timm ViT to positions that follow the size of the image."""
    trunk.dynamic_img_size = True
    trunk.patch_embed.strict_img_size = False
    if getattr(trunk.patch_embed, "flatten", False):
        trunk.patch_embed.flatten = False
        trunk.patch_embed.output_fmt = type(trunk.patch_embed.output_fmt)("NHWC")
    if getattr(getattr(trunk, "rope", None), "_use_cached_embed", False):
        trunk.rope._use_cached_embed = False


class ClipTower(nn.Module):
    """A frozen open_clip visual tower that takes any image size.

    Native ViT: taps four evenly spaced blocks; positions are interpolated (bicubic) to the patch grid.
    timm ViT (SigLIP2, EVA02, PE): the same through timm's dynamic image size.
    Hierarchical (ConvNeXt, FastViT / MobileCLIP2): the last up to four stages of the pyramid.

    The input must be a multiple of `stride` in height and width (the segmenter pads).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, visual: Any) -> None:
        super().__init__()
        split_attention(visual)
        self.visual = visual.requires_grad_(False)
        self.kind = tower_kind(visual)
        if self.kind == "timm_vit":
            _take_any_size(visual.trunk)
        preprocess = getattr(visual, "preprocess_cfg", {})
        mean = preprocess.get("mean", (0.48145466, 0.4578275, 0.40821073))
        std = preprocess.get("std", (0.26862954, 0.26130258, 0.27577711))
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self._positions: dict[tuple[int, int], Tensor] = {}
        self._probe()

    @torch.no_grad()
    def _probe(self) -> None:
        """Run one small image to learn the channels and strides of the four maps and the embedding size."""
        self.eval()
        side = 128
        if self.kind == "native":
            side = 4 * max(self.visual.patch_size)
        elif self.kind == "timm_vit":
            side = 4 * self.visual.trunk.patch_embed.feat_ratio()
        reference = next(self.visual.parameters())
        out = self(torch.zeros(1, 3, side, side, dtype=reference.dtype, device=reference.device))
        self.channels = [m.shape[1] for m in out.maps]
        self.strides = [side // m.shape[-1] for m in out.maps]
        self.embed_dim = out.embedding.shape[-1]
        self.stride = max(self.strides)

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """The size (H, W) at which the tower looks at an image as a guide.

        As many pixels as it was trained with, in the aspect ratio of the image, in whole strides.
        """
        trained = getattr(self.visual, "image_size", 224)  # CLIP's own size
        h, w = trained if isinstance(trained, tuple | list) else (trained, trained)
        side = math.sqrt(h * w * height / width)
        rows = max(1, round(side / self.stride))
        return rows * self.stride, max(1, round(h * w / (rows * self.stride) / self.stride)) * self.stride

    def normalize(self, image: Tensor) -> Tensor:
        """RGB in [0, 1] (B, 3, H, W) -> the tower's own standardized input."""
        return (image - self.mean) / self.std

    def forward(self, x: Tensor) -> TowerOutput:
        """x: standardized image (B, 3, H, W), H and W multiples of `stride`."""
        if self.kind == "native":
            maps, embedding = self._native(x)
        else:
            maps, embedding = self._timm(x)
        return TowerOutput(maps, F.normalize(embedding.float(), dim=-1))

    def _native(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        v = self.visual
        x = v.conv1(x)
        h, w = x.shape[-2:]
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([v.class_embedding.to(x.dtype).expand(len(x), 1, -1), x], dim=1)
        x = v.ln_pre(v.patch_dropout(x + self._position(h, w).to(x.dtype)))
        blocks = v.transformer.resblocks
        taps = tapped_blocks(len(blocks))
        tapped = {}
        for i, block in enumerate(blocks):
            x = block(x)
            if i in taps:
                tapped[i] = x[:, 1:].transpose(1, 2).reshape(len(x), -1, h, w)
        pooled, _ = v._pool(x)
        return [tapped[i] for i in taps], pooled if v.proj is None else pooled @ v.proj

    def _position(self, h: int, w: int) -> Tensor:
        """Positional embedding (1 + h w, C) for a patch grid, interpolated from the trained grid."""
        position = self.visual.positional_embedding
        gh, gw = self.visual.grid_size
        if (h, w) == (gh, gw):
            own: Tensor = position
            return own
        cached = self._positions.get((h, w))
        if cached is None or cached.device != position.device:
            grid = position[1:].detach().float().T.reshape(1, -1, gh, gw)
            grid = resize(grid, (h, w), mode="bicubic", antialias=True)
            cached = torch.cat([position[:1].detach().float(), grid.flatten(2)[0].T])
            if len(self._positions) > 16:
                self._positions.clear()
            self._positions[h, w] = cached
        return cached

    def _timm(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        visual, trunk = self.visual, self.visual.trunk
        if self.kind == "timm_vit":
            indices: list[int] | int = tapped_blocks(len(trunk.blocks))
        else:
            indices = min(STAGES, len(trunk.stages))
        final, maps = trunk.forward_intermediates(
            x, indices=indices, norm=False, output_fmt="NCHW", intermediates_only=False
        )
        maps = [maps[0]] * (STAGES - len(maps)) + list(maps)
        return maps, visual.head(trunk.forward_head(final))

    def train(self, mode: bool = True) -> ClipTower:
        """Set the mode of the dropout inside LoRA layers.

        The frozen tower itself always runs in evaluation mode (no drop path, fixed batch-norm statistics).
        """
        super().train(mode)
        for name, module in self.visual.named_modules():
            if "lora_dropout" not in name:
                module.training = False
        return self
