"""Options of the network. Paths are kept absolute: what is recorded holds from any folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from armseg_core.config.base import Options

TINY = "armseg-tiny"  # the bundled demonstration CLIP
SMALL = "small"  # our own backbone
CLIP = "clip"  # the guide's own tower as the backbone
NONE = "none"  # in place of a guide
DEFAULT = "default"  # in place of a weights file: the published ones

AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]
Tune = Literal["frozen", "lora", "full"]


class ModelConfig(Options):
    """The network. Every part of SegRGB-X can be switched off, which is what the ablation does."""

    guide: str = Field(
        TINY,
        description="CLIP that guides: armseg-tiny (bundled), an open_clip name, a config .json, or none",
    )
    guide_pretrained: str | None = Field(
        None, description="open_clip tag of the guide's weights (downloaded once)"
    )
    guide_weights: AbsolutePath | None = Field(
        None, description="local file with the guide's weights; a tag beside it says which weights they are"
    )
    backbone: str = Field(
        SMALL, description="encoder of the RGB image: small, mit_b0..mit_b5, clip, or a timm model name"
    )
    backbone_weights: str | None = Field(
        None, description="weights of the backbone: a file, or default for the published ones; none = random"
    )
    tune: Tune = Field(
        "full", description="how the backbone learns: frozen, lora (adapters in a frozen one), or full"
    )
    lora_rank: int = Field(8, ge=0, le=256, description="rank of the LoRA adapters; 0 leaves CLIP frozen")
    lora_alpha: float = Field(
        16.0, gt=0, description="LoRA scale; the update is alpha / sqrt(rank) times B A (rsLoRA)"
    )
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="dropout before each LoRA layer")
    width: int = Field(24, ge=8, le=256, description="decoder channels at stride 2; 2 to 9 times it deeper")
    sensor_width: int = Field(
        16, ge=4, le=256, description="channels of the sensors' stream at stride 2; 2 to 8 times it deeper"
    )
    streams: Literal["shared", "each"] = Field(
        "shared", description="one stream for all sensors (own stem each), or one for each"
    )
    guidance: bool | None = Field(
        None,
        description="MA-CLIP's tokens and embedding guide the network; by default unless it is armseg-tiny",
    )
    aligned: bool = Field(True, description="modality-aligned embeddings in the sensors' stream")
    prompts: int = Field(8, ge=1, le=256, description="learned prompts of a modality per stage")
    dsrm: bool = Field(True, description="domain-specific refinement of the last stage")
    experts: int = Field(4, ge=1, le=32, description="low-rank depth-wise experts in DSRM")
    expert_rank: int = Field(16, ge=1, le=256, description="channels inside a DSRM expert")

    @field_validator("guide")
    @classmethod
    def _absolute_config(cls, name: str) -> str:
        return str(Path(name).absolute()) if name.endswith(".json") else name

    @field_validator("backbone_weights")
    @classmethod
    def _absolute_weights(cls, text: str | None) -> str | None:
        if text is None or text == NONE:
            return None
        return text if text == DEFAULT else str(Path(text).absolute())

    @property
    def guided(self) -> bool:
        """Whether MA-CLIP guides the network, which takes a pass of its tower for every input.

        Not by default with armseg-tiny, which knows too little (measured, benchmarks/RESULTS.md: +0.4 points
        for 1.6 times the time of a step): it names the classes and recognizes sensors.
        """
        wanted = self.guide != TINY if self.guidance is None else self.guidance
        return wanted and self.guide != NONE

    @model_validator(mode="after")
    def _something_learned(self) -> ModelConfig:
        if self.tune != "full" and self.backbone_weights is None and self.backbone != CLIP:
            raise ValueError(f"weights of the backbone with tune = {self.tune} (random ones must learn)")
        if self.backbone == CLIP and self.guide == NONE:
            raise ValueError("a guide, which is also the backbone, with backbone = clip")
        return self
