"""Networks, gradients, losses and optimizers as machine code. Nothing here is imported before it is needed."""
