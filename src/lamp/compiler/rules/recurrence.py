"""The rule for RNN, LSTM and GRU, in loops over the steps of a sequence.

A layer is two stages per direction. The first one is the input's part of the gates, W_ih x + b_ih for all steps at
once, an affine map. The second one goes along the steps: it adds the state's part, W_hh h + b_hh, and calls the
formulas of a unit with each unit's numbers. What backward needs lies behind its outputs in scratch memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.rules.chain import apply_chain, give_gradients, note_all_given
from lamp.compiler.rules.contraction import add_products, contracted, rows_of, width_of
from lamp.compiler.rules.recurrence_numbers import Direction, Numbers, direction_of
from lamp.compiler.rules.rule import WeightedRule
from lamp.compiler.rules.views import View
from lamp.compiler.stages import Element, Stage
from lamp.graph import Op
from lamp.nn.recurrent_base import RNNBase
from lamp.parameter import Parameter

ROWS = 12  # the most sums of one step that are computed together
BIASES = 8  # biases whose gradients are summed together


class Scan(WeightedRule):
    """h_t and the unit's state from the gates a_t + W_hh h_(t-1) + b_hh, by the formulas of a unit, step by step.

    Backward  from the last step to the first: da_t and ds_t from dh_t, by the formulas; dh_(t-1) += W_hh^T ds_t
              dW_hh = sum of ds_t h_(t-1) over samples and steps    db_hh = sum of ds_t
    """

    keeps_source = True
    reads_inputs = False

    def outputs(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> list[Stage | None]:
        module = op.module
        if not isinstance(module, RNNBase):
            raise NotCompiled("is not compiled: a scan of a module other than RNN, LSTM and GRU", module=module)
        if len(inputs) > 1:
            raise NotCompiled("is not compiled with an initial state that is not zero", module=module)
        (x,), steps, last, drops = inputs, op.attributes["steps"], [], op.attributes.get("dropout")
        for layer in range(module.num_layers):
            found = []
            for reverse in (False, True)[: 2 if module.bidirectional else 1]:
                suffix = f"_l{layer}{'_reverse' if reverse else ''}"
                own = [(name, each) for name, each in op.parameters.items() if name.endswith(suffix)]
                at = {name.removesuffix(suffix): offsets[each] for name, each in own}
                found.append(_direction(x, module, at, steps, reverse))
            last += [_step(stage, stage.attributes["direction"].last) for stage in found]
            x = _joined(found, steps)
            if drops and layer < module.num_layers - 1:
                mask = Element("Mask", module, number=layer, lead=steps)
                x = Stage("Elementwise", [x], x.units, chain=[mask])
        return [x, _joined(last, 1), None][: len(op.outputs)]

    def kept(self, stage: Stage) -> int:
        return direction_of(stage).kept

    # ---- forward ---------------------------------------------------------------------------------------------------
    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, form, numbers = block.code, direction_of(stage), Numbers(block, stage)
        units, formulas = form.hidden, form.formulas
        if formulas.has_state:
            with code.loop(0, units) as u:
                for s in range(block.columns):
                    numbers.keep_state(0, u, s, code.lane(0.0))
        with code.loop(0, form.steps) as k:
            t = numbers.time(k)
            self._state_part(block, stage, numbers, k)
            with code.loop(0, units) as u, code.loop(0, block.columns) as s:
                gates = [numbers.kept(t, g, u, s) for g in range(formulas.gates)]
                apart = range(formulas.gates - formulas.apart, formulas.gates)
                state = numbers.state(k, u, s) if formulas.has_state else None
                kept, h, after = formulas.forward(gates, [numbers.input_part(t, g, u, s) for g in apart], state)
                for g, each in enumerate(kept):
                    numbers.keep(t, g, u, s, each)
                if formulas.has_state:
                    numbers.keep_state(code.plus(k, 1), u, s, after)
                if form.projects:
                    numbers.keep_projected(t, u, s, h)
                else:
                    apply_chain(block, stage, numbers.output(t, u), s, h)
            if form.projects:
                self._project(block, stage, numbers, t)

    def _state_part(self, block: ColumnBlock, stage: Stage, numbers: Numbers, k: Index) -> None:
        """Compute the gates of step k, of which the input's part is there already."""
        code, form = block.code, direction_of(stage)
        t, before = numbers.time(k), numbers.time(code.minus(k, 1))
        added = (form.formulas.gates - form.formulas.apart) * form.hidden
        for first, count in ((0, added), (added, form.gates - added)):
            sums = contracted(
                block,
                count,
                1,
                code.times(code.least(k, 1), form.outputs),
                lambda j, first=first: numbers.bias(code.plus(j, first)),  # type: ignore[misc]
                lambda j, i, first=first: numbers.state_weight(code.plus(j, first), i),  # type: ignore[misc]
                lambda p, i, s: numbers.h(before, i, s),
                light=False,
                most=ROWS,
            )
            for j, _, of_columns in sums if count else ():
                for s, y in enumerate(of_columns):
                    whole = y if first else y + numbers.input_part(t, 0, j, s)
                    numbers.keep(t, 0, code.plus(j, first), s, whole)

    def _project(self, block: ColumnBlock, stage: Stage, numbers: Numbers, t: Index) -> None:
        code, form = block.code, direction_of(stage)
        sums = contracted(
            block,
            form.outputs,
            1,
            form.hidden,
            lambda o: code.lane(0.0),
            numbers.projection,
            lambda p, u, s: numbers.projected(t, u, s),
            light=False,
            most=ROWS,
        )
        for o, _, of_columns in sums:
            for s, y in enumerate(of_columns):
                apply_chain(block, stage, numbers.output(t, o), s, y)

    # ---- backward --------------------------------------------------------------------------------------------------
    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        code, form, numbers, (before,) = block.code, direction_of(stage), Numbers(block, stage), stage.inputs
        formulas = form.formulas
        if formulas.has_state:
            with code.loop(0, form.hidden) as u:
                for s in range(block.columns):
                    numbers.keep_carried(u, s, code.lane(0.0))
        with code.loop(0, form.steps) as back:
            k = code.minus(form.steps - 1, back)
            t = numbers.time(k)
            self._through_weights(block, stage, numbers, k, back)
            with code.loop(0, form.hidden) as u, code.loop(0, block.columns) as s:
                dh = numbers.dprojected(u, s) if form.projects else numbers.dh(t, u, s)
                kept = [numbers.kept(t, g, u, s) for g in range(formulas.kept)]
                state, carried = None, None
                if formulas.has_state:
                    state, carried = numbers.state(k, u, s), numbers.carried(u, s)
                found = formulas.backward(kept, state, dh, carried)
                for g, da in enumerate(found.of_input):
                    give_gradients(block, before, numbers.gate(t, g, u), {s: da})
                if formulas.apart:
                    for g, ds in enumerate(found.of_state):
                        numbers.keep(t, g, u, s, ds)
                if formulas.has_state:
                    numbers.keep_carried(u, s, found.carried)
        note_all_given(block, before)

    def _through_weights(self, block: ColumnBlock, stage: Stage, numbers: Numbers, k: Index, back: Index) -> None:
        """Add to dh of step k what comes from the step after it, and take it back through the projection."""
        code, form = block.code, direction_of(stage)
        t, after = numbers.time(k), numbers.time(code.plus(k, 1))
        sums = contracted(
            block,
            form.outputs,
            1,
            code.times(code.least(back, 1), form.gates),
            lambda i: code.lane(0.0),
            lambda i, j: numbers.state_weight(j, i),
            lambda p, j, s: numbers.ds(after, j, s),
            light=False,
            most=ROWS,
        )
        for i, _, of_columns in sums:
            for s, dh in enumerate(of_columns):
                numbers.keep_dh(t, i, s, numbers.dh(t, i, s) + dh)
        if form.projects:
            sums = contracted(
                block,
                form.hidden,
                1,
                form.outputs,
                lambda u: code.lane(0.0),
                lambda u, o: numbers.projection(o, u),
                lambda p, o, s: numbers.dh(t, o, s),
                light=False,
                most=ROWS,
            )
            for u, _, of_columns in sums:
                for s, dm in enumerate(of_columns):
                    numbers.keep_dprojected(u, s, dm)

    # ---- gradients of the weights ----------------------------------------------------------------------------------
    def weight_gradient(self, block: ColumnBlock, stage: Stage) -> None:
        self.weight_gradient_of_samples(block, stage, block.columns)

    def weight_gradient_of_samples(self, block: ColumnBlock, stage: Stage, vectors: Index) -> None:
        code, form, numbers = block.code, direction_of(stage), Numbers(block, stage)
        if form.steps > 1:
            _add_tiles(
                block,
                (form.gates, form.outputs),
                [(0, vectors), (0, form.steps - 1)],
                numbers.state_weight,
                lambda j, s, k: numbers.ds(numbers.time(code.plus(k, 1)), j, s),
                lambda i, s, k: numbers.h(numbers.time(k), i, s),
            )
        every_step: list[tuple[Index, Index]] = [(0, vectors), (0, form.steps)]
        if form.projects:
            _add_tiles(
                block,
                (form.outputs, form.hidden),
                every_step,
                numbers.projection,
                lambda o, s, t: numbers.dh(t, o, s),
                lambda u, s, t: numbers.projected(t, u, s),
            )
        if "bias_hh" in stage.parameters:
            for j, count in block.tiles(form.gates, BIASES):
                with code.nest(every_step, [code.lane(0.0)] * count) as ((s, t), sums):
                    for r in range(count):
                        sums[r] = sums[r] + numbers.ds(t, code.plus(j, r), s)
                block.add_to_gradients(code.plus(j, stage.parameters["bias_hh"]), sums)


def _direction(x: Stage, module: RNNBase, at: Mapping[str, int], steps: int, reverse: bool) -> Stage:
    """The stages of one layer in one direction, the last of which is returned. at: the offsets of its parameters."""
    form = Direction(module._equations.formulas, steps, module.hidden_size, module._out, reverse)
    of_input = {"weight": at["weight_ih"], **({"bias": at["bias_ih"]} if module.bias else {})}
    work = x.units * form.gates
    gates = Stage("Affine", [x], steps * form.gates, of_input, {"places": steps}, multiplications=work)
    of_state = {name: offset for name, offset in at.items() if not name.endswith("_ih")}
    work = steps * form.outputs * (form.gates + form.hidden * form.projects)
    return Stage("Scan", [gates], steps * form.outputs, of_state, {"direction": form}, multiplications=work)


def _step(stage: Stage, t: int) -> Stage:
    """One step of a sequence."""
    form = direction_of(stage)
    view = View.of((form.steps, form.outputs)).selected(0, t)
    return Stage("View", [stage], form.outputs, attributes={"view": view})


def _joined(stages: Sequence[Stage], rows: int) -> Stage:
    """Stages beside each other, in each of so many rows."""
    if len(stages) == 1:
        return stages[0]
    return Stage("Concat", list(stages), sum(stage.units for stage in stages), attributes={"rows": rows})


def _add_tiles(
    block: ColumnBlock,
    sizes: tuple[int, int],
    ranges: Sequence[tuple[Index, Index]],
    place: Callable[[Index, Index], Index],
    row: Callable[..., Lane],
    column: Callable[..., Lane],
) -> None:
    """Add to the gradients at place(j, i), for all j and i below these sizes, the sums over the ranges of row(j, ...)
    times column(i, ...)."""
    code, (rows, columns) = block.code, sizes
    width = width_of(block, rows, columns, columns=1)
    for j, together in block.tiles(rows, rows_of(block, rows, width, columns=1)):
        for i, count in block.tiles(columns, width):
            with code.nest(ranges, [code.lane(0.0)] * (together * count)) as (at, sums):
                x = [column(code.plus(i, c), *at) for c in range(count)]
                add_products(sums, [row(code.plus(j, r), *at) for r in range(together)], x)
            block.add_rows_to_gradients([place(code.plus(j, r), i) for r in range(together)], sums)
