"""Manifolds: what a dictionary's weights say, and the evidence for the shapes they point at."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
