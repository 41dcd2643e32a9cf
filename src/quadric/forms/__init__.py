"""The algebra of stacks of quadratic forms in factored form, on torch alone."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
