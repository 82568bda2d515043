"""Image towers of every kind that CLIP models have, small or with random weights."""

from __future__ import annotations

import open_clip
import torch
from small_models import clip_config
from torch import nn


def visual(**sizes) -> nn.Module:
    """An image tower of open_clip's own kind, `clip_config(**sizes)`."""
    torch.manual_seed(0)
    config = clip_config(**sizes)
    model = open_clip.CLIP(**config["model_cfg"])
    with torch.no_grad():  # LayerNorm and biases start as 1 and 0, which would hide errors
        for parameter in model.visual.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.visual.preprocess_cfg = config["preprocess_cfg"]
    return model.visual.eval()


def timm_visual(name: str, size: int = 64, **vision) -> nn.Module:
    """A randomly initialized open_clip tower on a timm model; only the image side is built."""
    from open_clip.model import _build_vision_tower

    torch.manual_seed(0)
    return _build_vision_tower(
        24, {"timm_model_name": name, "timm_pool": "avg", "timm_proj": "linear", "image_size": size, **vision}
    ).eval()


def named_visual(name: str) -> nn.Module:
    """The image tower of a CLIP that open_clip knows by name, with random weights."""
    from open_clip.model import _build_vision_tower

    config = open_clip.get_model_config(name)
    torch.manual_seed(0)
    return _build_vision_tower(config["embed_dim"], config["vision_cfg"], False).eval()
