"""How good a segmentation is: a confusion matrix and the numbers derived from it. Numpy only.

Two conventions of mean IoU are in use and both are reported: `miou` averages over the classes that occur (in
the labels or in the predictions), `miou_all` counts a class that does not occur as 0 and averages over all
classes, as the DELIVER / CMNeXt code does. They agree when every class occurs.

Shape letters: B batch, H rows, W columns, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from armseg_core.errors import DataSetError, FormatError

NOTHING_COUNTED = "no labeled pixel"


class ConfusionMatrix:
    """Counts of (label, prediction) pairs over any number of images.

    Args:
        num_classes: K; labels and predictions are 0..K-1.
        ignore_index: label value of pixels that do not count. It may be one of 0..K-1 (then that class never
            occurs as a label).
    """

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}, expected at least 1")
        self.num_classes, self.ignore_index = num_classes, ignore_index
        # (K, K) counts, row = label, column = prediction
        self.matrix: np.ndarray = np.zeros((num_classes, num_classes), np.int64)

    def update(self, pred: Any, label: Any) -> None:
        """Add one image or a batch.

        Args:
            pred: (H, W) or (B, H, W) integers in 0..K-1, numpy array or torch tensor on any device.
            label: the same shape, integers in 0..K-1 or ignore_index.

        Raises:
            DataSetError: shapes differ, or a label value is neither a class nor ignore_index.
            ValueError: a prediction is outside 0..K-1 where the label counts, or an array is not of integers.
        """
        pred, label = _to_numpy(pred, "prediction"), _to_numpy(label, "label")
        if pred.shape != label.shape:
            raise DataSetError(
                f"the prediction has shape {pred.shape}", expected=f"{label.shape}, the label's shape"
            )
        counts = label != self.ignore_index
        row, column = label[counts], pred[counts]
        if row.size == 0:
            return
        if row.min() < 0 or row.max() >= self.num_classes:
            raise self._bad_labels(row)
        if column.min() < 0 or column.max() >= self.num_classes:
            raise ValueError(
                f"predictions run from {column.min()} to {column.max()}, expected 0 to {self.num_classes - 1}"
            )
        k = self.num_classes
        pairs = row.astype(np.int64) * k + column.astype(np.int64)
        self.matrix += np.bincount(pairs, minlength=k * k).reshape(k, k)

    def _bad_labels(self, row: np.ndarray) -> DataSetError:
        bad = np.unique(row[(row < 0) | (row >= self.num_classes)])
        values = ", ".join(map(str, bad[:8])) + (", ..." if len(bad) > 8 else "")
        hint = "armseg check DATA"
        if bad[-1] in (self.num_classes, 255):
            hint += "; 0 or 255 often means 'no label': set ignore_index in dataset.toml, or list the class"
        return DataSetError(
            f"label values outside the class list: {values}",
            hint=hint,
            expected=f"0 to {self.num_classes - 1}, or {self.ignore_index} for pixels to ignore",
        )

    def merge(self, other: ConfusionMatrix) -> None:
        """Add the counts of another matrix over the same classes."""
        if other.num_classes != self.num_classes:
            raise ValueError(f"cannot merge matrices of {self.num_classes} and {other.num_classes} classes")
        self.matrix += other.matrix

    @property
    def present(self) -> np.ndarray:
        """(K,) bool: the class occurs in a label or in a prediction."""
        occurs: np.ndarray = (self.matrix.sum(0) + self.matrix.sum(1)) > 0
        return occurs

    @property
    def iou(self) -> np.ndarray:
        """(K,) float64: intersection over union, NaN for a class that occurs nowhere."""
        hits = np.diag(self.matrix)
        union = self.matrix.sum(0) + self.matrix.sum(1) - hits
        return _ratio(hits, union)

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that occur; NaN when nothing was counted."""
        return _mean(self.iou)

    @property
    def miou_all(self) -> float:
        """Mean IoU over all K classes, a class that occurs nowhere counting as 0."""
        return float(np.nan_to_num(self.iou).mean()) if self.matrix.any() else math.nan

    @property
    def pixel_accuracy(self) -> float:
        """Share of the counted pixels whose class is right."""
        return float(_ratio(np.trace(self.matrix), self.matrix.sum()))

    @property
    def mean_accuracy(self) -> float:
        """Share of right pixels per labeled class, averaged over the classes that occur in the labels."""
        return _mean(_ratio(np.diag(self.matrix), self.matrix.sum(1)))

    def to_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Everything as plain JSON values (NaN becomes None)."""
        if len(class_names) != self.num_classes:
            raise ValueError(f"{len(class_names)} class names for {self.num_classes} classes")
        return {
            "class_names": list(class_names),
            "ignore_index": self.ignore_index,
            "miou": _json(self.miou),
            "miou_all": _json(self.miou_all),
            "pixel_accuracy": _json(self.pixel_accuracy),
            "mean_accuracy": _json(self.mean_accuracy),
            "classes_present": int(self.present.sum()),
            "iou": {name: _json(value) for name, value in zip(class_names, self.iou, strict=True)},
            "matrix": self.matrix.tolist(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ConfusionMatrix:
        """The matrix that `to_dict` wrote.

        Raises:
            FormatError: the dict holds no square matrix of counts.
        """
        try:
            matrix = np.asarray(values["matrix"], np.int64)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise FormatError(
                "holds no confusion matrix", expected="the JSON that `armseg eval` writes"
            ) from error
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size or matrix.min() < 0:
            raise FormatError(f"the confusion matrix has shape {matrix.shape}", expected="(K, K) counts")
        result = cls(len(matrix), int(values.get("ignore_index", 255)))
        result.matrix += matrix
        return result


def percent(value: float | None) -> str:
    """A metric for people, '81.3%'; where nothing was counted (NaN or null) it says so."""
    return NOTHING_COUNTED if value is None or math.isnan(value) else f"{value:.1%}"


def mean_score(values: Sequence[float]) -> float:
    """The mean over those that are not NaN; NaN when there are none."""
    return _mean(np.asarray(values, np.float64))


def _to_numpy(values: Any, what: str) -> np.ndarray:
    array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{what} is {array.dtype}, expected integers")
    return array


def _ratio(part: Any, whole: Any) -> np.ndarray:
    """part / whole in float64, NaN where whole is 0, without a warning."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    ratio: np.ndarray = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return ratio


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def _json(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
