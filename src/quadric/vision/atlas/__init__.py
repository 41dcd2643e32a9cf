"""The atlas of an image classifier: its logits as forms over pixels, in pictures."""
