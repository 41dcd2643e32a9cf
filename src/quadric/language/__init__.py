"""Circuits of language models from their weights, and how their layers are made bilinear."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
