"""Runs: harvest, train and evaluate in one folder that says how it was made."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
