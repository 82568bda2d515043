"""Data sets: from files on disk to Samples, and from Samples to training batches."""

from armseg_core.data.dataset import DataSet
from armseg_core.data.description import Description
from armseg_core.data.registry import describe, open_dataset
from armseg_core.data.sample import ClassInfo, Sample

__all__ = ["ClassInfo", "DataSet", "Description", "Sample", "describe", "open_dataset"]
