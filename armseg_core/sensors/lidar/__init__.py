"""LiDAR."""
