"""Light-field cameras."""
