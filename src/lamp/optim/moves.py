"""How a rule moves a parameter: the last operation of every update, in place where the parameter is a tensor."""

from torch import Tensor

from lamp.formulas import Number


def move(parameter: Number, direction: Number, factor: Number) -> Number:
    """parameter + factor * direction."""
    if not isinstance(parameter, Tensor):
        return parameter + factor * direction
    if isinstance(factor, Tensor):
        return parameter.addcmul_(direction, factor)
    return parameter.add_(direction, alpha=factor)


def move_by_quotient(parameter: Number, numerator: Number, denominator: Number, factor: Number) -> Number:
    """parameter + factor * numerator / denominator."""
    if not isinstance(parameter, Tensor):
        return parameter + factor * numerator / denominator
    if isinstance(factor, Tensor):
        return parameter.addcdiv_(factor * numerator, denominator)
    return parameter.addcdiv_(numerator, denominator, value=factor)
