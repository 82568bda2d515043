"""Aligned pictures of any bands: sensors without a folder of their own, declared by a data set."""
