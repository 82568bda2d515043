"""From a sensor's array to a frame (C, H, W): REPRESENTATIONS is the one table."""
