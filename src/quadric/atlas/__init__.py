"""The atlas: what an autoencoder learnt, as a folder of tables and a page that explores them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
