"""The LoRA adapters of a model on disk, in peft's own format.

<folder>/<adapter>/adapter_config.json, adapter_model.safetensors
"""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from armseg_core.errors import CheckpointError, InputError
from armseg_core.files.facts import must_be_file
from armseg_core.model.lora import LoraAdapters

_HINT = "copy the whole model folder again, or armseg train"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def save_adapters(adapters: LoraAdapters, folder: Path) -> None:
    """Write every adapter."""
    adapters.model.save_pretrained(str(folder), selected_adapters=list(adapters.names))
    for card in folder.rglob("README.md"):  # an empty template of peft
        card.unlink()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file that armseg wrote.

    Raises:
        CheckpointError: missing, damaged, or values that are not finite.
    """
    try:
        must_be_file(path)
        tensors: dict[str, Tensor] = safetensors.torch.load_file(path)
    except (InputError, OSError, safetensors.SafetensorError) as error:
        why = error.what if isinstance(error, InputError) else "not a whole safetensors file"
        raise CheckpointError(
            f"the model folder is damaged or incomplete ({why})", where=path, hint=_HINT
        ) from error
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise CheckpointError(
                f"'{name}' holds NaN or infinity", where=path, expected="finite weights", hint=_HINT
            )
    return tensors


def check_dtypes(path: Path, tensors: dict[str, Tensor], own: dict[str, Tensor] | None = None) -> None:
    """Raise CheckpointError for a tensor of another dtype than this version writes.

    Args:
        own: those of the network, by name (default: all are float32).
    """
    for name, tensor in tensors.items():
        wanted = torch.float32 if own is None else own[name].dtype
        if tensor.dtype != wanted:
            found, expected = (str(dtype).removeprefix("torch.") for dtype in (tensor.dtype, wanted))
            raise CheckpointError(f"'{name}' is {found}", where=path, expected=expected, hint=_HINT)


def load_adapters(adapters: LoraAdapters, folder: Path) -> None:
    """Read the adapters back.

    Raises:
        CheckpointError: a file is missing or damaged, or its layers are not those of this tower.
    """
    for name in adapters.names:
        path = folder / name / "adapter_model.safetensors"
        state = read_tensors(path)
        own = adapters.state(name)
        if {k: t.shape for k, t in state.items()} != {k: t.shape for k, t in own.items()}:
            missing, unknown = len(own.keys() - state.keys()), len(state.keys() - own.keys())
            raise CheckpointError(
                f"the adapter does not fit this CLIP tower ({missing} layers missing, {unknown} unknown, "
                "the others of another rank or size)",
                where=path,
                hint="copy the whole model folder again",
            )
        check_dtypes(path, state, own)
        adapters.load_state(name, state)
