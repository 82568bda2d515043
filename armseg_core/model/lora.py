"""LoRA on the frozen tower by peft: one named adapter per modality."""

from __future__ import annotations

import re
from typing import Any, cast

import torch
from torch import Tensor, nn

from armseg_core.errors import CheckpointError

# Layers inside transformer / convolution blocks: attention projections and MLPs of every supported tower
# (native: q/k/v/out_proj, c_fc, c_proj; timm ViT: qkv, proj, fc1, fc2; EVA02: fc1_g, fc1_x; ViTamin: w0..w2).
_BLOCK = re.compile(r"(resblocks|blocks|stages)\.")
_LEAF = re.compile(r"\.(q_proj|k_proj|v_proj|out_proj|c_fc|c_proj|qkv|proj|fc1|fc2|fc1_g|fc1_x|w0|w1|w2)$")


def lora_targets(visual: nn.Module, wanted: str | None = None) -> list[str]:
    """Full names of the linear (and 1x1 convolution) layers that receive LoRA.

    wanted: regular expression that finds something in their names; default: those of blocks of CLIP towers.
    """
    names = []
    for name, module in visual.named_modules():
        fits = isinstance(module, nn.Linear) or (
            isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1
        )
        in_block = _BLOCK.search(name) and _LEAF.search(name) if wanted is None else re.search(wanted, name)
        if fits and in_block:
            names.append(name)
    return names


def _call_every_layer(visual: nn.Module) -> None:
    """Make the fused attention of timm's EVA towers call `qkv`.

    It multiplies by the weight of `qkv` itself, past any adapter, unless it is told to add the bias apart.
    """
    for module in visual.modules():
        if getattr(module, "qkv_bias_separate", None) is False:
            # nn.Module is typed as holding tensors and modules only
            module.qkv_bias_separate = True  # type: ignore[assignment]


class LoraAdapters:
    """The adapters of a visual tower. Not a module: the weights live inside the tower's layers.

    targets: full names of the layers that receive them; default: `lora_targets` of the tower.

    Every stream activates its adapter before its forward pass. No gradient checkpointing may span a switch
    (peft#2832), and none is used.
    """

    def __init__(
        self,
        visual: nn.Module,
        names: tuple[str, ...],
        rank: int,
        alpha: float,
        dropout: float,
        targets: list[str] | None = None,
    ) -> None:
        import peft

        targets = lora_targets(visual) if targets is None else targets
        if not targets:
            raise CheckpointError(
                f"no layer of {type(visual).__name__} can take LoRA",
                hint="--set model.lora_rank=0 to keep the tower frozen",
            )
        _call_every_layer(visual)
        # rsLoRA: alpha / sqrt(rank) keeps the update's size when the rank grows (Kalajdzievski 2023, eq. 4)
        config = peft.LoraConfig(
            r=rank, lora_alpha=cast(int, alpha), lora_dropout=dropout, target_modules=targets, use_rslora=True
        )
        self.model: Any = peft.get_peft_model(cast(Any, visual), config, adapter_name=names[0])
        for name in names[1:]:
            self.model.add_adapter(name, config)
        self.names = names
        self._layers: list[Any] = [m for m in visual.modules() if isinstance(m, peft.tuners.lora.LoraLayer)]
        self._active = ""
        self._merged = ""
        self._unmerged_weights: list[Tensor] = []
        self._require_grad()

    def _require_grad(self) -> None:
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_("lora_" in name)

    def activate(self, name: str) -> None:
        """Let the tower run with one adapter from now on."""
        if self._merged and name != self._merged:
            raise ValueError(
                f"adapter '{self._merged}' is merged into the weights: unmerge() before using '{name}'"
            )
        if name == self._active:
            return
        for layer in self._layers:
            # peft's setter would also switch requires_grad off for the others, which would stop their
            # training
            layer._active_adapter = [name]
        self._active = name

    def state(self, name: str) -> dict[str, Tensor]:
        """The weights of an adapter, by peft's names."""
        from peft import get_peft_model_state_dict

        state: dict[str, Tensor] = get_peft_model_state_dict(self.model, adapter_name=name)
        return state

    def load_state(self, name: str, state: dict[str, Tensor]) -> None:
        """Set the weights of an adapter to what `state` gave."""
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(self.model, state, adapter_name=name)
        self._require_grad()

    @torch.no_grad()
    def merge(self, name: str) -> None:
        """Add one adapter to the frozen weights, for inference with a single modality."""
        if self._merged:
            raise ValueError(f"adapter '{self._merged}' is merged already: unmerge() first")
        self._unmerged_weights = [layer.get_base_layer().weight.detach().clone() for layer in self._layers]
        for layer in self._layers:
            layer.merge(safe_merge=True, adapter_names=[name])
        self._merged = name

    @torch.no_grad()
    def unmerge(self) -> None:
        """Take the merged adapter out again. The frozen weights are what they were, bit for bit."""
        for layer, weight in zip(self._layers, self._unmerged_weights, strict=True):
            layer.unmerge()  # subtracts the adapter again, which leaves rounding errors
            layer.get_base_layer().weight.copy_(weight)
        self._merged, self._unmerged_weights = "", []
