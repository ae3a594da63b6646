"""Backends: one folder per kind of machine, with its subclasses of `Machine` and `Code` (see lamp.compiler.code)."""
