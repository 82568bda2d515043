"""From raw recordings to sensor-tensor files: one, many, planned, found, described."""
