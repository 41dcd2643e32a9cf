"""Training: one loop for any number of autoencoders on one stream of activations."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
