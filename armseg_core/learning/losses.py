"""Loss terms: pure functions of tensors. Labels are int64 with 255 where a pixel does not count."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = 255  # the last value of uint8, as in Cityscapes: masks of every other kind are mapped to it


def cross_entropy(logits: Tensor, label: Tensor, ohem: float = 0.0) -> Tensor:
    """Mean pixel cross-entropy. logits (B, K, H, W), label (B, H, W).

    ohem: share in [0, 1) of the pixels with the smallest loss that is left out (online hard example mining,
    Shrivastava et al., CVPR 2016).
    """
    losses = F.cross_entropy(logits.float(), label, ignore_index=IGNORE, reduction="none")[label != IGNORE]
    if losses.numel() == 0:
        return logits.sum() * 0.0
    if ohem:
        losses = losses.topk(max(1, round(losses.numel() * (1 - ohem)))).values
    return losses.mean()


def _probabilities(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities (N, K) and one-hot labels (N, K) of the pixels that count, for the classes present."""
    keep = label != IGNORE
    probability = logits.float().softmax(1).permute(0, 2, 3, 1)[keep]
    one_hot = F.one_hot(label[keep], logits.shape[1]).to(probability.dtype)
    present = one_hot.sum(0) > 0
    return probability[:, present], one_hot[:, present]


def dice(logits: Tensor, label: Tensor) -> Tensor:
    """1 - soft Dice, mean over the classes present. Range [0, 1].

    Milletari et al., 3DV 2016, section 3, without the squares in the denominator.
    """
    probability, one_hot = _probabilities(logits, label)
    if probability.numel() == 0:
        return logits.sum() * 0.0
    overlap = (probability * one_hot).sum(0)
    return (1 - 2 * overlap / (probability.sum(0) + one_hot.sum(0)).clamp(min=1e-6)).mean()


def lovasz(logits: Tensor, label: Tensor) -> Tensor:
    """Lovasz-softmax, mean over the classes present (Berman et al., CVPR 2018, eq. 8-9). Range [0, 1]."""
    probability, one_hot = _probabilities(logits, label)
    if probability.numel() == 0:
        return logits.sum() * 0.0
    errors, order = (one_hot - probability).abs().sort(dim=0, descending=True)
    truth = one_hot.gather(0, order)
    total = truth.sum(0)
    jaccard = 1 - (total - truth.cumsum(0)) / (total + (1 - truth).cumsum(0))
    gradient = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
    return (errors * gradient).sum(0).mean()


def deep_supervision(coarse: Sequence[Tensor], strides: Sequence[int], label: Tensor) -> Tensor:
    """Sum of the cross-entropies of coarser logits, each against the label at its own places.

    Lee et al., AISTATS 2015, eq. 3.

    coarse: (B, K, h, w) each, at its stride, over at least the area of the label (B, H, W); what lies beyond
    does not count.
    """
    total = coarse[0].new_zeros((), dtype=torch.float32)
    for logits, stride in zip(coarse, strides, strict=True):
        h, w = logits.shape[-2:]
        full = F.pad(label, (0, w * stride - label.shape[-1], 0, h * stride - label.shape[-2]), value=IGNORE)
        total = total + cross_entropy(logits, full[:, stride // 2 :: stride, stride // 2 :: stride])
    return total


def contrastive(image: Tensor, text: Tensor, same: Tensor, scale: float = 1 / 0.07) -> Tensor:
    """Cross-entropy of images against candidate texts with several right answers.

    InfoNCE (van den Oord et al. 2018, eq. 4) as CLIP has it, whose first scale is 1 / 0.07 (Radford et al.
    2021, section 2.5).

    image (B, E), text (T, E): unit length. same: (B, T) bool, True where the text describes the image; every
    row has at least one. The right answers share the target evenly.
    """
    target = same.float() / same.float().sum(1, keepdim=True)
    return F.cross_entropy(scale * image @ text.T, target)


def alignment(rgb: list[Tensor], sensor: list[Tensor], places: int = 64, scale: float = 10.0) -> Tensor:
    """Pulls the sensor feature of a place to the RGB feature of the same place and away from other places.

    rgb, sensor: per stage (B, D, h, w). `places` of each image are compared with one another, on an even
    grid. The RGB side is not moved (its gradient is cut).
    """
    total = rgb[0].new_zeros(())
    for a, b in zip(rgb, sensor, strict=True):
        h, w = a.shape[-2:]
        step = max(1, int((h * w / places) ** 0.5))
        a, b = (F.normalize(m[:, :, ::step, ::step].flatten(2).float(), dim=1) for m in (a.detach(), b))
        logits = scale * torch.einsum("bdi,bdj->bij", b, a)
        target = torch.arange(logits.shape[-1], device=logits.device).expand(len(logits), -1)
        total = total + F.cross_entropy(logits.flatten(0, 1), target.flatten())
    return total / len(rgb)
