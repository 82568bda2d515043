"""A CLIP and a model small enough for tests: real files, random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from armseg_core.config.model import ModelConfig
from armseg_core.config.training import TrainConfig
from armseg_core.data.sample import ClassInfo
from armseg_core.learning.model import KnownDataSet, Model, build
from armseg_core.model.segmenter import Segmenter

TOY = KnownDataSet(
    "toy",
    tuple(
        ClassInfo(name, color)
        for name, color in (("ground", (128, 64, 128)), ("car", (0, 0, 142)), ("person", (220, 20, 60)))
    ),
)
SMALL = {"width": 8, "sensor_width": 4, "lora_rank": 2, "prompts": 3, "experts": 2, "expert_rank": 4}


def clip_config(
    layers: int = 4, width: int = 32, patch: int = 8, size: tuple[int, int] = (32, 40)
) -> dict[str, Any]:
    """A CLIP in open_clip's config format: image tower of `layers` blocks, text tower of one."""
    vision = {
        "image_size": list(size),
        "layers": layers,
        "width": width,
        "head_width": 16,
        "patch_size": patch,
    }
    text = {"context_length": 24, "vocab_size": 600, "width": 32, "heads": 2, "layers": 1}
    return {
        "model_cfg": {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.25, 0.2, 0.3]},
    }


def write_clip(folder: Path, seed: int = 0, **sizes: Any) -> dict[str, Any]:
    """Write config and weights; returns the fields of ModelConfig that name them."""
    import open_clip
    import safetensors.torch

    folder.mkdir(parents=True, exist_ok=True)
    config = clip_config(**sizes)
    (folder / "clip.json").write_text(json.dumps(config))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.CLIP(**config["model_cfg"])
    safetensors.torch.save_file(model.state_dict(), folder / "clip.safetensors")
    return {"guide": str(folder / "clip.json"), "guide_weights": str(folder / "clip.safetensors")}


def small_config(clip: dict[str, Any], **options: Any) -> ModelConfig:
    return ModelConfig(**{**clip, **SMALL, **options})


def few_steps(
    clip: dict[str, str], folder: Path, model: dict[str, Any] | None = None, **options: Any
) -> TrainConfig:
    """Options of a training of a few fast steps with runs below `folder`; `options` override them."""
    values = {
        "modalities": ("depth",),
        "model": small_config(clip, **(model or {})),
        "out": folder / "runs",
        "steps": 8,
        "batch_size": 2,
        "crop": (32, 32),
        "warmup": 2,
    }
    return TrainConfig(**(values | options))


def small_model(
    clip: dict[str, Any],
    modalities: tuple[str, ...] = ("depth", "thermal"),
    seed: int = 1,
    datasets: tuple[KnownDataSet, ...] = (TOY,),
    **options: Any,
) -> Model:
    """A new model in evaluation mode."""
    torch.manual_seed(seed)
    model = build(small_config(clip, **options), modalities, datasets)
    model.segmenter.eval()
    return model


@torch.no_grad()
def shake(segmenter: Segmenter, scale: float = 0.1, seed: int = 2) -> None:
    """Add noise to everything trainable: what starts at zero (LoRA, DSRM, ...) then takes part."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in segmenter.trainable().values():
        parameter += scale * torch.randn(parameter.shape, generator=generator)


def inputs(
    *modalities: str | None, batch: int = 1, size: tuple[int, int] = (40, 48), seed: int = 3
) -> list[torch.Tensor]:
    """[rgb, model tensor of the first sensor, ...], random."""
    from armseg_core.sensors.modalities import get_modality

    generator = torch.Generator().manual_seed(seed)
    channels = [3, *(get_modality(m).num_channels for m in modalities if m)]
    return [torch.rand(batch, c, *size, generator=generator) for c in channels]


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Names of the tensors whose bits differ."""
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}
