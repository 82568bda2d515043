"""The LoRA adapters of a model on disk, in peft's own format.

<folder>/<adapter>/adapter_config.json, adapter_model.safetensors
"""

from __future__ import annotations

from pathlib import Path

import safetensors.torch

from armseg_core.errors import CheckpointError
from armseg_core.model.lora import LoraAdapters

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def save_adapters(adapters: LoraAdapters, folder: Path) -> None:
    """Write every adapter."""
    adapters.model.save_pretrained(str(folder), selected_adapters=list(adapters.names))
    for card in folder.rglob("README.md"):  # an empty template of peft
        card.unlink()


def load_adapters(adapters: LoraAdapters, folder: Path) -> None:
    """Read the adapters back.

    Raises:
        CheckpointError: a file is missing or damaged, or its layers are not those of this tower.
    """
    for name in adapters.names:
        path = folder / name / "adapter_model.safetensors"
        try:
            state = safetensors.torch.load_file(path)
        except (OSError, safetensors.SafetensorError) as error:
            raise CheckpointError(
                "adapter cannot be read", where=path, hint="train again or copy the whole folder"
            ) from error
        own = adapters.state(name)
        if {k: t.shape for k, t in state.items()} != {k: t.shape for k, t in own.items()}:
            missing, unknown = len(own.keys() - state.keys()), len(state.keys() - own.keys())
            raise CheckpointError(
                f"the adapter does not fit this CLIP tower ({missing} layers missing, {unknown} unknown, "
                "the others of another rank or size)",
                where=path,
                hint="copy the whole model folder again",
            )
        adapters.load_state(name, state)
