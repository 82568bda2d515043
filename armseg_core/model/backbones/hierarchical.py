"""Any hierarchical model of timm: ConvNeXt, Swin, PVT v2, MobileNetV4, ResNet, EfficientNet, ..."""

from __future__ import annotations

import functools
import sys
from typing import Any

import torch
from torch import Tensor

from armseg_core.errors import UsageError
from armseg_core.model.backbones.base import STRIDES, Backbone, BackboneRow, same_names

PREFIX = "timm:"
PLAIN = ("vision_transformer", "eva", "deit")  # families of timm whose maps all have the stride of a patch
# what families need to take any size of image
_ANY_SIZE = {
    "swin_transformer": {"strict_img_size": False},
    "swin_transformer_v2": {"strict_img_size": False},
    **{name: {"dynamic_img_size": True} for name in PLAIN},
}
# licenses that put limits on use, which their names do not say
_NOTES = {
    "dinov3-license": "DINOv3 License of Meta, not a free license",
    "fastvit-license": "Apple's terms, see the model's page",
    "apple-amlr": "Apple's terms for research only",
    "cc-by-nc-4.0": "cc-by-nc-4.0, no commercial use",
}


@functools.cache
def family(name: str) -> str:
    """The module of timm that a model comes from ("convnext"), "" for a name timm does not know."""
    import timm

    model = name.removeprefix(PREFIX)
    if not timm.is_model(model):
        return ""
    return str(timm.model_entrypoint(model).__module__).rpartition(".")[2]


def weights_license(name: str) -> str:
    """The license of the published weights of a timm model, as timm states it."""
    import timm

    config: Any = timm.get_pretrained_cfg(name.removeprefix(PREFIX), allow_unregistered=True)
    stated = (config and config.license) or "not stated"
    return _NOTES.get(stated, stated)


def create(name: str, pretrained: bool, **options: Any) -> Any:
    """A whole timm model that takes any size, where its family can.

    Raises:
        UsageError: its family gives no maps.
    """
    import timm

    options |= _ANY_SIZE.get(family(name), {})
    model = timm.create_model(name.removeprefix(PREFIX), pretrained=pretrained, **options)
    if not hasattr(model, "forward_intermediates") or not hasattr(model, "feature_info"):
        raise UsageError(f"the timm model '{name}' gives no feature maps", hint="--backbone convnext_tiny")
    return model


def published_names(backbone: Backbone, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's own names, or those of the first publication where timm knows how to read them."""
    own = backbone.encoder.state_dict()
    state = same_names(backbone, state)
    if all(name in state and state[name].shape == tensor.shape for name, tensor in own.items()):
        return state
    rename = getattr(sys.modules[type(backbone.encoder).__module__], "checkpoint_filter_fn", None)
    if rename is None:
        return state
    try:
        renamed: dict[str, Tensor] = rename(dict(state), backbone.encoder)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
        return state  # written for files of its own kind; what does not fit in this one is told by the caller
    return renamed


class TimmBackbone(Backbone):
    """The stages of a timm model without its head.

    Raises:
        UsageError: a model whose maps do not have the strides 4, 8, 16, 32, or that takes one size only.
    """

    lora = r"^(?!.*\.se\.)"  # squeeze and excitation sees one value per channel and map: nothing to adapt

    def __init__(
        self,
        name: str,
        pretrained: bool = False,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> None:
        model = create(name, pretrained)
        super().__init__(mean or model.pretrained_cfg["mean"], std or model.pretrained_cfg["std"])
        self.pretrained = pretrained
        info = [(int(stage["num_chs"]), int(stage["reduction"])) for stage in model.feature_info]
        kept = [i for i, (_, stride) in enumerate(info) if stride > 1]
        self.channels = tuple(info[i][0] for i in kept)
        self.strides = tuple(info[i][1] for i in kept)
        if self.strides not in (STRIDES, (2, *STRIDES)):
            raise UsageError(
                f"the maps of the timm model '{name}' have strides {', '.join(map(str, self.strides))}",
                expected="4, 8, 16, 32, with or without 2",
                hint="--backbone convnext_tiny",
            )
        names = set(model.state_dict())
        self.taps = model.prune_intermediate_layers(indices=kept, prune_norm=True, prune_head=True)
        self.dropped = frozenset(names - set(model.state_dict()))
        self.encoder = model
        self._try_out(name)

    def encode(self, x: Tensor) -> list[Tensor]:
        model: Any = self.encoder
        maps: list[Tensor] = model.forward_intermediates(
            x, indices=self.taps, norm=False, output_fmt="NCHW", intermediates_only=True
        )
        return maps

    @torch.no_grad()
    def _try_out(self, name: str) -> None:
        """Run a small image of a size that no model was made for; see whether the maps are as stated."""
        height, width = 96, 64
        self.eval()
        try:
            found = [tuple(m.shape) for m in self(torch.zeros(1, 3, height, width))]
        except (AssertionError, RuntimeError, ValueError) as error:
            raise UsageError(
                f"the timm model '{name}' does not take images of any size ({error})",
                hint="--backbone convnext_tiny",
            ) from error
        finally:
            self.train()
        stated = zip(self.channels, self.strides, strict=True)
        if found != [(1, c, height // s, width // s) for c, s in stated]:
            raise UsageError(f"the maps of the timm model '{name}' are not what timm states of them")


ROW = BackboneRow(
    name="timm:MODEL",
    title="any hierarchical model of timm (the prefix may be left out)",
    examples=(
        "mobilenetv4_conv_small",
        "convnext_tiny",
        "swin_tiny_patch4_window7_224",
        "pvt_v2_b1",
        "resnet50",
    ),
    matches=lambda name: family(name) not in ("", *PLAIN),
    build=TimmBackbone,
    license=weights_license,
    convert=published_names,
)
