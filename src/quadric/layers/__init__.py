"""Layers whose outputs are quadratic forms of their inputs, and their gated relatives."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
