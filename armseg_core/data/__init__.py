"""Data sets: from files on disk to Samples, and from Samples to training batches."""

from armseg_core.data.registry import open_dataset

__all__ = ["open_dataset"]
