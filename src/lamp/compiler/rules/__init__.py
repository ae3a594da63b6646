"""One rule for each kind of operation that is compiled, a file for each family.

A new kind is one more file, with a `Rule` (or an `ElementRule`, for what is done to each number for itself), and one
more line here (or in `chain.ELEMENTS`).
"""

from __future__ import annotations

from lamp.compiler.rules.affine import Affine
from lamp.compiler.rules.combine import Add, Concat, Multiply, Same
from lamp.compiler.rules.rule import Rule, WeightedRule
from lamp.compiler.rules.softmax import Softmax
from lamp.compiler.stages import Stage
from lamp.compiler.stand_ins import NotCompiled
from lamp.graph import Op
from lamp.paths import describe

RULES: dict[str, Rule] = {
    "Affine": Affine(),
    "Add": Add(),
    "Multiply": Multiply(),
    "Concat": Concat(),
    "Softmax": Softmax(),
    "Elementwise": Same(),
}


def rule_of(op: Op) -> Rule:
    """The rule of an operation. Raises NotCompiled where there is none."""
    rule = RULES.get(op.kind)
    if rule is None:
        raise NotCompiled(f"{describe(op.module)} is not compiled: lamp.compile says which modules are")
    return rule


def weighted_rule_of(stage: Stage) -> WeightedRule:
    """The rule of a stage that has weights."""
    rule = RULES[stage.kind]
    assert isinstance(rule, WeightedRule), f"{stage.kind} has parameters, and no gradients of them"
    return rule
