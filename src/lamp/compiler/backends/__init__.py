"""Backends: the machines that kernels are written for, each a `Machine` and its `Code`."""
