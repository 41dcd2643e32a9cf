"""Evaluation: product-space figures, x-space figures, spliced cross-entropy, top contexts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
