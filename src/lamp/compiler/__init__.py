"""Networks, gradients, losses and optimizers as machine code. `fit` does not use it yet."""

from lamp.compiler import functions

__all__ = ["functions"]
