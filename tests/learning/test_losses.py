"""Loss terms against numbers worked by hand and loops written for the test."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from armseg_core.learning.losses import IGNORE, alignment, contrastive, cross_entropy, dice, lovasz


def one_row(*rows: list[float]) -> Tensor:
    """Pixels, each a list of K values -> (1, K, 1, pixels)."""
    return torch.tensor(rows).T[None, :, None, :]


def label(*values: int) -> Tensor:
    return torch.tensor(values)[None, None]


def certain(classes: list[int], num: int) -> Tensor:
    """Logits of a prediction that is certain (1, K, 1, pixels)."""
    return one_row(*[[40.0 if k == c else -40.0 for k in range(num)] for c in classes])


def test_cross_entropy_is_the_mean_over_the_pixels_that_count() -> None:
    logits = one_row([0.0, math.log(3)], [0.0, 0.0], [9.0, -9.0])
    got = cross_entropy(logits, label(0, 1, IGNORE))
    assert got.item() == pytest.approx((math.log(4) + math.log(2)) / 2)


def test_hard_example_mining_keeps_the_largest_losses() -> None:
    # right with probability 1/2, 1/4, 1/8, 1/16: the losses are 1 to 4 times log 2
    logits = one_row(*[[0.0, math.log(2**k - 1)] for k in (1, 2, 3, 4)], [0.0, 50.0])
    target = label(0, 0, 0, 0, IGNORE)
    assert cross_entropy(logits, target, 0.0).item() == pytest.approx(2.5 * math.log(2))
    assert cross_entropy(logits, target, 0.5).item() == pytest.approx(3.5 * math.log(2))
    assert cross_entropy(logits, target, 0.99).item() == pytest.approx(4 * math.log(2))
    logits.requires_grad_()
    cross_entropy(logits, target, 0.5).backward()
    assert (logits.grad[0, 0, 0] != 0).tolist() == [False, False, True, True, False]


def test_dice_by_hand() -> None:
    logits = one_row([math.log(3), 0.0, -50], [0.0, 0.0, -50], [0.0, math.log(4), -50], [5.0, 1.0, -50])
    # probabilities of class 0: 3/4, 1/2, 1/5; labels 0, 0, 1; class 2 does not occur; the last pixel is
    # ignored
    first = 2 * (3 / 4 + 1 / 2) / (3 / 4 + 1 / 2 + 1 / 5 + 2)
    second = 2 * (4 / 5) / (1 / 4 + 1 / 2 + 4 / 5 + 1)
    assert dice(logits, label(0, 0, 1, IGNORE)).item() == pytest.approx(1 - (first + second) / 2, abs=1e-6)


def test_dice_and_lovasz_of_a_certain_and_right_prediction_are_zero() -> None:
    logits, target = certain([0, 1, 1, 2], 4), label(0, 1, 1, 2)
    assert dice(logits, target).item() == pytest.approx(0, abs=1e-6)
    assert lovasz(logits, target).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_lovasz_of_a_certain_prediction_is_one_minus_iou(seed: int) -> None:
    """The Lovasz extension equals the set function at 0/1 vectors (Berman et al., 2018)."""
    rng = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 4, (50,), generator=rng)
    guess = torch.where(
        torch.rand(50, generator=rng) < 0.5, target, torch.randint(0, 5, (50,), generator=rng)
    )
    losses = []
    for k in target.unique().tolist():
        inter = ((guess == k) & (target == k)).sum().item()
        union = ((guess == k) | (target == k)).sum().item()
        losses.append(1 - inter / union)
    got = lovasz(certain(guess.tolist(), 5), label(*target.tolist()))
    assert got.item() == pytest.approx(sum(losses) / len(losses), abs=1e-5)


def test_lovasz_equals_its_definition_as_a_loop() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=rng)
    target = torch.randint(0, 3, (2, 4, 5), generator=rng)
    target[0, 0] = IGNORE
    probability = logits.softmax(1).permute(0, 2, 3, 1)[target != IGNORE]
    kept = target[target != IGNORE]
    total = 0.0
    for k in range(3):
        truth = (kept == k).float()
        errors = (truth - probability[:, k]).abs()
        order = sorted(range(len(errors)), key=lambda i: -errors[i].item())
        previous, wrong = 0.0, set()
        for i in order:  # the loss of calling the worst pixels wrong, one more at a time
            wrong.add(i)
            inter = sum(truth[j].item() for j in range(len(truth)) if j not in wrong)
            union = truth.sum().item() + sum(1 - truth[j].item() for j in wrong)
            jaccard = 1 - inter / union
            total += errors[i].item() * (jaccard - previous) / 3
            previous = jaccard
    assert lovasz(logits, target).item() == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("term", [cross_entropy, dice, lovasz])
def test_a_batch_without_a_labeled_pixel_gives_zero_and_a_gradient(term) -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    value = term(logits, torch.full((1, 2, 2), IGNORE))
    value.backward()
    assert value.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("term", [cross_entropy, dice, lovasz])
def test_terms_take_half_precision_and_do_not_depend_on_ignored_pixels(term) -> None:
    rng = torch.Generator().manual_seed(1)
    logits = torch.randn(1, 4, 3, 3, generator=rng)
    target = torch.randint(0, 4, (1, 3, 3), generator=rng)
    target[0, 1, 1] = IGNORE
    changed = logits.clone()
    changed[0, :, 1, 1] += 7
    assert term(logits, target).item() == term(changed, target).item()
    assert term(logits.bfloat16(), target).dtype == torch.float32


def test_contrastive_by_hand_with_several_right_answers() -> None:
    image = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    text = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    same = torch.tensor([[True, True, False], [False, False, True]])
    first = torch.tensor([2.0, 1.2, 0.0])  # scale 2 times the cosines
    second = torch.tensor([0.0, 1.6, 2.0])
    expected = (first.logsumexp(0) - (2.0 + 1.2) / 2 + second.logsumexp(0) - 2.0) / 2
    assert contrastive(image, text, same, scale=2.0).item() == pytest.approx(expected.item(), abs=1e-6)


def test_alignment_prefers_the_same_place_and_moves_the_sensor_only() -> None:
    rng = torch.Generator().manual_seed(0)
    rgb = [torch.randn(2, 16, 8, 8, generator=rng) for _ in range(3)]
    same = alignment(rgb, [3 * m for m in rgb]).item()  # length does not matter
    shifted = alignment(rgb, [m.roll(1, dims=-1) for m in rgb]).item()
    other = alignment(rgb, [torch.randn(m.shape, generator=rng) for m in rgb]).item()
    opposite = alignment(rgb, [-m for m in rgb]).item()
    assert same < other < opposite
    assert same < shifted
    a, b = [m.clone().requires_grad_() for m in rgb], [m.roll(1, -1).clone().requires_grad_() for m in rgb]
    alignment(a, b).backward()
    assert all(m.grad is None for m in a)
    assert all(m.grad.abs().sum() > 0 for m in b)


def test_alignment_by_hand() -> None:
    rgb = [torch.tensor([[1.0, 0.0], [0.0, 1.0]])[None, :, None, :]]  # two places with orthogonal features
    loss = alignment(rgb, rgb, places=2, scale=3.0)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-3.0)), abs=1e-6)


def test_alignment_compares_about_the_wanted_number_of_places() -> None:
    step = {64: 4, 16: 8}  # 32 x 32 places
    for places, stride in step.items():
        rgb = torch.zeros(1, 2, 32, 32)
        rgb[:, 0] = 1
        sensor = rgb.clone()
        sensor[:, :, ::stride, ::stride] *= 2  # the places looked at
        sensor.requires_grad_()
        weight = torch.rand(1, 2, 32, 32)
        alignment([rgb], [sensor + weight], places=places).backward()
        touched = sensor.grad.abs().sum(1)[0] > 0
        assert touched.sum().item() <= (32 // stride) ** 2
        assert not touched[1::stride].any()
