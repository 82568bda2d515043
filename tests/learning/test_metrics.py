"""The confusion matrix against hand-worked cases, a per-pixel loop and set arithmetic."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armseg_core.errors import DataSetError, FormatError
from armseg_core.learning.metrics import ConfusionMatrix

# 2x3 picture, 3 classes, worked by hand: one pixel ignored
LABEL = np.array([[0, 0, 1], [1, 1, 255]])
PRED = np.array([[0, 1, 1], [1, 0, 2]])


def counted(pred: np.ndarray, label: np.ndarray, classes: int, ignore_index: int = 255) -> ConfusionMatrix:
    confusion = ConfusionMatrix(classes, ignore_index)
    confusion.update(pred, label)
    return confusion


def test_hand_worked_case() -> None:
    c = counted(PRED, LABEL, 3)
    assert c.matrix.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    assert c.matrix.dtype == np.int64
    assert c.iou[:2] == pytest.approx([1 / 3, 2 / 4])
    assert math.isnan(c.iou[2])
    assert c.present.tolist() == [True, True, False]
    assert c.miou == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert c.miou_all == pytest.approx((1 / 3 + 1 / 2 + 0) / 3)
    assert c.pixel_accuracy == pytest.approx(3 / 5)
    assert c.mean_accuracy == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_class_that_is_only_predicted_counts_as_present_with_iou_zero() -> None:
    c = counted(np.array([[2, 0]]), np.array([[0, 0]]), 3)
    assert c.iou[2] == 0
    assert c.present.tolist() == [True, False, True]
    assert c.miou == pytest.approx((0.5 + 0) / 2)
    assert c.mean_accuracy == pytest.approx(0.5)  # only class 0 has labels


def test_perfect_prediction() -> None:
    label = np.arange(12).reshape(3, 4) % 4
    c = counted(label, label, 4)
    assert (c.miou, c.miou_all, c.pixel_accuracy, c.mean_accuracy) == (1, 1, 1, 1)


def pixels_of(classes: int) -> st.SearchStrategy:
    pixel = st.tuples(st.integers(0, classes - 1), st.sampled_from([*range(classes), 255]))
    return st.tuples(st.just(classes), st.lists(pixel, min_size=1, max_size=40))


pictures = st.integers(2, 6).flatmap(pixels_of)


@given(pictures)
@settings(max_examples=60, deadline=None)
def test_equals_a_pixel_loop_and_set_arithmetic(case: tuple[int, list[tuple[int, int]]]) -> None:
    classes, pixels = case
    pred, label = (np.array([p[i] for p in pixels], np.uint8)[None] for i in (0, 1))
    loop = np.zeros((classes, classes), int)
    for p, t in pixels:
        if t != 255:
            loop[t, p] += 1
    c = counted(pred, label, classes)
    assert c.matrix.tolist() == loop.tolist()
    kept = [(i, p, t) for i, (p, t) in enumerate(pixels) if t != 255]
    ious = []
    for k in range(classes):
        said, true = {i for i, p, _ in kept if p == k}, {i for i, _, t in kept if t == k}
        if said | true:
            ious.append(len(said & true) / len(said | true))
            assert c.iou[k] == pytest.approx(ious[-1])
        else:
            assert math.isnan(c.iou[k])
    if ious:
        assert c.miou == pytest.approx(sum(ious) / len(ious))
        assert c.miou_all == pytest.approx(sum(ious) / classes)


def test_batches_and_merging_equal_one_pass() -> None:
    rng = np.random.default_rng(0)
    pred, label = rng.integers(0, 5, (4, 6, 7)), rng.integers(0, 5, (4, 6, 7))
    whole, first, second = counted(pred, label, 5), counted(pred[:1], label[:1], 5), ConfusionMatrix(5)
    for p, t in zip(pred[1:], label[1:], strict=True):
        second.update(p, t)
    first.merge(second)
    assert (first.matrix == whole.matrix).all()
    with pytest.raises(ValueError, match="5 and 4 classes"):
        first.merge(ConfusionMatrix(4))


def test_torch_tensors_are_accepted() -> None:
    torch = pytest.importorskip("torch")
    c = counted(torch.tensor(PRED), torch.tensor(LABEL), 3)
    assert (c.matrix == counted(PRED, LABEL, 3).matrix).all()


def test_inputs_are_not_written_to() -> None:
    pred, label = PRED.copy(), LABEL.copy()
    counted(pred, label, 3)
    assert (pred == PRED).all()
    assert (label == LABEL).all()


def test_ignored_pixels_count_for_nothing_whatever_is_predicted_there() -> None:
    c = counted(np.array([[9, 0]]), np.array([[255, 0]]), 2)  # 9 is no class, but its pixel is ignored
    assert c.matrix.tolist() == [[1, 0], [0, 0]]


def test_ignore_index_may_be_a_class_number() -> None:
    c = counted(np.array([[1, 1]]), np.array([[0, 1]]), 2, ignore_index=0)
    assert c.matrix.tolist() == [[0, 0], [0, 1]]


def test_nothing_counted_gives_nan_without_a_warning() -> None:
    c = counted(np.zeros((2, 2), int), np.full((2, 2), 255), 3)
    assert all(math.isnan(v) for v in (c.miou, c.miou_all, c.pixel_accuracy, c.mean_accuracy))
    assert np.isnan(c.iou).all()


def test_label_outside_the_list_names_the_values_and_the_trap() -> None:
    with pytest.raises(DataSetError, match=r"class list: 3, 7 \(expected 0 to 2, or 255") as error:
        counted(np.zeros((1, 3), int), np.array([[0, 3, 7]]), 3)
    assert "armseg check" in str(error.value)
    with pytest.raises(DataSetError, match="ignore_index"):  # 1..K with 0 = no label
        counted(np.zeros((1, 2), int), np.array([[0, 3]]), 3)
    with pytest.raises(DataSetError, match=r"255.*ignore_index"):
        counted(np.zeros((1, 2), int), np.array([[0, 255]]), 3, ignore_index=0 - 1)
    with pytest.raises(DataSetError, match="class list: -1"):
        counted(np.zeros((1, 1), int), np.array([[-1]]), 3)


def test_a_rejected_picture_leaves_the_counts_alone() -> None:
    c = counted(PRED, LABEL, 3)
    before = c.matrix.copy()
    with pytest.raises(DataSetError):
        c.update(np.zeros((1, 2), int), np.array([[0, 9]]))
    assert (c.matrix == before).all()


def test_shapes_and_types_are_checked() -> None:
    with pytest.raises(DataSetError, match=r"\(1, 2\).*\(1, 3\)"):
        counted(np.zeros((1, 2), int), np.zeros((1, 3), int), 2)
    with pytest.raises(ValueError, match="predictions run from 0 to 5"):
        counted(np.array([[0, 5]]), np.array([[0, 1]]), 2)
    with pytest.raises(ValueError, match="float64, expected integers"):
        counted(np.zeros((1, 2)), np.zeros((1, 2), int), 2)


def test_dict_is_json_and_comes_back() -> None:
    c = counted(PRED, LABEL, 3)
    values = json.loads(json.dumps(c.to_dict(["a", "b", "c"]), allow_nan=False))
    assert values["iou"]["c"] is None
    assert values["classes_present"] == 2
    assert values["miou_all"] == pytest.approx(c.miou_all)
    again = ConfusionMatrix.from_dict(values)
    assert (again.matrix == c.matrix).all()
    assert again.ignore_index == 255


@pytest.mark.parametrize(
    "values", [{}, {"matrix": [[1, 2]]}, {"matrix": "x"}, {"matrix": [[-1]]}, {"matrix": []}]
)
def test_broken_dict_is_one_clear_error(values: dict) -> None:
    with pytest.raises(FormatError):
        ConfusionMatrix.from_dict(values)
