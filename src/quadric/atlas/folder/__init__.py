"""The folder itself: writing it, reading it, checking it."""
