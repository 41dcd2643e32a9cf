"""The one hot operation, reconstruction energy Σ_b g_bᵀ K g_b, with its gradients."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
