"""Networks as graphs: what a trace contains, how it prints, and when two graphs are equal."""

import subprocess
import sys
import textwrap

import pytest
import torch

import lamp
from lamp.trees import leaves
from tests.cases.graphs import Residual
from tests.cases.modules import MODULES


def mlp(width=5, activation=lamp.Tanh, **options):
    return lamp.Sequential(lamp.Linear(4, width, **options), activation(), lamp.Linear(width, 3))


ACROSS_THE_BATCH = {
    "Softmax(dim=0) on (5, 3)",
    "LogSoftmax(0) on (5, 3)",
    "Flatten(0, -2) on (5, 3, 2, 4)",
    "Unflatten(0, [3, 2]) on (6, 5)",
}


@pytest.mark.parametrize("case", MODULES, ids=str)
def test_every_module_says_the_shape_of_its_outputs(case):
    module, x = case.make().double(), case.input()
    module.eval()
    if x.dim() < 2 or not case.batched:
        pytest.skip("a sample without a batch is not traced")
    expected = module(x)
    if case.name in ACROSS_THE_BATCH:
        with pytest.raises(lamp.NotTraceable, match="axis of the batch"):
            lamp.trace(module, x)
        return
    graph = lamp.trace(module, x, training=False)
    for (_, y), value in zip(leaves(expected), graph.outputs, strict=True):
        assert tuple(y.shape) == (*value.shape[: value.batch], x.shape[0], *value.shape[value.batch :])
        assert value.dtype == y.dtype
    assert graph.inputs[0].shape == tuple(x.shape[1:])


def test_a_graph_prints_as_a_listing():
    torch.manual_seed(0)
    body = lamp.Sequential(lamp.Linear(8, 8), lamp.ReLU())
    model = lamp.Sequential(
        lamp.Flatten(), lamp.Linear(6, 8), Residual(body), lamp.Dropout(0.1), body, lamp.Linear(8, 2), lamp.Softmax(-1)
    )
    assert str(lamp.trace(model, (32, 2, 3))) == textwrap.dedent(
        """\
        %0   input                           (2, 3)
        %1   Reshape(%0)                     (6)     0: Flatten(start_dim=1, end_dim=-1)
        %2   Affine(%1)                      (8)     1: Linear, weight p0 (8, 6), bias p1 (8)
        %3   Affine(%2)                      (8)     2.body.0: Linear, weight p2 (8, 8), bias p3 (8)
        %4   Elementwise(%3)                 (8)     2.body.1: ReLU()
        %5   Add(%2, %4)                     (8)     2: Residual
        %6   Mask(%5)                        (8)     3: Dropout(p=0.1)
        %7   Affine(%6)                      (8)     2.body.0: Linear, weight p2 (8, 8), bias p3 (8)
        %8   Elementwise(%7)                 (8)     2.body.1: ReLU()
        %9   Affine(%8)                      (2)     5: Linear, weight p4 (2, 8), bias p5 (2)
        %10  Softmax(%9, axis=0, log=False)  (2)     6: Softmax(dim=-1)
        return %10"""
    )


def test_what_a_graph_knows():
    model = mlp()
    graph = lamp.trace(model, torch.zeros(7, 4))
    assert [op.kind for op in graph.ops] == ["Affine", "Elementwise", "Affine"]
    assert [op.path for op in graph.ops] == ["0", "1", "2"]
    assert graph.parameters == model.parameters()
    assert graph.multiplications == 4 * 5 + 5 * 3
    assert graph.users(graph.ops[0].output) == [graph.ops[1]]
    assert graph.ops[1].module is model[1]


def test_equal_graphs_compute_the_same():
    def digest(model, x=(9, 4), **options):
        return lamp.trace(model, x, **options).digest

    base = digest(mlp())
    assert base == digest(mlp()) == digest(mlp(), (3, 4)) == digest(lamp.population(mlp(), range(3)))
    assert lamp.trace(mlp(), (9, 4)) == lamp.trace(mlp(), (9, 4))
    assert len({lamp.trace(mlp(), (9, 4)), lamp.trace(mlp(), (9, 4)), lamp.trace(mlp(6), (9, 4))}) == 2
    shared = mlp(4)
    layer = lamp.Linear(4, 4)
    different = [
        mlp(6),
        mlp(activation=lamp.ReLU),
        mlp(bias=False),
        mlp().double(),
        mlp(activation=lambda: lamp.LeakyReLU(0.1)),
        mlp(activation=lambda: lamp.LeakyReLU(0.2)),
        lamp.Sequential(layer, layer, shared[2]),
        lamp.Sequential(lamp.Linear(4, 4), layer, shared[2]),
        mlp(activation=lambda: lamp.Dropout(0.1)),
    ]
    digests = [base, *map(digest, different)]
    assert len(set(digests)) == len(digests)
    noisy = mlp(activation=lambda: lamp.Dropout(0.1))
    assert digest(noisy, training=False) != digest(noisy)


def test_formulas_of_ones_own_are_part_of_it():
    def one(factor):
        class Scaled(lamp.Activation):
            remembers = "x"

            def sigma(self, x):
                return x * 2.0 if factor == 2 else x * 3.0

            def dsigma(self, x, y):
                return x * 0.0 + factor

        return Scaled

    class Twice(lamp.Activation):
        def sigma(self, x):
            return x + x

        def dsigma(self, x, y):
            return y * 0.0 + 2.0

    class Thrice(lamp.Activation):
        def sigma(self, x):
            return x + x + x

        def dsigma(self, x, y):
            return y * 0.0 + 3.0

    class Sine(Twice):  # as Cosine, but for the name of what it calls
        def sigma(self, x):
            return x.sin()

    class Cosine(Twice):
        def sigma(self, x):
            return x.cos()

    for kind in (Thrice, Sine, Cosine):
        kind.__qualname__ = Twice.__qualname__
    kinds = (one(2), one(3), Twice, Thrice, Sine, Cosine)
    digests = {lamp.trace(mlp(activation=kind), (2, 4)).digest for kind in kinds}
    assert len(digests) == 6


def test_a_digest_is_the_same_in_every_process():
    code = """
        import lamp
        print(lamp.trace(lamp.Sequential(lamp.Linear(4, 5), lamp.GELU(), lamp.Linear(5, 3)), (2, 4)).digest)
    """
    runs = [
        subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1] == lamp.trace(mlp(activation=lamp.GELU), (2, 4)).digest + "\n"


class TestRefusals:
    def test_a_module_that_does_not_say_what_it_does(self):
        class Square(lamp.Module):
            def forward(self, x):
                self.remember(x)
                return x * x

            def backward(self, dy):
                return 2 * self.recall() * dy

        with pytest.raises(lamp.NotTraceable, match=r"Sequential\.1: Square\(\): Square does not say"):
            lamp.trace(lamp.Sequential(lamp.Linear(4, 4), Square()), (2, 4))

    def test_a_forward_of_ones_own(self):
        class Clamped(lamp.ReLU):
            def forward(self, x):
                return super().forward(x).clamp(max=1.0)

        with pytest.raises(lamp.NotTraceable, match=r"Sequential\.0: Clamped\(\): it has its own forward"):
            lamp.trace(lamp.Sequential(Clamped()), (2, 4))
        model = mlp()
        model[1].forward = lambda x: x
        with pytest.raises(lamp.NotTraceable, match="own forward"):
            lamp.trace(model, (2, 4))

    def test_shapes_that_do_not_fit(self):
        with pytest.raises(lamp.ShapeError, match=r"Sequential\.2: Linear.*\n.*expected  \(B\.\.\., 6\)"):
            lamp.trace(lamp.Sequential(lamp.Linear(4, 5), lamp.ReLU(), lamp.Linear(6, 2)), (2, 4))
        with pytest.raises(lamp.ShapeError, match="nothing is broadcast"):
            lamp.trace(Residual(lamp.Linear(4, 5)), (2, 4))

    @pytest.mark.parametrize("x", [3, "x", None, (), (2, -1), torch.tensor(1.0)])
    def test_inputs_that_are_none(self, x):
        with pytest.raises(lamp.ArgumentError, match="trace takes batches"):
            lamp.trace(mlp(), x)

    def test_along_the_batch(self):
        with pytest.raises(lamp.NotTraceable, match="axis of the batch"):
            lamp.trace(lamp.Softmax(0), (2, 4))
