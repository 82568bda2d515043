"""Data sets: from files on disk to Samples, and from Samples to training batches."""
