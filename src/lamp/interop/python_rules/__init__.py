"""The rules of the Python export, one per kind of operation, a file per family; other kinds are refused by name."""

from collections.abc import Callable

from lamp.interop.python_rules import basic, products, recurrent, windows

RULES: dict[str, Callable[..., str]] = {**basic.RULES, **products.RULES, **recurrent.RULES, **windows.RULES}
