"""Baselines: the linear tools whose findings stand beside those of bilinear autoencoders."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
