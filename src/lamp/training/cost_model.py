"""How long a training takes by each engine: estimates from the network's plan, by which `engine="auto"` chooses.

The constants are least-squares fits to the steps of 89 random MLPs (1 to 1,000 wide, batches of 1 to 1,000, epochs of 4
steps) on two cores with AVX-512. Half of the estimates, of either engine, are within 20 % of what was measured; nine in
ten eager ones within 45 %, nine in ten compiled ones within 80 %. On other machines both engines are faster or slower
alike.

The estimates depend on the job alone, not on the machine or on which kernels are on the disk, so that the same job is
always trained by the same engine, to the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass

from lamp.compiler.stages import Plan
from lamp.graph import Op
from lamp.optim import Optimizer

# Seconds: for a step, for each operation of it, and for each product, parameter or state, and value that it computes.
EAGER = (115e-6, 12e-6, 6.8e-12, 0.74e-9, 3.9e-9)
COMPILED = (1.5e-6, 0.27e-6, 8.5e-12, 0.68e-9, 1.03e-9)
# Seconds to compile a kernel: for any, and for each layer of the network.
COMPILING = (0.05, 0.035)
# Seconds that the compiled engine must save. Loading a kernel that was compiled before takes about so long.
LEAST_SAVED = 0.04
# The share of an eager training by which the compiled engine may be better than estimated: for wide layers the estimate
# is too high. A training that is worth compiling only with it takes a second process at most this share longer.
DOUBT = 0.2
# Seconds that compiling may take beyond what it saves: a second process, which finds the kernel, saves them.
ADVANCE = 0.3


def compiling_seconds(layers: int) -> float:
    """Estimated seconds to compile a kernel of so many layers."""
    start, each = COMPILING
    return start + each * layers


@dataclass(frozen=True)
class Costs:
    """Estimated seconds of a training by each engine, and of compiling."""

    eager: float
    compiled: float
    compiling: float

    @property
    def is_worth_compiling(self) -> bool:
        """Whether compiling saves time, if not in this process then in the next one."""
        saved = self.eager - self.compiled
        return saved > max(LEAST_SAVED - DOUBT * self.eager, 0.0, self.compiling - ADVANCE)


# Seconds for each value of a network over places, such as a transformer, by the eager engine and compiled, where the
# values of AT_ONCE samples and their gradients are more than CACHE bytes: then the eager engine's operations are large,
# and a kernel waits for memory. COMPILING_PLACES are seconds for each layer, whose code is for several places.
BEYOND, CACHE, COMPILING_PLACES = (1.5e-9, 3.1e-9), 2**24, 0.06
# Samples that a kernel with windows computes at once, if it is for one network; a smaller batch takes as long.
AT_ONCE = 16


# Operations that the eager engine takes for one step of a recurrent layer.
OF_A_STEP = 3


def _operations(op: Op) -> int:
    """How many operations the eager engine takes for this one."""
    return OF_A_STEP * op.attributes["steps"] * op.attributes.get("layers", 1) if op.kind == "Scan" else 1


def costs(plan: Plan, optimizer: Optimizer, batch: int, steps: int, replicas: int | None) -> Costs:
    """The costs of so many steps with so many samples each."""
    networks = replicas or 1
    states = max(len(optimizer.state_names(group)) for group in optimizer.param_groups)
    values = sum(stage.units for stage in plan.stages[1:])
    computed = max(batch, AT_ONCE) if plan.has_windows and replicas is None else batch
    eager, compiled, compiling = EAGER, COMPILED, compiling_seconds(len(plan.layers))
    if any(stage.places > 1 for stage in plan.stages):
        compiling = COMPILING[0] + COMPILING_PLACES * len(plan.layers)
        if (plan.activation_count + plan.gradient_count) * AT_ONCE * 4 > CACHE:
            eager, compiled = (*EAGER[:-1], BEYOND[0]), (*COMPILED[:-1], BEYOND[1])

    def seconds(rates: tuple[float, ...], samples: int) -> float:
        work = (
            1.0,
            sum(map(_operations, plan.graph.ops)),
            3 * plan.multiplications * samples * networks,
            plan.parameters * (1 + states) * networks,
            values * samples * networks,
        )
        return float(steps * sum(amount * rate for amount, rate in zip(work, rates, strict=True)))

    return Costs(seconds(eager, batch), seconds(compiled, computed), compiling)
