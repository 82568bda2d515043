"""Polarization cameras."""
