"""Activations: out of a model and a text, onto disk, and into shuffled training batches.

The functions :func:`quadric.activations.capture.capture` and
:func:`quadric.activations.harvest.harvest` are imported from their modules: a package cannot
offer a function and a submodule under one name, or the meaning depends on what was imported before.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
