"""Losses of whole samples, of one or several outputs: torch's values and gradients, populations, errors, training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor

import lamp
from tests.cases.module_case import error

K, B, C = 3, 5, 4
D = torch.float64


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=D)


def labels(*shape: int) -> Tensor:
    return torch.randint(0, C, shape)


def listed(*shape: int) -> Tensor:
    """Rows of right classes, ended by -1 at different places."""
    rows = torch.stack([torch.randperm(C) for _ in range(shape[0])]) if len(shape) > 1 else torch.randperm(C)[None]
    ends = torch.randint(0, C + 1, (len(rows), 1))
    rows = torch.where(torch.arange(C) >= ends, -1, rows)
    return rows if len(shape) > 1 else rows[0]


@dataclass(frozen=True)
class Case:
    """A loss with options, and how the arguments of a call are drawn for any axes before those of a sample."""

    kind: str
    draw: Callable[..., tuple[Any, ...]]
    options: dict[str, Any]
    unbatched: bool = True

    def __str__(self) -> str:
        return f"{self.kind}({', '.join(f'{name}={value}' for name, value in self.options.items())})"

    def make(self, **more: Any) -> Any:
        return getattr(lamp, self.kind)(**self.options, **more).double()

    def make_torch(self, **more: Any) -> Any:
        own = {name: value for name, value in self.options.items() if name != "distance_function"}
        if self.options.get("distance_function"):
            own["distance_function"] = torch.nn.PairwiseDistance(p=1.0)
        return getattr(torch.nn, self.kind)(**own, **more).double()


WEIGHT = torch.tensor([0.5, 2.0, 1.0, 0.3], dtype=D)


def pair(*b: int) -> tuple[Any, ...]:
    return normal(*b, C), normal(*b, C), torch.where(torch.rand(b) > 0.5, 1.0, -1.0).to(D)


def triple(*b: int) -> tuple[Any, ...]:
    return normal(*b, C), normal(*b, C), normal(*b, C)


class ManhattanDistance(lamp.Module):
    """torch.nn.PairwiseDistance(p=1) with its backward."""

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        self.remember((x1 - x2 + 1e-6).sign())
        return (x1 - x2 + 1e-6).abs().sum(-1)

    def backward(self, dy: Tensor) -> tuple[Tensor, Tensor]:
        d = self.recall() * dy.unsqueeze(-1)
        return d, -d


CASES = [
    Case("MarginRankingLoss", lambda *b: (normal(*b), normal(*b), normal(*b).sign()), {}),
    Case("MarginRankingLoss", lambda *b: (normal(*b), normal(*b), normal(*b).sign()), {"margin": 0.7}),
    Case("MultiMarginLoss", lambda *b: (normal(*b, C), labels(*b)), {}),
    Case("MultiMarginLoss", lambda *b: (normal(*b, C), labels(*b)), {"p": 2, "margin": 0.4, "weight": WEIGHT}),
    Case("MultiLabelMarginLoss", lambda *b: (normal(*b, C), listed(*b, C)), {}),
    Case("MultiLabelSoftMarginLoss", lambda *b: (normal(*b, C), normal(*b, C).sign().clamp(min=0)), {}),
    Case("MultiLabelSoftMarginLoss", lambda *b: (normal(*b, C), torch.rand(*b, C).to(D)), {"weight": WEIGHT}),
    Case("CosineEmbeddingLoss", pair, {}),
    Case("CosineEmbeddingLoss", pair, {"margin": 0.3}),
    Case("TripletMarginLoss", triple, {}),
    Case("TripletMarginLoss", triple, {"margin": 0.2, "p": 1.0, "swap": True}),
    Case("TripletMarginLoss", triple, {"p": 3.0, "eps": 1e-3, "swap": True}),
    Case("TripletMarginWithDistanceLoss", triple, {}),
    Case("TripletMarginWithDistanceLoss", triple, {"swap": True, "distance_function": ManhattanDistance()}),
    Case("GaussianNLLLoss", lambda *b: (normal(*b, C), normal(*b, C), torch.rand(*b, C).to(D) + 0.1), {}),
    Case(
        "GaussianNLLLoss",
        lambda *b: (normal(*b, C), normal(*b, C), torch.rand(*b, 1).to(D)),
        {"full": True, "eps": 0.2},
    ),
]
TARGETS = {"GaussianNLLLoss": 1, "TripletMarginLoss": 9, "TripletMarginWithDistanceLoss": 9}  # which argument it is


def differentiable(case: Case, arguments: tuple[Any, ...]) -> list[int]:
    target = TARGETS.get(case.kind, len(arguments) - 1)
    return [k for k in range(len(arguments)) if k != target]


def check(case: Case, criterion: Any, twin: Any, arguments: tuple[Any, ...], dloss: Tensor | None) -> None:
    variables = [
        each.clone().requires_grad_() if k in differentiable(case, arguments) else each
        for k, each in enumerate(arguments)
    ]
    exact = twin(*variables)
    loss = criterion(*arguments)
    assert error(loss, exact.detach()) < 1e-12
    upstream = torch.ones_like(exact) if dloss is None else dloss
    wanted = torch.autograd.grad(exact, [variables[k] for k in differentiable(case, arguments)], upstream)
    found = criterion.backward() if dloss is None else criterion.backward(dloss)
    found = [each for each in found if each is not None] if isinstance(found, tuple) else [found]
    assert len(found) == len(wanted)
    for own, autograd in zip(found, wanted, strict=True):
        assert error(own, autograd) < 1e-11


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("case", CASES, ids=str)
class TestBesideTorch:
    def test_a_batch(self, case, reduction):
        criterion, twin = case.make(reduction=reduction), case.make_torch(reduction=reduction)
        for _ in range(5):
            arguments = case.draw(B)
            dloss = torch.randn_like(twin(*arguments))
            check(case, criterion, twin, arguments, dloss)

    def test_a_single_sample(self, case, reduction):
        if case.kind in ("MarginRankingLoss", "GaussianNLLLoss"):
            pytest.skip("elementwise: any shape is a batch")
        criterion, twin = case.make(reduction=reduction), case.make_torch(reduction=reduction)
        arguments = case.draw()
        check(case, criterion, twin, arguments, torch.randn_like(twin(*arguments)))

    def test_replicas_of_a_population(self, case, reduction):
        """Each replica's loss and gradient are those alone."""
        criterion, alone = case.make(reduction=reduction), case.make(reduction=reduction)
        each = [case.draw(B) for _ in range(K)]
        together = [torch.stack(column) for column in zip(*each, strict=True)]
        together = [lamp.per_replica(x) for x in together]
        loss = criterion(*together)
        dloss = torch.randn_like(loss)
        found = criterion.backward(dloss)
        for k in range(K):
            assert error(loss[k], alone(*each[k])) < 1e-12
            wanted = alone.backward(dloss[k])
            pairs = zip(found, wanted, strict=True) if isinstance(found, tuple) else [(found, wanted)]
            for own, single in pairs:
                assert (own is None) == (single is None)
                if own is not None:
                    assert error(own[k], single) < 1e-11

    def test_outputs_as_a_tuple(self, case, reduction):
        outputs = len(differentiable(case, case.draw(B)))
        if outputs == 1:
            pytest.skip("one output")
        criterion = case.make(reduction=reduction)
        arguments = case.draw(B)
        loss = criterion(*arguments)
        dloss = torch.randn_like(loss)
        one_by_one = [each for each in criterion.backward(dloss) if each is not None]
        kept = differentiable(case, arguments)
        rest = [each for k, each in enumerate(arguments) if k not in kept]
        assert torch.equal(criterion(tuple(arguments[k] for k in kept), *rest), loss)
        in_a_tuple = criterion.backward(dloss)
        assert len(in_a_tuple) == outputs
        assert all(torch.equal(one, other) for one, other in zip(one_by_one, in_a_tuple, strict=True))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_arguments_are_not_changed(case):
    arguments = case.draw(B)
    before = [each.clone() for each in arguments]
    criterion = case.make()
    criterion(*arguments)
    criterion.backward()
    assert all(torch.equal(one, other) for one, other in zip(arguments, before, strict=True))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_repr_state_and_defaults_are_torchs(case):
    if "distance_function" in case.options:
        return
    assert list(case.make().state_dict()) == list(case.make_torch().state_dict())
    for name in ("margin", "p", "eps", "swap", "full", "reduction"):
        if hasattr(case.make_torch(), name):
            assert getattr(case.make(), name) == getattr(case.make_torch(), name)
    lamp.to_torch(case.make())
    if case.kind != "TripletMarginWithDistanceLoss":  # torch's has a module of its own for the distance
        lamp.from_torch(case.make_torch())


@given(seed=st.integers(0, 10**6), batch=st.integers(1, 6), reduction=st.sampled_from(["mean", "sum"]))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_batches_of_any_size(case, seed, batch, reduction):
    torch.manual_seed(seed)
    check(case, case.make(reduction=reduction), case.make_torch(reduction=reduction), case.draw(batch), None)


# ---- training --------------------------------------------------------------------------------------------------------
class TwoHeads(lamp.Module):
    """A network with a mean and a variance, or two embeddings."""

    def __init__(self, second):
        self.body, self.one, self.other = (
            lamp.Linear(2, 6),
            lamp.Linear(6, 1),
            lamp.Sequential(lamp.Linear(6, 1), second),
        )

    def forward(self, x):
        h = self.body(x)
        return self.one(h), self.other(h)

    def backward(self, done, dother):
        return self.body.backward(self.one.backward(done) + self.other.backward(dother))


def test_fit_with_a_mean_and_a_variance():
    torch.manual_seed(0)
    model = TwoHeads(lamp.Softplus())
    x = torch.randn(128, 2)
    y = x.sum(1, keepdim=True) + 0.1 * torch.randn(128, 1)
    history = lamp.fit(
        model, lamp.GaussianNLLLoss(), lamp.Adam(model.parameters(), lr=0.02), (x, y), epochs=30, batch_size=32
    )
    assert history["loss"][-1] < history["loss"][0] - 0.5
    assert history.engine == "eager"


def test_fit_with_labels():
    torch.manual_seed(0)
    for criterion in (lamp.MultiMarginLoss(), lamp.MultiMarginLoss(p=2, weight=torch.tensor([1.0, 2.0]))):
        model = lamp.Sequential(lamp.Linear(2, 8), lamp.Tanh(), lamp.Linear(8, 2))
        x = torch.randn(128, 2)
        data = (x, (x.sum(1) > 0).long())
        optimizer = lamp.Adam(model.parameters(), lr=0.02)
        history = lamp.fit(model, criterion, optimizer, data, epochs=10, batch_size=32, metrics=["accuracy"])
        assert history["accuracy"][-1] > 0.9
        with pytest.raises(lamp.ArgumentError, match="compiled"):
            lamp.fit(model, criterion, optimizer, data, epochs=1, engine="compiled")


def test_losses_that_are_no_formula_are_not_compiled():
    model = lamp.Sequential(lamp.Linear(2, 3))
    x = torch.randn(8, 2)
    for criterion in (lamp.MultiLabelSoftMarginLoss(), lamp.MultiLabelSoftMarginLoss(torch.ones(3))):
        optimizer = lamp.SGD(model.parameters(), lr=0.1)
        with pytest.raises(lamp.ArgumentError, match="MultiLabelSoftMarginLoss"):
            lamp.fit(model, criterion, optimizer, (x, torch.ones(8, 3)), epochs=1, engine="compiled")


@pytest.mark.compiled
@pytest.mark.parametrize("kind", ["SoftMarginLoss", "HingeEmbeddingLoss", "PoissonNLLLoss"])
def test_elementwise_ones_compile(kind):
    losses = []
    for engine in ("eager", "compiled"):
        torch.manual_seed(0)
        model = lamp.Sequential(lamp.Linear(2, 5), lamp.Tanh(), lamp.Linear(5, 1)).double()
        x = torch.randn(64, 2, dtype=D)
        target = x[:, :1].sign() if kind != "PoissonNLLLoss" else (x[:, :1] * 2).exp().round()
        criterion = getattr(lamp, kind)()
        optimizer = lamp.SGD(model.parameters(), lr=0.01)
        history = lamp.fit(model, criterion, optimizer, (x, target), epochs=5, batch_size=16, engine=engine)
        assert history.engine == engine
        losses.append(torch.as_tensor(history["loss"]))
    torch.testing.assert_close(*losses, rtol=1e-10, atol=0)


# ---- a linear layer within the loss ----------------------------------------------------------------------------------
def test_a_linear_layer_within_the_loss():
    """The same as a network that ends in that layer, in training too; the compiled engine says that it cannot."""
    torch.manual_seed(0)
    body, criterion = lamp.Sequential(lamp.Linear(2, 6), lamp.Tanh()), lamp.LinearCrossEntropyLoss(6, 3, bias=True)
    whole = lamp.Sequential(lamp.Linear(2, 6), lamp.Tanh(), lamp.Linear(6, 3))
    whole[0].load_state_dict(body[0].state_dict())
    whole[2].load_state_dict(criterion.linear.state_dict())
    x = torch.randn(64, 2)
    data = (x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long())
    optimizer = lamp.SGD([*body.parameters(), *criterion.parameters()], lr=0.1)
    history = lamp.fit(body, criterion, optimizer, data, epochs=5, batch_size=16, shuffle=False)
    other = lamp.SGD(whole.parameters(), lr=0.1)
    expected = lamp.fit(
        whole, lamp.CrossEntropyLoss(), other, data, epochs=5, batch_size=16, shuffle=False, engine="eager"
    )
    torch.testing.assert_close(torch.as_tensor(history["loss"]), torch.as_tensor(expected["loss"]), rtol=1e-5, atol=0)
    torch.testing.assert_close(criterion.linear.weight.data, whole[2].weight.data, rtol=1e-4, atol=1e-6)
    with pytest.raises(lamp.ArgumentError, match="compiled"):
        lamp.fit(body, criterion, optimizer, data, epochs=1, engine="compiled")
    alone = lamp.SGD(body.parameters(), lr=0.1)
    with pytest.raises(lamp.ArgumentError, match="LinearCrossEntropyLoss"), pytest.warns(lamp.TrainingWarning):
        lamp.fit(body, criterion, alone, data, epochs=1, engine="compiled")


# ---- errors ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: lamp.MultiMarginLoss()(normal(B, C), torch.full((B,), C)), lamp.LabelError, "0 to 3"),
        (lambda: lamp.MultiMarginLoss()(normal(B, C), labels(B, 1)), lamp.ShapeError, r"\(5,\)"),
        (lambda: lamp.MultiMarginLoss()(normal(B, C), normal(B)), lamp.DTypeError, "int64"),
        (lambda: lamp.MultiMarginLoss(p=3), lamp.ArgumentError, "1 or 2"),
        (lambda: lamp.MultiMarginLoss(weight=WEIGHT[:2])(normal(B, C), labels(B)), lamp.ShapeError, "weight"),
        (lambda: lamp.MultiLabelMarginLoss()(normal(B, C), torch.full((B, C), -2)), lamp.LabelError, "-2"),
        (lambda: lamp.CosineEmbeddingLoss()(normal(B, C), normal(B, 2), normal(B)), lamp.ShapeError, "differ"),
        (lambda: lamp.CosineEmbeddingLoss()(normal(B, C), normal(B, C)), lamp.ArgumentError, "2 outputs and a target"),
        (
            lambda: lamp.TripletMarginLoss()(normal(B, C), normal(B, C)),
            lamp.ArgumentError,
            "anchor, positive, negative",
        ),
        (lambda: lamp.TripletMarginLoss(margin=0.0), lamp.ArgumentError, "margin"),
        (lambda: lamp.TripletMarginWithDistanceLoss(distance_function=torch.dist), lamp.ArgumentError, "backward"),
        (lambda: lamp.GaussianNLLLoss()(normal(B), normal(B), -torch.ones(B, dtype=D)), lamp.ArgumentError, "negative"),
        (lambda: lamp.GaussianNLLLoss()(normal(B, C), normal(B, C), normal(B, 2).abs()), lamp.ShapeError, "variance"),
        (lambda: lamp.MarginRankingLoss()("a", normal(B), normal(B)), lamp.DTypeError, "tensor"),
        (lambda: lamp.LinearCrossEntropyLoss(6, 3, weight=WEIGHT), lamp.ShapeError, r"\(3,\)"),
    ],
)
def test_what_does_not_fit_is_told(call, kind, words):
    with pytest.raises(kind, match=words) as caught:
        call()
    assert caught.value.fix


@pytest.mark.parametrize("kind", ["TripletMarginLoss", "TripletMarginWithDistanceLoss"])
def test_of_two_equal_distances_each_gets_half_of_the_gradient(kind):
    """With swap, where anchor and positive are the same vector."""
    anchor, negative = normal(B, C), normal(B, C)
    leaves = [each.clone().requires_grad_() for each in (anchor, anchor, negative)]
    twin, criterion = (getattr(package, kind)(margin=9.0, swap=True) for package in (torch.nn, lamp))
    twin(*leaves).backward()
    criterion(anchor, anchor, negative)
    for own, leaf in zip(criterion.backward(), leaves, strict=True):
        assert error(own, leaf.grad) < 1e-12


def test_classes_after_the_first_minus_one_do_not_count():
    output, target = normal(2, C), torch.tensor([[1, -1, 2, 3], [0, 3, -1, 1]])
    leaf = output.clone().requires_grad_()
    loss = torch.nn.MultiLabelMarginLoss()(leaf, target)
    loss.backward()
    criterion = lamp.MultiLabelMarginLoss()
    assert error(criterion(output, target), loss.detach()) < 1e-12
    assert error(criterion.backward(), leaf.grad) < 1e-12
