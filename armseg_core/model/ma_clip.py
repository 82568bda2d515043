"""MA-CLIP: CLIP made aware of the modality by one LoRA adapter per sensor (SegRGB-X, first contribution)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from armseg_core.config.model import ModelConfig
from armseg_core.model.clip_tower import ClipTower, TowerOutput
from armseg_core.model.layers import resize
from armseg_core.model.lora import LoraAdapters
from armseg_core.sensors.modalities import MODALITIES, Modality, get_modality


def pseudo_rgb_layer(modality: Modality) -> nn.Conv2d:
    """1x1 convolution from the model tensor (C channels) to three, set to the modality's pseudo-RGB map."""
    layer = nn.Conv2d(modality.num_channels, 3, 1)
    state = {
        "weight": torch.tensor(modality.pseudo_rgb).T[:, :, None, None],
        "bias": torch.tensor(modality.pseudo_rgb_bias),
    }
    layer.load_state_dict(state)
    return layer


def pseudo_rgb_layers(modalities: tuple[str, ...]) -> nn.ModuleDict:
    """`pseudo_rgb_layer` of every modality."""
    return nn.ModuleDict({m: pseudo_rgb_layer(get_modality(m)) for m in modalities})


def modality_prompt(name: str) -> str:
    """The prompt that names a sensor: 'thermal' -> 'a thermal infrared image.'."""
    prompt = MODALITIES[name].prompt
    return f"{'an' if prompt[0] in 'aeiou' else 'a'} {prompt}."


def scene_prompt(name: str, class_names: list[str]) -> str:
    """The prompt of a sensor and its content: 'a thermal infrared image of a scene with person, tree.'."""
    if not class_names:
        return modality_prompt(name)
    content = ", ".join(c.replace("_", " ") for c in class_names)
    return f"{modality_prompt(name)[:-1]} of a scene with {content}."


class MAClip(nn.Module):
    """The tower with an adapter per modality, and the projection of a sensor's channels to the tower's three.

    It sees every stream at about the number of pixels the tower was trained with, in the stream's own aspect
    ratio: a guide needs no full resolution, and its cost does not grow with the image.

    The RGB stream uses adapter 'rgb' and no projection. Without adapters the tower is CLIP itself.
    """

    def __init__(self, tower: ClipTower, project: nn.ModuleDict, adapters: LoraAdapters | None) -> None:
        super().__init__()
        self.tower = tower
        self.project = project
        self.adapters = adapters

    @classmethod
    def of(cls, visual: nn.Module, config: ModelConfig, modalities: tuple[str, ...]) -> MAClip:
        """MA-CLIP on a CLIP image tower, with an adapter for RGB and each sensor (none with rank 0)."""
        tower = ClipTower(visual)
        adapters = None
        if config.lora_rank:
            names = ("rgb", *modalities)
            adapters = LoraAdapters(visual, names, config.lora_rank, config.lora_alpha, config.lora_dropout)
        return cls(tower, pseudo_rgb_layers(modalities), adapters)

    def forward(self, x: Tensor, modality: str) -> TowerOutput:
        """Features of a stream.

        x: model tensor (B, C, H, W) of the modality, RGB in [0, 1], any H and W.
        """
        return self.stream(
            resize(x, self.tower.working_size(x.shape[-2], x.shape[-1]), antialias=True), modality
        )

    def stream(self, x: Tensor, modality: str) -> TowerOutput:
        """`forward` at the size of x, whose height and width are multiples of the tower's stride."""
        if modality != "rgb":
            x = self.project[modality](x).clamp(-1.0, 2.0)
        if self.adapters is not None:
            self.adapters.activate(modality)
        out: TowerOutput = self.tower(self.tower.normalize(x))
        return out
