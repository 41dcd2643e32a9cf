"""Brute-force float64 versions of what quadric computes cleverly."""
