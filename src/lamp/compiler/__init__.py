"""Networks, gradients, losses and optimizers as machine code."""

from lamp.compiler import functions

__all__ = ["functions"]
