"""Trains networks by kernels whose arrays lie beside pages that are not mapped. A kernel that reads or writes beyond an
array ends the program.

    python -m tests.cases.guarded samples [ARRAY]     the lanes of a vector are samples of one network
    python -m tests.cases.guarded networks [ARRAY]    they are networks

Each network is trained twice: once each array ends where such a page begins, once it begins where one ends. Results
must be those of the eager engine. Every rule of the compiler must have taken part.

ARRAY  the name of an argument of kernels, which is then given one number less than it has
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain, cycle
from unittest import mock

import torch

import lamp
from lamp.compiler import call_table, kernel_runner
from lamp.compiler.arguments import COUNT, INT32, INT64, KINDS, LINE, KernelArguments
from lamp.compiler.backends.cpu.target import FORCED, VECTOR_BITS, host
from lamp.compiler.kernel import forget
from lamp.compiler.kernel_state import KernelState
from lamp.compiler.rules import RULES
from lamp.compiler.rules.chain import IN_CHAINS
from lamp.trees import mapped
from tests import (
    test_compiled_attention,
    test_compiled_batch_norm,
    test_compiled_branches,
    test_compiled_inputs,
    test_compiled_norms,
    test_compiled_states,
    test_population_sizes,
)
from tests.cases.compiled import both, lanes, task
from tests.cases.compiled import network as of_task
from tests.test_compiled_windows import NETWORKS as WINDOWS
from tests.test_compiled_windows import trained_alike

PAGE = mmap.PAGESIZE
UNTOUCHED = 0xFF  # in each byte beside an array; as a float it is NaN
# Arrays that are read number by number, or as vectors at any place. The others are arrays of whole vectors.
ANYWHERE = ("inputs", "targets", "shared_coefficients", "loss_constants", "constants")


# ---- arrays beside pages that are not mapped -------------------------------------------------------------------------
def protect(address: int) -> None:
    """Forbid any access to a page."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(PAGE), 0):
        raise OSError(ctypes.get_errno(), "mprotect")


@contextmanager
def beside_a_page(address: int, size: int, aligned: int, at_end: bool) -> Iterator[int]:
    """The address of a copy of so many bytes, a multiple of `aligned`; in the end they are copied back.

    The pages before and behind it are not mapped. With at_end the copy ends where the latter begins, else it begins
    where the former ends. What an alignment or a page leaves over on the other side must not be written to.
    """
    inside = -(-size // PAGE) * PAGE
    with mmap.mmap(-1, inside + 2 * PAGE) as memory:
        memory[PAGE : PAGE + inside] = bytes([UNTOUCHED]) * inside
        first = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + PAGE
        before = (inside - size) // aligned * aligned if at_end else 0
        ctypes.memmove(first + before, address, size)
        protect(first - PAGE)
        protect(first + inside)
        yield first + before
        held = memory[PAGE : PAGE + inside]
        ctypes.memmove(address, held[before : before + size], size)
        beside = held[:before] + held[before + size :]
        assert beside.count(UNTOUCHED) == len(beside), "a number beside an array was written to"


class Guard:
    """While it is entered, all kernels are called with arrays beside pages that are not mapped.

    at_end  whether arrays end or begin there
    short   the name of an array that is given one number less than it has
    seen    the kinds of operations, the rules and the features of the kernels that were called
    """

    def __init__(self, at_end: bool, short: str | None) -> None:
        self.at_end, self.short = at_end, short
        self.seen: set[str] = set()
        self._counts: dict[int, int] = {}  # how many numbers of data begin at an address

    @contextmanager
    def entered(self) -> Iterator[None]:
        begin, prepare, guard = KernelState.__init__, KernelState.prepare, self

        def begun(state, kernel, *about):
            begin(state, kernel, *about)
            kernel.run = partial(guard.run, state, kernel.run)

        def prepared(state, inputs, targets, *about):
            guard._counts |= {each.data_ptr(): each.numel() for each in (inputs, targets)}
            return prepare(state, inputs, targets, *about)

        with (
            mock.patch.multiple(KernelState, __init__=begun, prepare=prepared),
            mock.patch.object(call_table, "_run", in_turn),
            # Also those networks that sample lanes would train faster.
            mock.patch.object(kernel_runner, "_in_groups", lambda replicas, *about: replicas),
        ):
            yield

    def run(self, state: KernelState, kernel: Callable[..., None], *given: int) -> None:
        """Call a kernel of this state."""
        call, size = KernelArguments(*given), state.dtype.itemsize
        self._note(state)
        sizes = {INT32: 4, INT64: 8}
        counts = self._numbers(state, call)
        with ExitStack() as stack:
            moved = {}
            for name, kind in KINDS.items():
                if kind != COUNT:
                    each = sizes.get(kind, size)
                    aligned = each if kind in sizes or name in ANYWHERE else state.kernel.machine.bits // 8
                    count = max(counts[name] - (name == self.short), 0)
                    address = getattr(call, name)
                    moved[name] = stack.enter_context(beside_a_page(address, count * each, aligned, self.at_end))
            kernel(*call._replace(**moved))

    def _numbers(self, state: KernelState, call: KernelArguments) -> dict[str, int]:
        """How many numbers each array of a call has (see KernelArguments)."""
        spec, tiling, plan, networks = state.spec, state.tiling, state.spec.plan, state.width
        parameters, scratch = tiling.numbers * networks, tiling.lanes * tiling.chunks
        columns = call.steps * tiling.vectors_of(call.batch)
        own_order = spec.one_network or spec.per_replica_order
        return {
            "parameters": parameters + plan.statistic_count * networks,
            "gradients": tiling.parts * parameters,
            "states": state.states * parameters,
            "activations": tiling.activations * scratch,
            "activation_gradients": tiling.gradients * scratch,
            "inputs": self._counts[call.inputs],
            "targets": self._counts[call.targets],
            "shared_coefficients": call.steps * len(spec.shared_coefficients),
            "replica_coefficients": call.steps * len(spec.replica_coefficients) * networks,
            "loss_hyperparameters": len(spec.hyperparameters) * networks,
            "loss_constants": len(spec.loss.constants),
            "constants": sum(each.data.numel() for each in plan.numbers),
            "losses": call.steps * tiling.parts * networks,
            "outputs": columns * plan.outputs * tiling.lanes if spec.keeps_outputs else 0,
            "right_answers": call.steps * tiling.parts * len(spec.answers) * networks,
            "order": columns * (tiling.lanes if own_order else 1),
            "keys": call.steps * len(plan.masks) * 2 * networks,
            "sizes": 0 if plan.sizes is None else state.sizes.shape[1] * state.sizes.shape[2],
            "counters": 2 * LINE // 8,
        }

    def _note(self, state: KernelState) -> None:
        tiling, plan = state.tiling, state.spec.plan
        self.seen |= {op.kind for op in plan.graph.ops} | {stage.kind for stage in plan.stages}
        self.seen |= {element.kind for stage in plan.stages for element in stage.chain}
        self.seen |= {type(rule).__name__ for rule in chain(tiling.heads.values(), tiling.couplings.values())}
        self.seen |= {"samples" if state.spec.one_network else "networks", f"{tiling.lanes} lanes of {state.dtype}"}
        self.seen |= {"parts"} if tiling.parts > 1 else set()
        self.seen |= {"sizes"} if plan.sizes is not None else set()


def in_turn(table, whose) -> None:
    """Make the calls of a table (see call_table.CallTable), those of kernels with arrays beside pages."""
    for epoch in table:
        rows = iter(epoch.tolist())
        for state, count in whose:
            for _, (_, *given) in zip(range(count), rows, strict=False):
                if state is None:
                    ctypes.memmove(*given[:3])
                else:
                    state.run(KernelArguments(*given))


# ---- networks --------------------------------------------------------------------------------------------------------
def labels(samples: int) -> torch.Tensor:
    return torch.arange(samples) % 3


def with_everything(count, batch, samples, dtype):
    """A loss with weights of classes, clipping, masks, rates and orders per network, correct predictions, outputs."""
    x = torch.randn(samples, 3, dtype=torch.float64).to(dtype)
    of_classes = task("CrossEntropyLoss")
    weights = torch.linspace(0.5, 2.0, of_classes.outputs, dtype=dtype)
    both(
        lambda: of_task(of_classes, lamp.Tanh(), lamp.Dropout(0.3), dtype=dtype),
        lambda: lamp.CrossEntropyLoss(weight=weights),
        lambda parameters: lamp.Adam(parameters, lr=0.01 if count is None else torch.linspace(0.01, 0.02, count)),
        lambda: lamp.DataLoader((x, labels(samples)), batch, True, seed=1 if count is None else list(range(count))),
        count=count,
        epochs=2,
        clip_norm=0.1,
        metrics=["accuracy"],
        validation=(x[:5].clone(), labels(5)),
        tolerance=1e-10 if dtype is torch.float64 else 1e-3,
    )


def with_inputs(name):
    def train(count, batch, samples, dtype):
        _, inputs = test_compiled_inputs.NETWORKS[name]
        x = mapped(inputs(samples), lambda each: each.to(dtype) if each.is_floating_point() else each)
        test_compiled_inputs.trained_alike(name, count, x, labels(samples), batch, dtype)

    return train


def with_states(name):
    def train(count, batch, samples, dtype):
        (x, z), y = test_compiled_states.data(samples)
        both(
            lambda: test_compiled_states.NETWORKS[name]().to(dtype),
            lamp.CrossEntropyLoss,
            lambda parameters: lamp.SGD(parameters, lr=0.05),
            ((x.to(dtype), z.to(dtype)), y),
            count=count,
            epochs=2,
            batch_size=batch,
        )

    return train


def row(shape, make, batch=None, **more):
    """Layers for samples of this shape, in batches of `batch` samples, or of the usual ones."""

    def train(count, usual, samples, dtype):
        size = batch or usual
        trained_alike(shape, make, count, samples=2 * size + 3, batch=size, dtype=dtype, **more)

    return train


def measured_images(count, batch, samples, dtype):
    """A batch norm, whose running statistics measure the validation; in parts, where there are several columns."""
    shape, make = test_compiled_batch_norm.NETWORKS["images"]
    x = torch.randn(7, *shape, dtype=torch.float64).to(dtype)
    with mock.patch("lamp.compiler.tiling.PART", 1):
        trained_alike(shape, make, count, samples, batch, dtype, validation=(x, labels(7)))


def of_several_sizes(count, batch, samples, dtype):
    """Networks of different widths, one more than fill a vector."""
    sizes = test_population_sizes
    networks = [sizes.mlp(widths, dtype=dtype) for widths, _ in zip(cycle(sizes.WIDTHS), range(count), strict=False)]
    sizes.check(networks, "compiled", tolerance=1e-11 if dtype is torch.float64 else 1e-4)


NETWORKS = {
    **{f"windows: {name}": row(*WINDOWS[name]) for name in (
        "padded, strided, of two sizes", "groups, dilation, a long activation", "a slope for each channel",
        "dropout of channels", "dropout that keeps mean and variance", "random slopes", "largest, dilated",
        "mean without padding", "mean in unequal windows", "largest in unequal windows", "transposed, padded, strided",
        "borders mirrored, and a crop", "cubic norms of windows, the last beyond the border",
        "windows as columns, and an image of their sums",
        "divided by the channels beside", "other sizes, the nearest and a cubic",
    )},
    **{f"attention: {name}": row(test_compiled_attention.SHAPE, test_compiled_attention.NETWORKS[name]) for name in (
        "a layer, norm last", "a learned key and zeros", "causal", "repeated", "gates of features",
    )},
    **{f"norms: {name}": row(*test_compiled_norms.NETWORKS[name]) for name in (
        "layer", "groups", "each channel, tracked",
    )},
    **{f"inputs: {name}": with_inputs(name) for name in (
        "bags of indices", "a bilinear map", "padded sequences", "compared by the cosine along places",
        "compared by the largest difference",
    )},
    **{f"states: {name}": with_states(name) for name in (
        "LSTM, two layers both ways, projected", "GRUCell", "RNNCell",
    )},
    "batch norm, measured": measured_images,
    "batch norm of features": row(*test_compiled_batch_norm.NETWORKS["the data"]),
    "products of branches": row((4,), lambda: [
        test_compiled_branches.Gated(lamp.Linear(4, 5), lamp.Linear(4, 5)),
        test_compiled_branches.Joined(lamp.Identity(), lamp.Softmin(-1), lamp.Tanh()),
    ]),
    "wide": row((40,), lambda: [lamp.Linear(40, 64), lamp.LayerNorm(64), lamp.ReLU(), lamp.Linear(64, 48)]),
    "wide inputs": row((70,), lambda: [lamp.Linear(70, 5), lamp.Tanh()], 21),
    "few samples": row((9,), lambda: [lamp.Linear(9, 37), lamp.Tanh(), lamp.Linear(37, 18)], 2),
    "few inputs": row((2,), lambda: [lamp.Linear(2, 37), lamp.Tanh(), lamp.Linear(37, 5)], 1),
    "with everything": with_everything,
}  # fmt: skip
ALONE = ("FeatureMajor", "FewSamples", "FewInputs")  # what computes a stage of one network for a whole chunk


def wanted(kind: str) -> set[str]:
    """What must be among the kernels that are called."""
    found = {*RULES, *IN_CHAINS, "ByBatch", "BySample"}
    if kind == "networks":
        return found | {"networks", "sizes"}
    return found | {"samples", "parts", *ALONE} | ({"Products"} if host().products else set())


def main(kind: str, short: str | None = None) -> None:
    torch.set_num_threads(1)
    os.environ["LAMP_CACHE_DIR"] = "off"
    widths = [bits for bits in VECTOR_BITS if bits <= host().bits]
    networks = NETWORKS | ({"of several sizes": of_several_sizes} if kind == "networks" else {})
    forms = cycle([(bits, dtype) for dtype in (torch.float32, torch.float64) for bits in widths])
    guards = [Guard(at_end, short) for at_end in (True, False)]
    for (name, train), (bits, dtype) in zip(networks.items(), forms, strict=False):
        os.environ[FORCED] = str(bits)
        print(f"{name}, {bits} bits, {dtype}", flush=True)
        count, batch = (None, lanes(dtype) + 3) if kind == "samples" else (lanes(dtype) + 1, 5)
        for guard in guards:
            with guard.entered():
                train(count, batch, 2 * batch + 3, dtype)
        forget()
    for guard in guards:
        missing = wanted(kind) - guard.seen
        assert not missing, f"no network has {', '.join(sorted(missing))}"
    print("all within their arrays")


if __name__ == "__main__":
    main(*sys.argv[1:])
