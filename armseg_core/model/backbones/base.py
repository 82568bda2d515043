"""What every staged encoder promises, and what the table of encoders says of one kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from armseg_core.errors import CheckpointError
from armseg_core.model.layers import refuse_other_weights

if TYPE_CHECKING:
    from armseg_core.model.lora import LoraAdapters

Tune = Literal["frozen", "lora", "full"]
STRIDES = (4, 8, 16, 32)
# of the images of ImageNet, as most published encoders were trained with
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """A staged encoder: an RGB image -> maps, shallow to deep.

    `encoder` is the part that published weights fill, that LoRA adapts and that `frozen` freezes; what a
    subclass adds beside it (the pyramid of a plain ViT) always trains.

    Attributes:
        lora: regular expression; of the linear layers and 1x1 convolutions of the encoder, LoRA goes to those
            in whose full name it finds something.
        channels: of each map.
        strides: (4, 8, 16, 32), or (2, 4, 8, 16, 32) where the encoder has a map of stride 2.
        pretrained: whether the encoder holds trained weights, not random ones.
        dropped: names of published tensors that no map needs (heads), so that a file may hold them.
        tune: set by `set_tune`.
        adapters: the LoRA of the encoder, None without.
    """

    lora: ClassVar[str] = "."
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    encoder: nn.Module
    mean: Tensor
    std: Tensor

    def __init__(self, mean: Iterable[float], std: Iterable[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(tuple(mean)).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(tuple(std)).view(1, 3, 1, 1), persistent=False)
        self.pretrained = False
        self.dropped: frozenset[str] = frozenset()
        self.tune: Tune = "full"
        self.adapters: LoraAdapters | None = None

    def forward(self, rgb: Tensor) -> list[Tensor]:
        """rgb (B, 3, H, W) in [0, 1], H and W multiples of 32 -> maps (B, C_i, H / s_i, W / s_i)."""
        return self.encode((rgb - self.mean) / self.std)

    def encode(self, x: Tensor) -> list[Tensor]:
        """The maps of a standardized image (B, 3, H, W)."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> Backbone:
        """Set the mode; what must not change by running stays in evaluation mode.

        That is the whole encoder where its own weights are frozen (no drop path, fixed statistics), and the
        batch statistics of a trained encoder: small batches and several processes would spoil them.
        """
        super().train(mode)
        for name, module in self.encoder.named_modules():
            if self.tune != "full":
                module.training = mode and "lora_" in name
            elif self.pretrained and isinstance(module, _BatchNorm):
                module.training = False
        return self

    def merge(self) -> None:
        """Add LoRA to the weights of the encoder, for faster inference; nothing without LoRA."""
        if self.adapters is not None:
            self.adapters.merge(self.adapters.names[0])

    def unmerge(self) -> None:
        """Take LoRA out of the weights again, bit for bit."""
        if self.adapters is not None:
            self.adapters.unmerge()

    def own_state(self) -> dict[str, Tensor]:
        """The tensors that the weights the encoder started from do not give (LoRA must not be merged)."""
        state: dict[str, Tensor] = self.state_dict()
        if self.tune == "full" or not self.pretrained:
            return state
        return {n: t for n, t in state.items() if not n.startswith("encoder.") or ".lora_" in n}

    def load_own_state(self, state: dict[str, Tensor]) -> None:
        """Set what `own_state` gave, on a backbone that was built and tuned in the same way.

        Raises:
            CheckpointError: tensors are missing, unknown or of another shape.
        """
        own = self.own_state()
        wrong = set(state) ^ set(own) or {n for n in own if own[n].shape != state[n].shape}
        if wrong:
            raise CheckpointError(
                f"weights of another backbone ({len(wrong)} tensors do not fit, first '{min(wrong)}')"
            )
        self.load_state_dict(state, strict=False)


def fill(backbone: Backbone, state: dict[str, Tensor]) -> None:
    """Set every weight of the encoder from published tensors, by the encoder's names.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape.
    """
    own = backbone.encoder.state_dict()
    refuse_other_weights(own, state, "another --backbone name", dropped=backbone.dropped)
    backbone.encoder.load_state_dict({n: t for n, t in state.items() if n in own}, strict=False)
    backbone.pretrained = True


def same_names(backbone: Backbone, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Published names are the encoder's, perhaps behind a prefix ("backbone.", "segformer.encoder.")."""
    first = next(iter(backbone.encoder.state_dict()))
    prefix = next((name.removesuffix(first) for name in state if name.endswith(f".{first}")), "")
    if first in state or not prefix:
        return state
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


@dataclass(frozen=True)
class BackboneRow:
    """One kind of staged encoder.

    Attributes:
        name: what is typed, or a pattern of it: "mit_b0 .. mit_b5".
        title: for lists.
        examples: names that are known to work; the first one is the smallest.
        matches: whether a name is of this kind.
        build: (name, pretrained) -> the encoder with random weights, or with the published ones.
        license: the license of the published weights of a name, "" where there are none.
        convert: published tensors of a local file -> tensors by the names of `Backbone.encoder`.
    """

    name: str
    title: str
    examples: tuple[str, ...]
    matches: Callable[[str], bool]
    build: Callable[[str, bool], Backbone]
    license: Callable[[str], str]
    convert: Callable[[Backbone, dict[str, Tensor]], dict[str, Tensor]] = same_names
