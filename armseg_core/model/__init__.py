"""The SegRGB-X network: one idea per file, put together in `segmenter.py`.

Shape letters: B batch, C channels, H W image rows and columns, h w feature rows and columns, L tokens,
D decoder width, E CLIP embedding size, K classes, S tapped stages (4).
"""
