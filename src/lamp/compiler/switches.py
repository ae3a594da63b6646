"""Environment variables that switch a part of the compiler off."""

import os

OFF = ("off", "0", "no")


def is_off(variable: str) -> bool:
    """Whether the environment switches off what this variable stands for."""
    return os.environ.get(variable, "").lower() in OFF
