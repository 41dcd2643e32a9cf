"""Evaluation: product and x space, spliced cross-entropy, similarity, contexts, steering."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
