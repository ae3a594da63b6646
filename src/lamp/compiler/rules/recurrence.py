"""The rules for RNN, LSTM and GRU, in loops over the steps of a sequence, and for their cells, which make one step.

A layer is two stages per direction. The first one is the input's part of the gates, W_ih x + b_ih for all steps at
once, an affine map. The second one goes along the steps: it adds the state's part, W_hh h + b_hh, and calls the
formulas of a unit with each unit's numbers. What backward needs lies behind its outputs in scratch memory. A last cell
state is a stage that reads it there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.rules.chain import apply_chain, begin_gradients, each_column, give_gradients, note_all_given
from lamp.compiler.rules.contraction import add_products, contracted, rows_of, width_of
from lamp.compiler.rules.recurrence_numbers import Direction, Numbers, direction_of
from lamp.compiler.rules.rule import Rule, WeightedRule
from lamp.compiler.rules.views import viewed
from lamp.compiler.stages import Element, Stage
from lamp.graph import Op
from lamp.nn.recurrent_base import RNNBase
from lamp.nn.recurrent_cells import RNNCellBase
from lamp.parameter import Parameter

ROWS = 12  # the most sums of one step that are computed together
LAST_STATE = "LastState"  # the kind of stages that read a last cell state
BIASES = 8  # biases whose gradients are summed together


class Scan(WeightedRule):
    """h_t and the unit's state from the gates a_t + W_hh h_(t-1) + b_hh, by the formulas of a unit, step by step.

    Backward  from the last step to the first: da_t and ds_t from dh_t, by the formulas; dh_(t-1) += W_hh^T ds_t
              dW_hh = sum of ds_t h_(t-1) over samples and steps    db_hh = sum of ds_t
              dh_0 = W_hh^T ds_1, and what the first step carries back, if the initial state is given
    """

    keeps_source = True
    reads_inputs = False

    def outputs(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> list[Stage]:
        module = op.module
        if not isinstance(module, RNNBase):
            raise NotCompiled("is not compiled: a scan of a module other than RNN, LSTM and GRU", module=module)
        x, steps, scans, drops = inputs[0], op.attributes["steps"], list[Stage](), op.attributes.get("dropout")
        for layer in range(module.num_layers):
            found = list[Stage]()
            for reverse in (False, True)[: 2 if module.bidirectional else 1]:
                suffix = f"_l{layer}{'_reverse' if reverse else ''}"
                own = [(name, each) for name, each in op.parameters.items() if name.endswith(suffix)]
                at = {name.removesuffix(suffix): offsets[each] for name, each in own}
                row = len(scans) + len(found)
                states = [_row(each, value.shape, row) for each, value in zip(inputs[1:], op.inputs[1:], strict=True)]
                formulas = module._equations.formulas
                form = Direction(formulas, steps, module.hidden_size, module._out, reverse, bool(states))
                found.append(_direction(x, states, form, at))
            scans += found
            x = _joined(found, steps)
            if drops and layer < module.num_layers - 1:
                mask = Element("Mask", module, number=layer, lead=steps)
                x = Stage("Elementwise", [x], x.units, chain=[mask])
        last = [_row(each, (steps, direction_of(each).outputs), direction_of(each).last) for each in scans]
        return [x, _joined(last, 1), _joined([_last_state(each) for each in scans], 1)][: len(op.outputs)]

    def kept(self, stage: Stage) -> int:
        return direction_of(stage).kept

    # ---- forward ---------------------------------------------------------------------------------------------------
    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, form, numbers = block.code, direction_of(stage), Numbers(block, stage)
        units, formulas = form.hidden, form.formulas
        self._begin(block, stage, numbers)
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

    def _begin(self, block: ColumnBlock, stage: Stage, numbers: Numbers) -> None:
        """Keep what the first step begins with: the initial state, or zeros."""
        code, form, first = block.code, direction_of(stage), stage.inputs[1:]
        if form.given:
            with code.loop(0, form.outputs) as i, code.loop(0, block.columns) as s:
                numbers.keep_first(i, s, block.activation(code.plus(i, first[0].output_offset), s))
        if form.formulas.has_state:
            with code.loop(0, form.hidden) as u:
                for s in range(block.columns):
                    at = code.plus(u, first[-1].output_offset) if form.given else None
                    numbers.keep_state(0, u, s, code.lane(0.0) if at is None else block.activation(at, s))

    def _state_part(self, block: ColumnBlock, stage: Stage, numbers: Numbers, k: Index) -> None:
        """Compute the gates of step k, of which the input's part is there already."""
        code, form = block.code, direction_of(stage)
        t, terms = numbers.time(k), form.outputs if form.given else code.times(code.least(k, 1), form.outputs)
        added = (form.formulas.gates - form.formulas.apart) * form.hidden
        for first, count in ((0, added), (added, form.gates - added)):
            sums = contracted(
                block,
                count,
                1,
                terms,
                lambda j, first=first: numbers.bias(code.plus(j, first)),  # type: ignore[misc]
                lambda j, i, first=first: numbers.state_weight(code.plus(j, first), i),  # type: ignore[misc]
                lambda p, i, s: numbers.h_before(k, i, s),
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
        code, form, numbers, before = block.code, direction_of(stage), Numbers(block, stage), stage.inputs[0]
        formulas = form.formulas
        ends = any(each.kind == LAST_STATE and stage in each.inputs for each in block.plan.stages)
        if formulas.has_state and not ends:  # else the gradient of the last state is there
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
        self._to_first(block, stage, numbers)

    def _to_first(self, block: ColumnBlock, stage: Stage, numbers: Numbers) -> None:
        """Give the initial state its gradients."""
        code, form, first = block.code, direction_of(stage), stage.inputs[1:]
        in_h = form.formulas.has_state and len(first) == 1  # whether h is the state that a unit carries back
        if first and first[0].learns:
            for i, of_columns in self._through(block, stage, numbers, numbers.time(0), form.gates):
                for s, dh in enumerate(of_columns):
                    give_gradients(block, first[0], i, {s: dh + numbers.carried(i, s) if in_h else dh})
            note_all_given(block, first[0])
        if len(first) > 1 and first[1].learns:
            with code.loop(0, form.hidden) as u, code.loop(0, block.columns) as s:
                give_gradients(block, first[1], u, {s: numbers.carried(u, s)})
            note_all_given(block, first[1])

    def _through(
        self, block: ColumnBlock, stage: Stage, numbers: Numbers, after: Index, terms: Index
    ) -> Iterator[tuple[Index, list[Lane]]]:
        """For each i the sum of W_hh[j, i] ds_j at this place of the sequence over so many j, a list of one per
        column."""
        sums = contracted(
            block,
            direction_of(stage).outputs,
            1,
            terms,
            lambda i: block.code.lane(0.0),
            lambda i, j: numbers.state_weight(j, i),
            lambda p, j, s: numbers.ds(after, j, s),
            light=False,
            most=ROWS,
        )
        for i, _, of_columns in sums:
            yield i, of_columns

    def _through_weights(self, block: ColumnBlock, stage: Stage, numbers: Numbers, k: Index, back: Index) -> None:
        """Add to dh of step k what comes from the step after it, and take it back through the projection."""
        code, form = block.code, direction_of(stage)
        t, after = numbers.time(k), numbers.time(code.plus(k, 1))
        terms = code.times(code.least(back, 1), form.gates)
        for i, of_columns in self._through(block, stage, numbers, after, terms):
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
        first = 0 if form.given else 1
        if form.steps > first:
            _add_tiles(
                block,
                (form.gates, form.outputs),
                [(0, vectors), (first, form.steps)],
                numbers.state_weight,
                lambda j, s, k: numbers.ds(numbers.time(k), j, s),
                lambda i, s, k: numbers.h_before(k, i, s),
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


class Cell(Scan):
    """One step of RNN, LSTM or GRU, from the state that is given, or zeros."""

    def outputs(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> list[Stage]:
        module, (x, *states) = op.module, inputs
        if not isinstance(module, RNNCellBase):
            raise NotCompiled("is not compiled: a cell other than those of RNN, LSTM and GRU", module=module)
        form = Direction(module._equations.formulas, 1, module.hidden_size, module.hidden_size, False, bool(states))
        scan = _direction(x, states, form, {name: offsets[each] for name, each in op.parameters.items()})
        return [scan, _last_state(scan)][: len(op.outputs)]


class LastState(Rule):
    """The state of the units after the last step of a scan: the cell state of LSTM.

    Backward  its gradient is what the last step of the scan is carried
    """

    reads_inputs = False

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (scan,) = block.code, stage.inputs
        numbers = Numbers(block, scan)
        with code.loop(0, stage.units) as u, each_column(block, stage) as columns:
            for s in columns:
                apply_chain(block, stage, u, s, numbers.state(numbers.form.steps, u, s))

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (scan,) = block.code, stage.inputs
        numbers = Numbers(block, scan)
        with code.loop(0, stage.units) as u:
            for s in range(block.columns):
                numbers.keep_carried(u, s, block.gradient(code.plus(u, stage.gradient_offset), s))
        begin_gradients(block, scan)


def _last_state(scan: Stage) -> Stage:
    return Stage(LAST_STATE, [scan], direction_of(scan).hidden)


def _direction(x: Stage, states: list[Stage], form: Direction, at: Mapping[str, int]) -> Stage:
    """The stages of one layer in one direction, the last of which is returned. at: the offsets of its parameters."""
    of_input = {"weight": at["weight_ih"], **({"bias": at["bias_ih"]} if "bias_ih" in at else {})}
    work = x.units * form.gates
    gates = Stage("Affine", [x], form.steps * form.gates, of_input, {"places": form.steps}, multiplications=work)
    of_state = {name: offset for name, offset in at.items() if not name.endswith("_ih")}
    work = form.steps * form.outputs * (form.gates + form.hidden * form.projects)
    units = form.steps * form.outputs
    return Stage("Scan", [gates, *states], units, of_state, {"direction": form}, multiplications=work)


def _row(stage: Stage, shape: tuple[int, ...], row: int) -> Stage:
    """One row of a value of this shape."""
    before, view = viewed(stage, shape)
    return Stage("View", [before], shape[1], attributes={"view": view.selected(0, row)})


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
