"""quadric: represent what a neural network computes as quadratic forms, and read those forms."""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
