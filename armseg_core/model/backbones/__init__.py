"""Staged encoders: RGB at full resolution -> maps at strides 4, 8, 16, 32 (some also 2), one row per kind.

`table.py` holds the rows; other packages add theirs by the entry point group `armseg.backbones`.
"""
