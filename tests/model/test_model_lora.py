"""LoRA adapters: one per modality, frozen weights untouched, merged equal to unmerged, peft's own files."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from small_models import inputs, shake, small_model
from torch import nn
from towers import named_visual, timm_visual, visual

from armseg_core.errors import CheckpointError
from armseg_core.learning.adapter_files import load_adapters, save_adapters
from armseg_core.learning.model import Model
from armseg_core.model.clip_tower import ClipTower
from armseg_core.model.lora import LoraAdapters, lora_targets


@pytest.fixture
def model(small_clip) -> Model:
    model = small_model(small_clip)
    shake(model.segmenter)
    return model


def adapters(model: Model) -> LoraAdapters:
    assert model.segmenter.guide.adapters is not None
    return model.segmenter.guide.adapters


def frozen(segmenter: nn.Module) -> dict[str, torch.Tensor]:
    """Everything in the tower that is not LoRA, buffers too, as bits."""
    return {n: t.clone() for n, t in segmenter.guide.tower.state_dict().items() if "lora_" not in n}


def same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def leaves(names: list[str]) -> set[str]:
    return {name.rpartition(".")[2] for name in names}


def test_layers_that_are_adapted() -> None:
    native = lora_targets(ClipTower(visual()).visual)
    assert leaves(native) == {"q_proj", "k_proj", "v_proj", "out_proj", "c_fc", "c_proj"}
    assert len(native) == 4 * 6
    timm_vit = lora_targets(ClipTower(timm_visual("vit_tiny_patch16_224")).visual)
    assert leaves(timm_vit) == {"qkv", "proj", "fc1", "fc2"}
    assert len(timm_vit) == 12 * 4  # the projection of the head is not among them
    assert leaves(lora_targets(timm_visual("convnext_atto"))) == {"fc1", "fc2"}
    assert leaves(lora_targets(named_visual("MobileCLIP2-S0"))) >= {"fc1", "fc2", "qkv", "proj"}


def test_new_adapters_change_nothing(small_clip) -> None:
    plain = small_model(small_clip, lora_rank=0).segmenter.guide
    adapted = small_model(small_clip).segmenter.guide
    assert plain.adapters is None
    x = inputs()[0]
    with torch.no_grad():
        a, b = plain(x, "rgb"), adapted(x, "rgb")
    assert torch.equal(a.embedding, b.embedding)
    assert all(torch.equal(m, n) for m, n in zip(a.maps, b.maps, strict=True))


def test_the_scale_is_alpha_over_root_rank(small_clip) -> None:
    model = small_model(small_clip, modalities=(), lora_rank=4, lora_alpha=6.0)
    shake(model.segmenter)
    layer = next(m for m in model.segmenter.modules() if hasattr(m, "lora_A") and "rgb" in m.lora_A)
    x = torch.randn(2, 32)
    a, b = layer.lora_A["rgb"].weight, layer.lora_B["rgb"].weight
    expected = layer.base_layer(x) + 6.0 / 2.0 * (x @ a.T @ b.T)
    assert torch.allclose(layer(x), expected, atol=1e-5)


def test_each_stream_runs_with_its_own_adapter_only(model: Model) -> None:
    ma_clip = model.segmenter.guide
    x = inputs("depth")[1]
    with torch.no_grad():
        before = ma_clip(x, "depth").embedding
        for name, parameter in model.segmenter.named_parameters():
            if "lora_" in name and ".depth." not in name:
                parameter.zero_()
        assert torch.equal(ma_clip(x, "depth").embedding, before)
        for name, parameter in model.segmenter.named_parameters():
            if "lora_" in name:
                parameter.zero_()
        assert not torch.equal(ma_clip(x, "depth").embedding, before)


def test_a_backward_pass_reaches_every_weight_of_the_adapter_in_use_and_no_other(model: Model) -> None:
    out = model.segmenter.guide(inputs("thermal")[1], "thermal")
    (out.embedding.sum() + sum(m.square().sum() for m in out.maps)).backward()
    for name, parameter in model.segmenter.guide.tower.named_parameters():
        if ".thermal." in name:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
        else:
            assert parameter.grad is None, name


@pytest.mark.parametrize("modality", ["rgb", "depth"])
def test_merged_equals_unmerged_and_unmerging_restores_every_bit(model: Model, modality: str) -> None:
    segmenter, lora = model.segmenter, adapters(model)
    x = inputs("depth", batch=2)
    before = frozen(segmenter)
    args = (x[0],) if modality == "rgb" else (None, {"depth": x[1]})
    with torch.no_grad():
        unmerged = segmenter(*args).logits
        for parameter in (p for n, p in segmenter.named_parameters() if "lora_B" in n):
            assert parameter.any()  # a merge of zeros would prove nothing
        lora.merge(modality)
        assert not same_bits(before, frozen(segmenter))
        merged = segmenter(*args).logits
        assert (merged - unmerged).abs().max() < 1e-5 * max(1.0, unmerged.abs().max().item())
        lora.unmerge()
    assert same_bits(before, frozen(segmenter))
    with torch.no_grad():
        assert torch.equal(segmenter(*args).logits, unmerged)


def test_a_merged_tower_refuses_the_other_adapters(model: Model) -> None:
    lora = adapters(model)
    rgb, depth = inputs("depth")
    lora.merge("rgb")
    with pytest.raises(ValueError, match="'rgb' is merged"):
        model.segmenter(rgb, {"depth": depth})
    with pytest.raises(ValueError, match="merged already"):
        lora.merge("depth")
    lora.unmerge()
    model.segmenter(rgb, {"depth": depth})


def test_saved_adapters_are_pefts_own_files(model: Model, small_clip, tmp_path: Path) -> None:
    """peft itself, on a tower that never saw our code beyond the split attention, gives the same
    embedding."""
    import peft

    save_adapters(adapters(model), tmp_path)
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()) == [
        f"{name}/adapter_{part}"
        for name in ("depth", "rgb", "thermal")
        for part in ("config.json", "model.safetensors")
    ]
    fresh = small_model(small_clip, lora_rank=0).segmenter.guide.tower
    theirs = peft.PeftModel.from_pretrained(fresh.visual, str(tmp_path / "rgb"), adapter_name="rgb").eval()
    x = inputs(size=fresh.working_size(40, 48))[0]  # MA-CLIP resizes to it
    with torch.no_grad():
        expected = model.segmenter.guide(x, "rgb").embedding
        fresh.visual = theirs.base_model.model
        assert torch.equal(fresh(fresh.normalize(x)).embedding, expected)


def test_loading_restores_every_adapter_exactly(model: Model, small_clip, tmp_path: Path) -> None:
    save_adapters(adapters(model), tmp_path)
    other = small_model(small_clip, seed=9)
    load_adapters(adapters(other), tmp_path)
    saved = {n: p for n, p in model.segmenter.named_parameters() if "lora_" in n}
    assert len(saved) == 3 * 24 * 2
    for name, parameter in other.segmenter.named_parameters():
        if "lora_" in name:
            assert torch.equal(parameter, saved[name]), name
            assert parameter.requires_grad


@pytest.mark.parametrize("damage", ["missing", "truncated", "other rank", "layer missing", "layer unknown"])
def test_adapters_that_do_not_fit_are_refused(damage: str, model: Model, tmp_path: Path) -> None:
    save_adapters(adapters(model), tmp_path)
    path = tmp_path / "depth" / "adapter_model.safetensors"
    state = safetensors.torch.load_file(path)
    first = next(iter(state))
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        if damage == "other rank":
            state = {n: torch.cat([t, t], dim=0 if "lora_A" in n else 1) for n, t in state.items()}
        elif damage == "layer missing":
            del state[first]
        else:
            state["base_model.model.extra.lora_A.weight"] = state[first].clone()
        safetensors.torch.save_file({n: t.contiguous() for n, t in state.items()}, path)
    before = [p.clone() for n, p in model.segmenter.named_parameters() if ".depth." in n]
    with pytest.raises(CheckpointError, match=r"depth/adapter_model.safetensors"):
        load_adapters(adapters(model), tmp_path)
    after = [p for n, p in model.segmenter.named_parameters() if ".depth." in n]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_tower_without_a_layer_to_adapt_is_refused() -> None:
    tower = ClipTower(visual())
    tower.visual.transformer = nn.Identity()
    with pytest.raises(CheckpointError, match="no layer of VisionTransformer can take LoRA"):
        LoraAdapters(tower.visual, ("rgb",), 4, 8.0, 0.0)
