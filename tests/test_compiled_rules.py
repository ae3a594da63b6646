"""A new kind of operation needs one rule and one line in the compiler's table."""

import pytest
import torch

import lamp
from lamp.compiler.rules import RULES
from lamp.compiler.rules.chain import apply_chain, each_column, give_gradients, note_all_given
from lamp.compiler.rules.combine import Pointwise
from lamp.compiler.rules.rule import WeightedRule, total
from tests.cases.compiled import lanes
from tests.test_compiled_branches import same, trained


class Clipped(Pointwise):
    """The positive part of a sum: a kind of operation that lamp does not have."""

    keeps_source = True

    def combined(self, x, other):
        y = x + other
        return y.where(y > 0.0, 0.0)

    def backward(self, block, stage):
        code = block.code
        for before in stage.inputs:
            with code.loop(0, stage.units) as unit, code.loop(0, block.columns) as s:
                dy = block.gradient(code.plus(unit, stage.gradient_offset), s)
                y = block.activation(code.plus(unit, stage.value_offsets[0]), s)
                give_gradients(block, before, unit, {s: dy.where(y > 0.0, 0.0)})
            note_all_given(block, before)


class ClippedSum(lamp.Module):
    def __init__(self, first, second):
        self.first, self.second = first, second

    def forward(self, x):
        y = (self.first(x) + self.second(x)).clamp(min=0.0)
        self.remember(y)
        return y

    def backward(self, dy):
        dy = dy * (self.recall() > 0.0)
        return self.second.backward(dy) + self.first.backward(dy)

    def trace(self, tracer, x):
        first, second = tracer(self.first, x), tracer(self.second, x)
        return tracer.op("Clipped", self, [first, second], first.shape)


class Scale(WeightedRule):
    """y = w x, unit by unit: an operation with weights."""

    def forward(self, block, stage):
        code, (before,) = block.code, stage.inputs
        with code.loop(0, stage.units) as unit, each_column(block, stage) as columns:
            for s in columns:
                x = block.activation(code.plus(unit, before.output_offset), s)
                apply_chain(block, stage, unit, s, x * block.parameter(code.plus(unit, stage.weight_offset)))

    def backward(self, block, stage):
        code, (before,) = block.code, stage.inputs
        if before.learns:
            with code.loop(0, stage.units) as unit, each_column(block, before, backward=True) as columns:
                w = block.parameter(code.plus(unit, stage.weight_offset))
                give_gradients(
                    block,
                    before,
                    unit,
                    {s: w * block.gradient(code.plus(unit, stage.gradient_offset), s) for s in columns},
                )
            note_all_given(block, before)

    def product(self, block, stage, unit, s):
        code = block.code
        dy = block.gradient(code.plus(unit, stage.gradient_offset), s)
        return dy * block.activation(code.plus(unit, stage.inputs[0].output_offset), s)

    def weight_gradient(self, block, stage):
        with block.code.loop(0, stage.units) as unit:
            each = [self.product(block, stage, unit, s) for s in range(block.columns)]
            block.add_to_gradient(block.code.plus(unit, stage.weight_offset), total(each))

    def weight_gradient_of_samples(self, block, stage, vectors):
        code = block.code
        with code.loop(0, stage.units) as unit:
            with code.carrying(0, vectors, [code.lane(0.0)]) as (s, sums):
                sums[0] = sums[0] + self.product(block, stage, unit, s)
            place = code.plus(unit, stage.weight_offset)
            code.add_some(block.arguments.gradients, place, code.lane_sums(sums), 0, 1)


class Scaled(lamp.Module):
    def __init__(self, units):
        self.weight = lamp.Parameter(torch.linspace(0.5, 2.0, units))

    def forward(self, x):
        self.remember(x)
        return x * self.weight.data.unsqueeze(-2)

    def backward(self, dy):
        self.weight.grad += (dy * self.recall()).sum(-2)
        return dy * self.weight.data.unsqueeze(-2)

    def reset_parameters(self, generator=None):
        self.weight.data.fill_(1.5)

    def trace(self, tracer, x):
        parameters = {"weight": self.weight}
        return tracer.op("Scale", self, [x], x.shape, parameters=parameters, multiplications=x.shape[0])


def clipped():
    parts = ClippedSum(lamp.Linear(3, 5), lamp.Sequential(lamp.Linear(3, 5), lamp.Tanh()))
    return lamp.Sequential(parts, lamp.Linear(5, 2))


def scaled():
    return lamp.Sequential(lamp.Linear(3, 5), Scaled(5), lamp.Tanh(), lamp.Linear(5, 2), Scaled(2))


@pytest.mark.parametrize("count", [None, 3, 2 * lanes() + 1])
@pytest.mark.parametrize(("kind", "rule", "layers"), [("Clipped", Clipped, clipped), ("Scale", Scale, scaled)])
def test_a_new_kind_of_operation_is_a_rule_and_a_line(count, kind, rule, layers, monkeypatch):
    def network():
        torch.manual_seed(4)
        return layers().double()

    with pytest.raises(lamp.ArgumentError, match="not compiled"):
        trained("compiled", network, count)
    monkeypatch.setitem(RULES, kind, rule())
    same(network, count)
