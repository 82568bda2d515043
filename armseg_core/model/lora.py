"""LoRA on the frozen tower by peft: one named adapter per modality, in peft's own file format."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from armseg_core.errors import CheckpointError
from armseg_core.model.clip_tower import ClipTower

# Layers inside transformer / convolution blocks: attention projections and MLPs of every supported tower
# (native: q/k/v/out_proj, c_fc, c_proj; timm ViT: qkv, proj, fc1, fc2; EVA02: fc1_g, fc1_x; ViTamin: w0..w2; FastViT: fc).
_BLOCK = re.compile(r"(resblocks|blocks|stages)\.")
_LEAF = re.compile(r"\.(q_proj|k_proj|v_proj|out_proj|c_fc|c_proj|qkv|proj|fc1|fc2|fc1_g|fc1_x|w0|w1|w2)$")


def lora_targets(visual: nn.Module) -> list[str]:
    """Full names of the linear (and 1x1 convolution) layers that receive LoRA."""
    names = []
    for name, module in visual.named_modules():
        fits = isinstance(module, nn.Linear) or (
            isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1
        )
        if fits and _BLOCK.search(name) and _LEAF.search(name):
            names.append(name)
    return names


class LoraAdapters:
    """The adapters of a tower. Not a module: the weights live inside the tower's layers.

    Every stream names its adapter with `using(name)` for the length of its forward pass. No gradient
    checkpointing may span a switch (peft#2832), and none is used.
    """

    def __init__(
        self, tower: ClipTower, names: tuple[str, ...], rank: int, alpha: float, dropout: float
    ) -> None:
        import peft

        targets = lora_targets(tower.visual)
        if not targets:
            raise CheckpointError(
                f"no layer of {type(tower.visual).__name__} can take LoRA",
                hint="--lora-rank 0 to keep the tower frozen",
            )
        config = peft.LoraConfig(
            r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets, use_rslora=True
        )
        self.model = peft.get_peft_model(tower.visual, config, adapter_name=names[0])
        for name in names[1:]:
            self.model.add_adapter(name, config)
        self.names = names
        self._layers = [m for m in tower.visual.modules() if isinstance(m, peft.tuners.lora.LoraLayer)]
        self._active = ""
        self._require_grad()

    def _require_grad(self) -> None:
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_("lora_" in name)

    @contextlib.contextmanager
    def using(self, name: str) -> Iterator[None]:
        """Run the tower with one adapter."""
        if name != self._active:
            for layer in self._layers:
                layer._active_adapter = [
                    name
                ]  # peft's setter also flips requires_grad, which would stop training
            self._active = name
        yield

    def save(self, folder: Path) -> None:
        """Write `<folder>/<adapter>/adapter_model.safetensors` and its config, in peft's format."""
        self.model.save_pretrained(folder, selected_adapters=list(self.names))

    def load(self, folder: Path) -> None:
        """Read the adapters back.

        Raises:
            CheckpointError: a file is missing, or its layers are not those of this tower.
        """
        import peft
        import safetensors.torch

        for name in self.names:
            path = folder / name / "adapter_model.safetensors"
            try:
                state = safetensors.torch.load_file(path)
            except (OSError, safetensors.SafetensorError) as error:
                raise CheckpointError(
                    "adapter cannot be read", where=path, hint="train again or copy the whole folder"
                ) from error
            result = peft.set_peft_model_state_dict(self.model, state, adapter_name=name)
            missing = [k for k in result.missing_keys if "lora_" in k and f".{name}." in k]
            if result.unexpected_keys or missing:
                raise CheckpointError(
                    "adapter does not fit this CLIP tower",
                    where=path,
                    expected=f"{len(missing)} missing and {len(result.unexpected_keys)} unknown layers less",
                )
        self._require_grad()

    @torch.no_grad()
    def merge(self, name: str) -> None:
        """Add one adapter to the frozen weights, for inference with a single modality."""
        for layer in self._layers:
            layer.merge(safe_merge=True, adapter_names=[name])

    @torch.no_grad()
    def unmerge(self) -> None:
        """Take the merged adapter out again."""
        for layer in self._layers:
            layer.unmerge()
