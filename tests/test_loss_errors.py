"""Errors of losses say what was wrong, expected and given, and the fix; nothing is broadcast silently."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import lamp.losses
from lamp.errors import (
    ArgumentError,
    DeviceError,
    DTypeError,
    LabelError,
    LampError,
    NonFiniteError,
    ShapeError,
)
from lamp.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    KLDivLoss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from tests.cases.losses import CLASSES, ELEMENTWISE, LOSSES

KINDS = sorted({case.kind for case in LOSSES})
PAIRS = sorted({case.kind for case in ELEMENTWISE})
WITH_LABELS = [case for case in CLASSES if not case.target().is_floating_point()]


def told(kind, run, *words):
    """Check that the call raises this error, and that the message has all its parts."""
    with pytest.raises(kind) as caught:
        run()
    text = str(caught.value)
    assert type(caught.value) is kind
    assert all(f"\n  {label}" in text for label in ("expected", "got", "fix")), text
    assert all(str(word) in text for word in words), text
    return caught.value


def loss(kind, **options):
    return getattr(lamp.losses, kind)(**options)


# ---- arguments -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reduction", ["Mean", "average", None, "batchmean"])
def test_an_unknown_reduction(kind, reduction):
    if (kind, reduction) != ("KLDivLoss", "batchmean"):
        told(ArgumentError, lambda: loss(kind, reduction=reduction), kind, repr(reduction), "'mean' or")


@pytest.mark.parametrize("label_smoothing", [-0.1, 1.1, math.nan])
def test_label_smoothing(label_smoothing):
    told(ArgumentError, lambda: CrossEntropyLoss(label_smoothing=label_smoothing), label_smoothing, "from 0")


def test_bounds():
    for delta in (0.0, -1.0, math.nan):
        told(ArgumentError, lambda delta=delta: HuberLoss(delta=delta), "delta > 0", delta)
    for beta in (-1.0, math.nan):
        told(ArgumentError, lambda beta=beta: SmoothL1Loss(beta=beta), "beta >= 0", beta)


@pytest.mark.parametrize("kind", ["CrossEntropyLoss", "NLLLoss", "BCELoss", "BCEWithLogitsLoss"])
def test_weights_that_are_no_tensor_of_numbers(kind):
    for weight, got in (([1.0, 2.0], "list"), (np.ones(2), "ndarray"), (torch.tensor([1, 2]), "torch.int64")):
        told(DTypeError, lambda weight=weight: loss(kind, weight=weight), "weight", got)
    told(DTypeError, lambda: BCEWithLogitsLoss(pos_weight=3.0), "pos_weight", "float")


def test_class_weights_have_one_axis():
    for shape in ((), (2, 3), (1, 3)):
        told(ShapeError, lambda shape=shape: CrossEntropyLoss(weight=torch.ones(shape)), "(C)", shape)


@pytest.mark.parametrize("kind", ["CrossEntropyLoss", "NLLLoss"])
@pytest.mark.parametrize("length", [3, 5])
def test_class_weights_of_another_length(kind, length):
    criterion = loss(kind, weight=torch.ones(length))
    told(ShapeError, lambda: criterion(torch.randn(7, 4), torch.zeros(7, dtype=torch.long)), "(4,)", (length,))


def test_class_weights_of_another_length_against_probabilities():
    criterion = CrossEntropyLoss(weight=torch.ones(3))
    told(ShapeError, lambda: criterion(torch.randn(7, 4), torch.rand(7, 4)), "(4,)", "(3,)")


@pytest.mark.parametrize("kind", ["BCELoss", "BCEWithLogitsLoss"])
@pytest.mark.parametrize("shape", [(4,), (3, 1), (2, 7, 3), (7,)])
def test_weights_that_do_not_broadcast_to_the_output(kind, shape):
    told(ShapeError, lambda: loss(kind, weight=torch.ones(shape))(torch.rand(7, 3), torch.rand(7, 3)), "(7, 3)", shape)


def test_weights_of_another_dtype():
    weight = torch.ones(4, dtype=torch.float64)
    told(
        DTypeError,
        lambda: CrossEntropyLoss(weight=weight)(torch.randn(7, 4), torch.zeros(7, dtype=torch.long)),
        "torch.float32", "torch.float64", "criterion.to(torch.float32)",
    )  # fmt: skip
    for options in ({"weight": weight}, {"pos_weight": weight}):
        criterion = BCEWithLogitsLoss(**options)
        told(DTypeError, lambda c=criterion: c(torch.rand(7, 4), torch.rand(7, 4)), next(iter(options)), "float64")


# ---- pairs, element by element ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("kind", PAIRS)
class TestPairs:
    def test_nothing_is_broadcast(self, kind, reduction):
        criterion = loss(kind, reduction=reduction)
        for a, b in (((7, 1), (7,)), ((7,), (7, 1)), ((7, 3), (3,)), ((7, 3), (7, 1)), ((7, 3), ()), ((7, 3), (3, 7))):
            told(ShapeError, lambda a=a, b=b: criterion(torch.rand(a), torch.rand(b)), a, b, "nothing is broadcast")

    def test_the_fix_of_a_column(self, kind, reduction):
        criterion = loss(kind, reduction=reduction)
        told(ShapeError, lambda: criterion(torch.rand(7, 1), torch.rand(7)), "target.unsqueeze(-1)")
        told(ShapeError, lambda: criterion(torch.rand(7), torch.rand(7, 1)), "target.squeeze(-1)")

    def test_dtypes(self, kind, reduction):
        criterion = loss(kind, reduction=reduction)
        x = torch.rand(7, 3)
        told(DTypeError, lambda: criterion(x, x.double()), "torch.float32", "torch.float64", "target.to(torch.float32)")
        told(
            DTypeError,
            lambda: criterion(x, torch.ones(7, 3, dtype=torch.long)),
            "torch.int64",
            "target.to(torch.float32)",
        )
        whole = torch.ones(7, 3, dtype=torch.long)
        told(DTypeError, lambda: criterion(whole, whole), "torch.int64")
        told(DTypeError, lambda: criterion(x.cfloat(), x.cfloat()), "complex64")  # type: ignore[attr-defined]

    def test_no_tensors(self, kind, reduction):
        criterion = loss(kind, reduction=reduction)
        x = torch.rand(3)
        told(DTypeError, lambda: criterion(x, [0.0, 0.5, 1.0]), "target", "list", "as_tensor")
        told(DTypeError, lambda: criterion(x.tolist(), x), "output", "list")
        told(DTypeError, lambda: criterion(x, x.numpy()), "target", "ndarray")
        told(DTypeError, lambda: criterion(x, None), "target", "NoneType")
        told(DTypeError, lambda: criterion(0.5, 0.5), "output", "float")

    def test_an_empty_batch(self, kind, reduction):
        told(ShapeError, lambda: loss(kind, reduction=reduction)(torch.rand(0, 3), torch.rand(0, 3)), "empty", (0, 3))

    def test_devices(self, kind, reduction):
        criterion = loss(kind, reduction=reduction)
        told(DeviceError, lambda: criterion(torch.rand(7, 3), torch.rand(7, 3, device="meta")), "cpu", "meta")


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
class TestProbabilities:
    @pytest.mark.parametrize("kind", ["BCELoss", "BCEWithLogitsLoss"])
    @pytest.mark.parametrize("bad", [-1.0, 1.5, 2.0, -1e-6, math.inf])
    def test_targets(self, kind, bad, reduction):
        target = torch.rand(7, 3)
        target[4, 2] = bad
        criterion = loss(kind, reduction=reduction)
        told(LabelError, lambda: criterion(torch.rand(7, 3), target), "target", "from 0 to 1", f"{bad:g} at (4, 2)")
        target[5, 1] = 7.0
        told(LabelError, lambda: criterion(torch.rand(7, 3), target), "and 1 others")

    @pytest.mark.parametrize("kind", ["BCELoss", "BCEWithLogitsLoss"])
    def test_a_target_that_is_nan(self, kind, reduction):
        target = torch.rand(7, 3)
        target[4, 2] = math.nan
        told(NonFiniteError, lambda: loss(kind, reduction=reduction)(torch.rand(7, 3), target), "nan at (4, 2)")

    @pytest.mark.parametrize("bad", [-0.5, 1.5, 1.0000001])
    @pytest.mark.parametrize("label", [0.0, 0.3, 1.0])
    def test_outputs(self, bad, label, reduction):
        output, target = torch.rand(7, 3), torch.rand(7, 3)
        output[4, 2], target[4, 2] = bad, label
        told(
            ArgumentError, lambda: BCELoss(reduction=reduction)(output, target),
            "output", "from 0 to 1", "(4, 2)", "BCEWithLogitsLoss",
        )  # fmt: skip


# ---- labels ----------------------------------------------------------------------------------------------------------
OPTIONS = [
    {}, {"reduction": "sum"}, {"reduction": "none"}, {"weight": torch.ones(4)}, {"ignore_index": 3},
    {"ignore_index": -1}, {"label_smoothing": 0.1}, {"label_smoothing": 0.1, "weight": torch.ones(4)},
]  # fmt: skip


def with_labels():
    for kind in ("CrossEntropyLoss", "NLLLoss"):
        for options in OPTIONS:
            if kind == "CrossEntropyLoss" or "label_smoothing" not in options:
                shown = ", ".join(f"{k}={tuple(v.shape) if k == 'weight' else v}" for k, v in options.items())  # type: ignore[attr-defined]
                yield pytest.param(loss(kind, **options), id=f"{kind}({shown})")


@pytest.mark.parametrize("criterion", list(with_labels()))
class TestLabels:
    @pytest.mark.parametrize("bad", [4, 7, -2, -(10**12), 2**40])
    def test_a_label_that_names_no_class(self, criterion, bad):
        target = torch.tensor([0, 1, 2, 1, 0])
        target[3] = bad
        told(
            LabelError, lambda: criterion(torch.randn(5, 4), target),
            f"label {bad} at (3,)", "from 0 to 3", "4 classes", f"ignore_index = {criterion.ignore_index}",
        )  # fmt: skip

    def test_its_place_among_many(self, criterion):
        target = torch.zeros(2, 5, 3, dtype=torch.long)
        target[1, 4, 2] = 4
        told(LabelError, lambda: criterion(torch.randn(2, 4, 5, 3), target), "label 4 at (1, 4, 2)", "for 5 classes")
        told(LabelError, lambda: criterion(torch.randn(4), torch.tensor(4)), "label 4 at ()")

    def test_beside_labels_to_ignore(self, criterion):
        target = torch.tensor([criterion.ignore_index, 0, 9])
        told(LabelError, lambda: criterion(torch.randn(3, 4), target), "label 9 at (2,)")

    def test_labels_that_count_from_one(self, criterion):
        target = torch.tensor([1, 2, 4, 1])
        told(LabelError, lambda: criterion(torch.randn(4, 4), target), "label 4 at (2,)", "subtract 1")

    def test_one_hot_integers(self, criterion):
        target = torch.nn.functional.one_hot(torch.tensor([0, 2, 3, 1, 1]), 4)
        told(LabelError, lambda: criterion(torch.randn(5, 4), target), "one-hot", "target.argmax(1)", (5,), (5, 4))

    def test_labels_as_floats(self, criterion):
        for target in (torch.zeros(5), torch.zeros(5, dtype=torch.float64), torch.zeros(5, dtype=torch.bool)):
            told(
                LabelError, lambda t=target: criterion(torch.randn(5, 4), t), "integers", target.dtype, "target.long()"
            )

    def test_shapes(self, criterion):
        pairs = [((5, 4), shape) for shape in ((5, 1), (6,), (4,), (1,), ())] + [((4,), (1,))]
        pairs += [((5, 4, 3), shape) for shape in ((5,), (5, 2), (3, 5))]
        for output, target in pairs:
            labels = torch.zeros(target, dtype=torch.long)
            told(ShapeError, lambda o=output, t=labels: criterion(torch.randn(o), t), output, target)
        told(ShapeError, lambda: criterion(torch.randn(5, 4), torch.zeros(5, 1, dtype=torch.long)), "target.squeeze(1)")

    def test_no_class_axis(self, criterion):
        told(ShapeError, lambda: criterion(torch.tensor(0.5), torch.tensor(0)), "axis of classes", "(N, C)")

    def test_an_empty_batch(self, criterion):
        told(ShapeError, lambda: criterion(torch.randn(0, 4), torch.zeros(0, dtype=torch.long)), "empty", (0, 4))

    def test_an_output_of_integers(self, criterion):
        target = torch.zeros(5, dtype=torch.long)
        told(DTypeError, lambda: criterion(torch.ones(5, 4, dtype=torch.long), target), "floating-point", "torch.int64")

    def test_no_tensors(self, criterion):
        told(DTypeError, lambda: criterion(torch.randn(3, 4), [0, 1, 2]), "target", "list", "as_tensor")
        told(DTypeError, lambda: criterion(torch.randn(3, 4), np.zeros(3, int)), "target", "ndarray")
        told(DTypeError, lambda: criterion([[0.0, 1.0]], torch.zeros(1, dtype=torch.long)), "output", "list")
        told(DTypeError, lambda: criterion(torch.randn(3, 4), None), "target", "NoneType")

    def test_devices(self, criterion):
        target = torch.zeros(5, dtype=torch.long, device="meta")
        told(DeviceError, lambda: criterion(torch.randn(5, 4), target), "cpu", "meta")

    def test_it_goes_on_after_an_error(self, criterion):
        output, target = torch.randn(5, 4), torch.tensor([0, 1, 2, 1, 0])
        before = criterion(output, target)
        with pytest.raises(LampError):
            criterion(output, target + 4)
        assert torch.equal(criterion(output, target), before)

    def test_every_label_ignored(self, criterion):
        target = torch.full((5,), criterion.ignore_index)
        if criterion.reduction == "mean":
            told(LabelError, lambda: criterion(torch.randn(5, 4), target), "no label", f"{criterion.ignore_index}")
        else:
            assert not criterion(torch.randn(5, 4), target).any()


def test_probabilities_of_another_shape_or_dtype():
    criterion, output = CrossEntropyLoss(), torch.randn(5, 4)
    for shape in ((4, 5), (5, 3), (1, 4), (5, 1)):
        told(ShapeError, lambda shape=shape: criterion(output, torch.rand(shape)), (5, 4), shape)
    told(DTypeError, lambda: criterion(output, torch.rand(5, 4).double()), "torch.float64", "target.to(torch.float32)")
    told(DeviceError, lambda: criterion(output, torch.rand(5, 4, device="meta")), "meta")
    told(ShapeError, lambda: criterion(torch.randn(0, 4), torch.rand(0, 4)), "empty")
    told(ShapeError, lambda: NLLLoss()(output, torch.rand(5, 4)), (5,), (5, 4))


# ---- backward --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", [case for case in LOSSES if case.output().dim() == 2], ids=str)
def test_what_backward_takes(case):
    criterion = case.make()
    pair = case.pair()

    def back(*dloss):
        criterion(*pair)
        return criterion.backward(*dloss)

    value = criterion(*pair)
    one = torch.ones((), dtype=torch.float64)
    if case.reduction == "none":
        told(ShapeError, back, "no argument", tuple(value.shape), "mean")
        told(ShapeError, lambda: back(one), tuple(value.shape), "()")
        told(ShapeError, lambda: back(value.unsqueeze(-1)), tuple(value.shape), (*value.shape, 1))
        told(ShapeError, lambda: back(value, value), " and ")
        told(ShapeError, lambda: back(value.float()), "torch.float32", "torch.float64")
        told(ShapeError, lambda: back(1.0), "float")
    else:
        told(ShapeError, lambda: back(torch.ones(pair[0].shape)), "one number", tuple(pair[0].shape))
        told(ShapeError, lambda: back(one, one), "one number")
        told(ShapeError, lambda: back(2.0), "float")


def test_errors_name_the_loss_and_where_it_stands():
    model = lamp.Sequential(lamp.Linear(3, 2), MSELoss())
    with pytest.raises(ShapeError) as caught:
        model(torch.randn(7, 3), torch.randn(7))
    assert str(caught.value).startswith("Sequential.1: MSELoss(): output and target differ in shape")
    with pytest.raises(ShapeError) as caught:
        KLDivLoss()(torch.randn(7, 3), torch.rand(7))
    assert str(caught.value).startswith("KLDivLoss(): ")


def test_errors_are_also_the_builtin_ones():
    with pytest.raises(ValueError, match="label is out of range"):
        CrossEntropyLoss()(torch.randn(2, 3), torch.tensor([0, 3]))
    with pytest.raises(TypeError, match="differ in dtype"):
        MSELoss()(torch.randn(2), torch.tensor([0, 3]))
    with pytest.raises(ArithmeticError, match="not finite"):
        MSELoss()(torch.tensor([math.nan]), torch.zeros(1))


class TestSetAfterwards:
    """A hyperparameter set after construction is checked as the constructor does it, and holds."""

    def test_hyperparameters_set_afterwards_are_used(self):
        output, labels = torch.randn(5, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 3, 0])
        criterion = CrossEntropyLoss()
        criterion.reduction, criterion.label_smoothing, criterion.ignore_index = "sum", np.float32(0.25), np.int64(3)
        criterion.weight = torch.tensor([1.0, 2.0, 3.0, 4.0])
        made = CrossEntropyLoss(torch.tensor([1.0, 2.0, 3.0, 4.0]), 3, "sum", 0.25)
        assert torch.equal(criterion(output, labels), made(output, labels))
        assert criterion.state_dict().keys() == made.state_dict().keys()
        criterion.weight = None
        assert torch.equal(criterion(output, labels), CrossEntropyLoss(None, 3, "sum", 0.25)(output, labels))

    @pytest.mark.parametrize(
        ("make", "name", "bad"),
        [
            (CrossEntropyLoss, "reduction", "avg"),
            (CrossEntropyLoss, "reduction", None),
            (CrossEntropyLoss, "label_smoothing", "0.1"),
            (CrossEntropyLoss, "label_smoothing", None),
            (CrossEntropyLoss, "label_smoothing", [0.1]),
            (CrossEntropyLoss, "label_smoothing", True),
            (CrossEntropyLoss, "label_smoothing", torch.tensor([0.1, 1.5])),
            (CrossEntropyLoss, "ignore_index", 1.5),
            (CrossEntropyLoss, "ignore_index", "x"),
            (CrossEntropyLoss, "ignore_index", None),
            (CrossEntropyLoss, "weight", torch.ones(2, 2)),
            (CrossEntropyLoss, "weight", [1.0, 2.0]),
            (BCEWithLogitsLoss, "pos_weight", 3.0),
            (HuberLoss, "delta", 0.0),
            (HuberLoss, "delta", "1"),
            (SmoothL1Loss, "beta", -1.0),
            (SmoothL1Loss, "beta", torch.tensor([0.0, 1.0])),
            (KLDivLoss, "log_target", 1),
            (MSELoss, "reducton", "sum"),
            (CrossEntropyLoss, "smoothing", 0.1),
        ],
        ids=str,
    )
    def test_what_is_refused(self, make, name, bad):
        criterion = make()
        before = dict(vars(criterion))
        with pytest.raises(LampError, match=name):
            setattr(criterion, name, bad)
        assert vars(criterion) == before
        if name not in ("reducton", "smoothing"):
            with pytest.raises(LampError):
                make(**{name: bad})

    def test_a_loss_of_ones_own_keeps_what_it_likes(self):
        class Mine(MSELoss):
            def __init__(self):
                super().__init__()
                self.anything = "here"

        criterion = Mine()
        criterion.more = 3
        assert (criterion.anything, criterion.more) == ("here", 3)  # type: ignore[attr-defined]
