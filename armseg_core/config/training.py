"""Options of training. Paths are kept absolute: what is recorded holds from any folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from armseg_core.config.base import Options
from armseg_core.config.model import AbsolutePath, ModelConfig

ALL = "all"  # in place of the names of sensors

Precision = Literal["auto", "fp32", "bf16"]


class LossConfig(Options):
    """Weights of the loss terms; zero switches a term off and removes its cost."""

    cross_entropy: float = Field(1.0, ge=0, description="pixel cross-entropy")
    dice: float = Field(0.5, ge=0, description="soft Dice over the classes present in the batch")
    lovasz: float = Field(0.0, ge=0, description="Lovasz-softmax over the classes present in the batch")
    ohem: float = Field(
        0.0, ge=0, lt=1, description="share of the easiest pixels left out of the cross-entropy"
    )
    deep: float = Field(
        0.2, ge=0, description="cross-entropy of the decoder's coarser steps (deep supervision)"
    )
    contrastive: float = Field(0.1, ge=0, description="MA-CLIP modality + content contrastive loss")
    # off: it brought nothing in the ablation (benchmarks/RESULTS.md)
    align: float = Field(0.0, ge=0, description="alignment of sensor and RGB features of the same place")

    @model_validator(mode="after")
    def _segments(self) -> LossConfig:
        if not self.cross_entropy + self.dice + self.lovasz:
            raise ValueError("one of cross_entropy, dice and lovasz above 0")
        return self


class TrainConfig(Options):
    """One training run. `config.json` in the run folder holds the resolved values."""

    data: tuple[AbsolutePath, ...] = Field((), description="data set folders; none = the sample data")
    # names are resolved, and checked, where the data is opened: which sensors there are is not known here
    modalities: tuple[str, ...] = Field(
        (ALL,), description="extra sensors to train with; empty = RGB only, all = every sensor there is"
    )
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    out: Path = Field(Path("runs"), description="folder that receives the run folder")
    name: str = Field("train", description="name of the run; the folder is NAME-001, NAME-002, ...")
    steps: int = Field(600, ge=1, description="optimizer steps")
    batch_size: int = Field(8, ge=1, description="images per step")
    lr: float = Field(4e-3, gt=0, description="peak learning rate of the new parts")
    backbone_lr: float | None = Field(
        None, gt=0, description="peak learning rate of the backbone (default: that of the new parts)"
    )
    lora_lr: float = Field(1e-3, gt=0, description="peak learning rate of the LoRA adapters")
    weight_decay: float = Field(0.02, ge=0, description="AdamW weight decay (matrices only)")
    warmup: int = Field(30, ge=0, description="warm-up steps; the rate then falls with a half cosine")
    clip_norm: float = Field(1.0, gt=0, description="largest gradient norm")
    size: tuple[int, int] | None = Field(
        None, description="resize samples to this size first; none = as recorded"
    )
    crop: tuple[int, int] | None = Field(
        None, description="random training crop; none = 512x512 at most, and no larger than the images"
    )
    scale: tuple[float, float] = Field((0.75, 1.5), description="random rescaling range before the crop")
    hflip: bool = Field(True, description="random horizontal flips")
    photometric: bool = Field(
        True, description="random brightness, contrast, saturation and noise on the RGB image"
    )
    all_sensors: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of steps with every sensor of the samples, where they have several; else some",
    )
    sensor_dropout: float = Field(
        0.1, ge=0, lt=1, description="share of steps trained without the extra sensors"
    )
    rgb_dropout: float = Field(0.05, ge=0, lt=1, description="share of steps trained without the RGB image")
    recognition_every: int = Field(
        4,
        ge=1,
        description="a guide that does not guide (see model.guidance) learns to tell sensors every N steps",
    )
    temperature: float = Field(
        2.0, gt=0, description="data sets are drawn with probability size ** (1 / temperature)"
    )
    eval_every: int = Field(0, ge=0, description="validate every N steps; 0 = five times in a run")
    save_every: int = Field(200, ge=1, description="save the resume state every N steps")
    workers: int = Field(0, ge=0, description="processes that prepare batches")
    cache_mb: int = Field(2048, ge=0, description="memory for prepared samples, per data set and worker")
    cache_dir: AbsolutePath | None = Field(None, description="folder for sensor tensors converted on the fly")
    device: str = Field("auto", description="auto takes CUDA when there is one; cpu, cuda or cuda:N")
    precision: Precision = Field("auto", description="auto is bf16 autocast on CUDA, fp32 on CPU")
    threads: int = Field(0, ge=0, description="CPU threads of torch; 0 leaves torch's choice")
    seed: int = Field(0, ge=0, description="seed of weights, sampling and augmentation")

    @field_validator("name")
    @classmethod
    def _folder_name(cls, name: str) -> str:
        if not name.strip(".") or set(name) & set("/\\*?["):
            raise ValueError("a folder name without / \\ * ? [")
        return name

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if "rgb" in self.modalities:
            raise ValueError("modalities lists extra sensors only; leave rgb out (it is always there)")
        if self.scale[0] <= 0 or self.scale[1] < self.scale[0]:
            raise ValueError("scale must be 0 < low <= high")
        if self.sensor_dropout + self.rgb_dropout >= 1:
            raise ValueError("sensor_dropout + rgb_dropout must stay below 1")
        return self
