"""The pictures of the image experiments."""
