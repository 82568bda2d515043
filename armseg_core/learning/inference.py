"""The one way a trained model meets an image: validation, evaluation, prediction and the sensor guess use it.

Shape letters: B batch, C channels, K classes, E embedding, H rows, W columns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from armseg_core.config.training import Precision
from armseg_core.errors import UsageError
from armseg_core.learning.model import Model
from armseg_core.model.layers import resize
from armseg_core.resizing import resize_model_tensor
from armseg_core.sensors.modalities import get_modality


def pick_device(name: str) -> torch.device:
    """'auto' (CUDA where there is one), 'cpu', 'cuda' or 'cuda:N'.

    Raises:
        UsageError: another name, or CUDA is asked for and absent.
    """
    kind, _, number = name.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and (kind != "cuda" or not number.isdigit())):
        raise UsageError(f"unknown device '{name}'", where="--device", expected="auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and int(number or 0) >= count:
        raise UsageError(
            f"no CUDA device {number or 'here'}",
            where=f"--device {name}",
            hint="--device cpu (armseg doctor shows why)",
        )
    if kind == "auto":
        return torch.device("cuda" if count else "cpu")
    return torch.device(name)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bf16 autocast where asked for (auto: on CUDA only).

    Raises:
        UsageError: an unknown precision.
    """
    if precision not in get_args(Precision):
        raise UsageError(
            f"unknown precision '{precision}'", where="--precision", expected=", ".join(get_args(Precision))
        )
    bf16 = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)


@dataclass(frozen=True)
class Inference:
    """A model, the size (H, W) its inputs are resized to (None: as they come) and the precision.

    The model runs in evaluation mode and is left in the mode it was in.
    """

    model: Model
    size: tuple[int, int] | None = None
    precision: str = "auto"

    @classmethod
    def as_trained(
        cls, model: Model, size: tuple[int, int] | None = None, precision: str = "auto"
    ) -> Inference:
        """At the input size that the model was trained with, or at another one that is asked for."""
        return cls(model, size or model.input_size, precision)

    def input_size(self, native: tuple[int, int]) -> tuple[int, int]:
        """The size (H, W) at which the network sees an image of `native` size.

        Sensor frames are best made at it, since events and points then lose nothing to resizing.
        """
        return self.size or native

    def logits(
        self,
        rgb: Sequence[np.ndarray] | None,
        sensors: Mapping[str, Sequence[np.ndarray]],
        dataset: int,
        outputs: Sequence[tuple[int, int]],
    ) -> Iterator[Tensor]:
        """Class scores of a batch, each at its own resolution.

        rgb: B images (3, H, W) float32 in [0, 1], or None. sensors: name -> B model tensors (C, H, W).
        dataset: number of the data set whose classes are wanted. outputs: (H, W) wanted of each
        sample, such as that of its label: logits are resized, masks never.

        Returns:
            (K, H, W) float32 per sample, each made when it is asked for.
        """
        with self._ready():
            scores = self.model.segmenter(
                None if rgb is None else self._batch(rgb, "rgb"),
                {m: self._batch(frames, m) for m, frames in sensors.items()},
                dataset,
            ).logits
        return (resize(one[None], size)[0] for one, size in zip(scores, outputs, strict=True))

    def embedding(self, frame: np.ndarray, modality: str) -> Tensor:
        """MA-CLIP embedding (E,) float32 of a model tensor (C, H, W): the one `logits` would use for it."""
        with self._ready():
            return self.model.segmenter.embed(self._batch([frame], modality), modality)[0].float()

    def _batch(self, frames: Sequence[np.ndarray], modality: str) -> Tensor:
        """(B, C, H, W) at the input size, on the model's device."""
        row = get_modality(modality)
        stacked = np.stack([resize_model_tensor(frame, row, self.size) for frame in frames])
        return torch.from_numpy(stacked).to(self.model.device)

    @contextlib.contextmanager
    def _ready(self) -> Iterator[None]:
        """Evaluation mode, no gradients, precision; afterwards the model is as it was."""
        segmenter = self.model.segmenter
        was_training = segmenter.training
        segmenter.eval()
        try:
            with torch.inference_mode(), autocast(self.model.device, self.precision):
                yield
        finally:
            segmenter.train(was_training)
