"""The whole network on every kind of tower a CLIP may have: any size, frozen weights, LoRA, a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_models import SMALL, inputs, shake
from torch import Tensor, nn
from towers import named_visual, timm_visual, visual

from armseg_core.config.model import ModelConfig
from armseg_core.learning.adapter_files import load_adapters, save_adapters
from armseg_core.model.backbones.small import SmallBackbone
from armseg_core.model.clip_tower import ClipTower
from armseg_core.model.lora import LoraAdapters
from armseg_core.model.ma_clip import MAClip, pseudo_rgb_layers
from armseg_core.model.segmenter import Segmenter

TOWERS = {  # name -> (kind, strides of the four maps, image tower)
    "ViT of open_clip, patch 8": ("native", [8] * 4, lambda: visual(layers=2)),
    "ViT of open_clip, patch 14": ("native", [14] * 4, lambda: visual(layers=2, patch=14, size=(56, 56))),
    "ViT of open_clip, patch 16": ("native", [16] * 4, lambda: visual(layers=5, patch=16, size=(64, 64))),
    "ViT of timm (SigLIP 2)": ("timm_vit", [16] * 4, lambda: timm_visual("vit_tiny_patch16_224")),
    "ViT of timm, rotary (EVA)": (
        "timm_vit",
        [14] * 4,
        lambda: timm_visual("eva02_tiny_patch14_224"),
    ),
    "ConvNeXt": ("pyramid", [4, 8, 16, 32], lambda: timm_visual("convnext_atto")),
    "FastViT (MobileCLIP 2)": ("pyramid", [4, 8, 16, 32], lambda: named_visual("MobileCLIP2-S0")),
}


def build(name: str) -> Segmenter:
    """A segmenter of one sensor and four classes on a tower; everything trainable is moved off its start."""
    tower = ClipTower(TOWERS[name][2]())
    torch.manual_seed(0)
    config = ModelConfig(**SMALL, guidance=True)
    guide = MAClip(
        tower, pseudo_rgb_layers(("thermal",)), LoraAdapters(tower.visual, ("rgb", "thermal"), 2, 16.0, 0.0)
    )
    texts = [torch.randn(4, tower.embed_dim)]
    segmenter = Segmenter(SmallBackbone(), guide, config, ("thermal",), texts).eval()
    shake(segmenter)
    return segmenter


@pytest.fixture(scope="module", params=TOWERS)
def case(request) -> tuple[str, Segmenter]:
    return request.param, build(request.param)


def frozen(segmenter: Segmenter) -> dict[str, Tensor]:
    """The tower without LoRA: weights and buffers, copied."""
    state = segmenter.guide.tower.state_dict()
    return {n: t.clone() for n, t in state.items() if "lora_" not in n}


def same_bits(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


@torch.no_grad()
def logits(segmenter: Segmenter, size=(40, 56), batch: int = 1) -> Tensor:
    rgb, thermal = inputs("thermal", batch=batch, size=size)
    return segmenter(rgb, {"thermal": thermal}).logits


def test_kind_and_strides(case) -> None:
    name, segmenter = case
    kind, strides, _ = TOWERS[name]
    tower = segmenter.guide.tower
    assert (tower.kind, tower.strides, tower.stride) == (kind, strides, max(strides))


@pytest.mark.parametrize("size", [(33, 47), (47, 33), (64, 96), (101, 34)])
def test_any_size(case, size) -> None:
    _, segmenter = case
    rgb, thermal = inputs("thermal", batch=2, size=size)
    with torch.no_grad():
        for args in ((rgb,), (rgb, {"thermal": thermal}), (None, {"thermal": thermal})):
            got = segmenter(*args).logits
            assert got.shape == (2, 4, *size)
            assert torch.isfinite(got).all()


def test_a_batch_is_its_samples(case) -> None:
    _, segmenter = case
    rgb, thermal = inputs("thermal", batch=2, size=(33, 47))
    with torch.no_grad():
        both = segmenter(rgb, {"thermal": thermal}).logits
        second = segmenter(rgb[1:], {"thermal": thermal[1:]}).logits
    assert (both[1:] - second).abs().max() < 1e-4 * second.abs().max()


@pytest.mark.parametrize("modality", ["rgb", "thermal"])
def test_merged_lora_equals_unmerged(case, modality) -> None:
    _, segmenter = case
    lora = segmenter.guide.adapters
    rgb, thermal = inputs("thermal", size=(33, 47))
    args = (rgb,) if modality == "rgb" else (None, {"thermal": thermal})
    before = frozen(segmenter)
    with torch.no_grad():
        unmerged = segmenter(*args).logits
        lora.merge(modality)
        try:
            merged = segmenter(*args).logits
            assert not same_bits(before, frozen(segmenter))
        finally:
            lora.unmerge()
    assert (merged - unmerged).abs().max() < 1e-4 * unmerged.abs().max()
    assert same_bits(before, frozen(segmenter))


@pytest.mark.parametrize("name", TOWERS)
def test_a_step_moves_lora_and_no_frozen_bit(name) -> None:
    segmenter = build(name).train()
    before, start = frozen(segmenter), {n: p.detach().clone() for n, p in segmenter.trainable().items()}
    optimizer = torch.optim.AdamW(segmenter.trainable().values(), lr=1e-2)
    rgb, thermal = inputs("thermal", batch=2, size=(33, 47))
    label = torch.randint(4, (2, 33, 47), generator=torch.Generator().manual_seed(0))
    nn.functional.cross_entropy(segmenter(rgb, {"thermal": thermal}).logits, label).backward()
    optimizer.step()
    assert same_bits(before, frozen(segmenter))
    moved = {n for n, p in segmenter.trainable().items() if not torch.equal(p, start[n])}
    assert {"rgb", "thermal"} <= {part for n in moved if "lora_" in n for part in n.split(".")}
    assert not {n for n in start if "lora_" in n} - moved


@pytest.mark.parametrize("name", TOWERS)
def test_what_is_saved_is_loaded(name, tmp_path: Path) -> None:
    segmenter, other = build(name), build(name)
    shake(other, scale=1.0, seed=5)
    expected = logits(segmenter)
    assert not torch.equal(logits(other), expected)
    torch.save(segmenter.own_state(), tmp_path / "own.pt")
    save_adapters(segmenter.guide.adapters, tmp_path)
    other.load_state_dict(torch.load(tmp_path / "own.pt"), strict=False)
    load_adapters(other.guide.adapters, tmp_path)
    assert torch.equal(logits(other), expected)
