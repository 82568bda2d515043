"""ClipTower gives open_clip's own embeddings and features, at any image size and for every kind of tower."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch
from torch import nn
from towers import named_visual, timm_visual, visual

from armseg_core.errors import CheckpointError
from armseg_core.model.clip_tower import ClipTower, split_attention, tapped_blocks, tower_kind
from armseg_core.model.layers import SplitMHA


def twin(**sizes) -> tuple[nn.Module, ClipTower]:
    """open_clip's own tower and ours on the same weights."""
    return visual(**sizes), ClipTower(visual(**sizes)).eval()


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (12, [2, 5, 8, 11]),
        (24, [5, 11, 17, 23]),
        (6, [1, 2, 4, 5]),
        (4, [0, 1, 2, 3]),
        (2, [0, 0, 1, 1]),
        (1, [0, 0, 0, 0]),
    ],
)
def test_tapped_blocks_are_evenly_spaced_and_end_with_the_last(depth, expected) -> None:
    assert tapped_blocks(depth) == expected


@pytest.mark.parametrize("sizes", [{}, {"layers": 6, "patch": 16, "size": (64, 64)}, {"layers": 2}])
def test_at_its_native_size_the_embedding_is_open_clips_own(sizes) -> None:
    theirs, tower = twin(**sizes)
    x = torch.randn(2, 3, *theirs.image_size)
    with torch.no_grad():
        expected = nn.functional.normalize(theirs(x), dim=-1)
        got = tower(x).embedding
    assert (got - expected).abs().max() < 1e-5
    assert torch.allclose(got.norm(dim=-1), torch.ones(2))


def test_the_maps_are_open_clips_intermediate_features() -> None:
    theirs, tower = twin(layers=8)
    x = torch.randn(2, 3, 32, 40)
    with torch.no_grad():
        expected = theirs.forward_intermediates(x, indices=[1, 3, 5, 7], intermediates_only=True)
        maps = tower(x).maps
    assert [m.shape for m in maps] == [(2, 32, 4, 5)] * 4
    for got, want in zip(maps, expected["image_intermediates"], strict=True):
        assert (got - want).abs().max() < 1e-5


def test_every_attention_of_a_native_tower_is_split_and_weights_stay() -> None:
    tower = visual(layers=3)
    before = {n: t.clone() for n, t in tower.state_dict().items() if "attn" not in n}
    assert split_attention(tower) == 3
    assert not any(isinstance(m, nn.MultiheadAttention) for m in tower.modules())
    assert sum(isinstance(m, SplitMHA) for m in tower.modules()) == 3
    assert all(torch.equal(tower.state_dict()[n], t) for n, t in before.items())


def test_positions_are_untouched_on_the_native_grid_and_interpolated_elsewhere() -> None:
    tower = ClipTower(visual())
    position = tower.visual.positional_embedding
    assert tower._position(4, 5) is position
    other = tower._position(8, 10)
    assert other.shape == (81, 32)
    assert torch.equal(other[0], position[0])  # the class token has no place
    ramp = torch.arange(5.0).repeat(4, 1)  # a linear ramp stays a linear ramp
    with torch.no_grad():
        position[1:] = ramp.reshape(20, 1)
    tower._positions.clear()
    wide = tower._position(4, 10)[1:, 0].reshape(4, 10)  # away from the edge, where the cubic is cut off
    assert torch.allclose(wide[0, 3:7], (torch.arange(3.0, 7.0) + 0.5) / 2 - 0.5, atol=1e-5)
    assert tower._position(4, 10) is tower._position(4, 10)  # kept


@pytest.mark.parametrize("size", [(40, 48), (64, 32), (8, 8), (72, 136)])
def test_a_native_tower_takes_any_size(size) -> None:
    tower = ClipTower(visual())
    with torch.no_grad():
        out = tower(torch.randn(1, 3, *size))
    assert tower.stride == 8
    assert [tuple(m.shape[2:]) for m in out.maps] == [(size[0] // 8, size[1] // 8)] * 4
    assert torch.isfinite(out.embedding).all()


@pytest.mark.parametrize("shape", [(480, 640), (640, 480), (64, 64), (300, 1200)])
def test_as_a_guide_it_looks_at_about_as_many_pixels_as_it_was_trained_with(shape) -> None:
    tower = ClipTower(visual(layers=2, patch=16, size=(128, 128)))
    h, w = tower.working_size(*shape)
    assert (h % 16, w % 16) == (0, 0)
    assert 0.8 < h * w / 128**2 < 1.25
    assert 0.7 < (h / w) / (shape[0] / shape[1]) < 1.4
    assert tower.working_size(*(8 * side for side in shape)) == (
        h,
        w,
    )  # not its cost
    assert min(tower.working_size(16, 100_000)) == 16


def test_normalize_uses_the_towers_own_mean_and_deviation() -> None:
    tower = ClipTower(visual())
    image = torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1) + torch.tensor([0.25, 0.2, 0.3]).view(1, 3, 1, 1)
    assert torch.allclose(tower.normalize(image), torch.ones(1, 3, 1, 1))


def test_the_frozen_tower_stays_in_evaluation_mode() -> None:
    tower = ClipTower(visual())
    tower.train()
    assert tower.training
    assert not any(m.training for m in tower.visual.modules())
    assert not any(p.requires_grad for p in tower.parameters())


def test_a_convnext_tower_gives_its_pyramid() -> None:
    theirs = timm_visual("convnext_atto")
    tower = ClipTower(timm_visual("convnext_atto")).eval()
    assert tower.kind == "pyramid"
    assert (tower.strides, tower.stride) == ([4, 8, 16, 32], 32)
    assert tower.channels == [40, 80, 160, 320]
    x = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        out, expected = tower(x), theirs(x)
    assert [tuple(m.shape[2:]) for m in out.maps] == [(24, 16), (12, 8), (6, 4), (3, 2)]
    assert (out.embedding - nn.functional.normalize(expected, dim=-1)).abs().max() < 1e-5


def test_mobileclip2_runs_at_odd_sizes_and_gives_its_own_embedding() -> None:
    theirs = named_visual("MobileCLIP2-S0")
    tower = ClipTower(named_visual("MobileCLIP2-S0")).eval()
    assert tower.kind == "pyramid"
    assert len(tower.channels) == 4
    assert tower.embed_dim == open_clip.get_model_config("MobileCLIP2-S0")["embed_dim"]
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        out = tower(x)
        expected = nn.functional.normalize(theirs(x), dim=-1)
    assert [m.shape[3] for m in out.maps] == [96 // s for s in tower.strides]
    assert (out.embedding - expected).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("name", "kind"),
    [("vit_tiny_patch16_224", "plain positions"), ("eva02_tiny_patch14_224", "rotary positions")],
)
def test_a_timm_vit_takes_any_size(name, kind) -> None:
    tower = ClipTower(timm_visual(name)).eval()
    assert tower.kind == "timm_vit"
    patch = tower.stride
    for h, w in ((3, 5), (7, 2)):
        with torch.no_grad():
            out = tower(torch.randn(1, 3, h * patch, w * patch))
        assert [tuple(m.shape[2:]) for m in out.maps] == [(h, w)] * 4
        assert torch.isfinite(out.embedding).all()


def test_a_timm_vit_gives_its_own_embedding_at_its_native_size() -> None:
    theirs = timm_visual("vit_tiny_patch16_224")
    tower = ClipTower(timm_visual("vit_tiny_patch16_224")).eval()
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = nn.functional.normalize(theirs(x), dim=-1)
        assert (tower(x).embedding - expected).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "eva02_tiny_patch14_224"])
def test_positions_of_a_timm_vit_follow_the_grid_as_in_timm_itself(name) -> None:
    import timm

    tower = ClipTower(timm_visual(name)).eval()
    theirs = timm.create_model(name, num_classes=0, dynamic_img_size=True).eval()
    theirs.load_state_dict(tower.visual.trunk.state_dict(), strict=False)
    x = torch.randn(1, 3, 3 * tower.stride, 5 * tower.stride)
    with torch.no_grad():
        expected = theirs.forward_intermediates(x, indices=[2, 5, 8, 11], intermediates_only=True)
        maps = tower(x).maps
    for got, want in zip(maps, expected, strict=True):
        assert (got - want).abs().max() < 1e-5


def test_a_tower_without_feature_maps_is_refused() -> None:
    class ResNet(nn.Module):
        conv1 = None

    with pytest.raises(CheckpointError, match="ResNet has no intermediate features"):
        tower_kind(ResNet())


def test_the_bundled_config_is_a_native_tower(tmp_path: Path) -> None:
    from armseg_core.learning.clip_loading import TINY_FOLDER, build_from_config

    config = json.loads((TINY_FOLDER / "open_clip_config.json").read_text())["model_cfg"]
    model, tokenizer = build_from_config(TINY_FOLDER / "open_clip_config.json")
    tower = ClipTower(model.visual)
    assert tower.kind == "native"
    assert tower.embed_dim == config["embed_dim"]
    assert tokenizer.vocab_size == config["text_cfg"]["vocab_size"]
