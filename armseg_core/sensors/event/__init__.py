"""Event cameras."""
