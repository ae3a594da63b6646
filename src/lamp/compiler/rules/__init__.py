"""The rules of the lowering pass: for each kind of operation, how it is fused and which code computes it.

To compile another kind of operation, write a `Rule` in a file of this folder and add a line to RULES; for an
elementwise operation, write an `ElementRule` and add it to `chain.ELEMENTS`.
"""

from __future__ import annotations

from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.rules.affine import Affine
from lamp.compiler.rules.batch_norm import STANDARDISE, BatchNorm, ByRunningStatistics
from lamp.compiler.rules.bilinear import Bilinear
from lamp.compiler.rules.combine import Add, Concat, Multiply, Same
from lamp.compiler.rules.constant import Constant
from lamp.compiler.rules.convolution import Convolution, TransposedConvolution
from lamp.compiler.rules.distances import Cosine, Distance
from lamp.compiler.rules.folding import Fold, Unfold
from lamp.compiler.rules.gate import Gate
from lamp.compiler.rules.gather import Gather
from lamp.compiler.rules.matmul import MatMul
from lamp.compiler.rules.norm import Norm, Standardise
from lamp.compiler.rules.pad import Pad
from lamp.compiler.rules.pooling import AdaptiveAvgPool, AdaptiveMaxPool, AvgPool, MaxPool, NormPool
from lamp.compiler.rules.recurrence import LAST_STATE, Cell, LastState, Scan
from lamp.compiler.rules.reduce import Reduce
from lamp.compiler.rules.resize import Resize
from lamp.compiler.rules.response_norm import ResponseNorm
from lamp.compiler.rules.rule import Rule, WeightedRule
from lamp.compiler.rules.softmax import Softmax
from lamp.compiler.rules.views import Viewed
from lamp.compiler.stages import Stage
from lamp.graph import Op

RULES: dict[str, Rule] = {
    "Affine": Affine(),
    "Conv": Convolution(),
    "ConvTranspose": TransposedConvolution(),
    "Norm": Norm(),
    "Standardise": Standardise(),
    "BatchNorm": BatchNorm(),
    STANDARDISE: ByRunningStatistics(),
    "Pad": Pad(),
    "ResponseNorm": ResponseNorm(),
    "LPPool": NormPool(),
    "MaxPool": MaxPool(),
    "AvgPool": AvgPool(),
    "AdaptiveMaxPool": AdaptiveMaxPool(),
    "AdaptiveAvgPool": AdaptiveAvgPool(),
    "Add": Add(),
    "Multiply": Multiply(),
    "Concat": Concat(),
    "Scan": Scan(),
    "Cell": Cell(),
    LAST_STATE: LastState(),
    "Softmax": Softmax(),
    "View": Viewed(),
    "Permute": Viewed(),
    "Select": Viewed(),
    "Expand": Viewed(),
    "Resize": Resize(),
    "Reduce": Reduce(),
    "Bilinear": Bilinear(),
    "CosineSimilarity": Cosine(),
    "Distance": Distance(),
    "Unfold": Unfold(),
    "Fold": Fold(),
    "Constant": Constant(),
    "Gather": Gather(),
    "MatMul": MatMul(),
    "Gate": Gate(),
    "Elementwise": Same(),
}


def rule_of(op: Op) -> Rule:
    """The rule of an operation. Raises NotCompiled if there is none."""
    rule = RULES.get(op.kind)
    if rule is None:
        raise NotCompiled(f"is not compiled: there is no rule for its {op.kind}", module=op.module)
    return rule


def weighted_rule_of(stage: Stage) -> WeightedRule:
    """The rule of a stage that has weights."""
    rule = RULES[stage.kind]
    assert isinstance(rule, WeightedRule), f"{stage.kind} has parameters, but its rule computes no gradients of them"
    return rule
