"""The command line and small activations, as the end-to-end tests have them."""

from tests.e2e.conftest import activations, quadric

__all__ = ["activations", "quadric"]
