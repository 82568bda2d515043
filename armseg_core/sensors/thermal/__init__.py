"""Thermal cameras."""
