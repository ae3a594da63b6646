"""lamp.metrics has the values of torchmetrics and scikit-learn, for any division into batches, per replica.

torchmetrics divides counts in float32; scikit-learn is exact to the last digits.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import sklearn.metrics as exact
import torch
import torchmetrics.functional as theirs
import torchmetrics.functional.classification as of_classes
from hypothesis import given, settings
from hypothesis import strategies as st

import lamp
from lamp import metrics

CLASSES, ROUNDED = 5, 1e-6
SIZES = (1, 2, 3, 17, 64)


# ---- data: outputs and targets of n samples --------------------------------------------------------------------------
def labels(n, generator):
    """Of five classes one never occurs, and another one is never a label."""
    return torch.tensor([0, 1, 3])[torch.randint(0, 3, (n,), generator=generator)]


def scores(n, generator, *more):
    drawn = torch.randn(n, CLASSES, *more, generator=generator, dtype=torch.float64)
    drawn[:, 2] -= 9.0
    return drawn


def some_ignored(target, generator, ignored=-100):
    return target.where(torch.rand(target.shape, generator=generator) > 0.3, ignored)


def plain(n, generator):
    return scores(n, generator), labels(n, generator)


def ignoring(n, generator):
    return scores(n, generator), some_ignored(labels(n, generator), generator)


def ignoring_a_class(n, generator):
    return scores(n, generator), labels(n, generator)


def sequences(n, generator):
    return scores(n, generator, 3), some_ignored(labels(3 * n, generator).view(n, 3), generator)


def tied(n, generator):
    return scores(n, generator).mul(2).round(), labels(n, generator)


def probabilities(n, generator):
    """Probabilities of classes, many of them equal."""
    drawn = torch.randint(1, 4, (n, CLASSES), generator=generator).double()
    return drawn / drawn.sum(1, keepdim=True), labels(n, generator)


def two_classes(n, generator):
    return torch.randn(n, 2, generator=generator, dtype=torch.float64), torch.randint(0, 2, (n,), generator=generator)


def yes_or_no(n, generator):
    return torch.rand(n, generator=generator, dtype=torch.float64), torch.randint(0, 2, (n,), generator=generator)


def tied_yes_or_no(n, generator):
    output, target = yes_or_no(n, generator)
    return output.mul(4).round().div(4), target


def a_column(n, generator):
    output, target = yes_or_no(n, generator)
    return output.unsqueeze(1), target


def two_columns(n, generator):
    output, target = yes_or_no(n, generator)
    return output.unsqueeze(1), target.unsqueeze(1)


def ignoring_yes_or_no(n, generator):
    output, target = yes_or_no(n, generator)
    return output, some_ignored(target, generator, -1)


def questions(n, generator):
    """Four yes-or-no questions; one is never answered with yes."""
    target = torch.randint(0, 2, (n, 4), generator=generator)
    target[:, 1] = 0
    return torch.rand(n, 4, generator=generator, dtype=torch.float64), target


def ignoring_questions(n, generator):
    output, target = questions(n, generator)
    return output, some_ignored(target, generator, -1)


def numbers(n, generator, *more):
    output, target = torch.randn(2, n, *more, generator=generator, dtype=torch.float64)
    return output + target, 2.0 * target + 3.0


def pairs_of_numbers(n, generator):
    return numbers(n, generator, 2)


# ---- what each metric must give --------------------------------------------------------------------------------------
@dataclass
class Case:
    """A metric, data for it, an oracle, and the oracle's precision."""

    make: Callable[[], metrics.Metric]
    data: Callable
    oracle: Callable
    relative: float = 1e-10
    least: int = 1  # samples that the oracle needs


def kept(output, target, ignored):
    """The rows whose label is not ignored."""
    rows = output.movedim(1, -1).flatten(0, -2) if output.dim() > target.dim() else output.flatten()
    there = target.flatten() != ignored
    return rows[there], target.flatten()[there]


def by_sklearn(score, average, ignored=-100, threshold=None):
    def value(output, target):
        if threshold is not None and average not in ("binary", "micro"):
            return score(target, output > threshold, average=average, zero_division=0)
        rows, wanted = kept(output, target, ignored)
        answers = rows.argmax(1) if threshold is None else (rows > threshold).long()
        if average in ("micro", "binary") and threshold is not None:
            return score(wanted, answers, average="binary", pos_label=1, zero_division=0)
        which = range(CLASSES) if average is None else None
        return score(wanted, answers, average=average, labels=which, zero_division=0)

    return value


def by_torchmetrics(name, task, average, **options):
    function = getattr(of_classes, f"{task}_{name}")
    if task == "binary":
        return lambda output, target: function(output, target, **options)
    size = {"multiclass": {"num_classes": CLASSES}, "multilabel": {"num_labels": 4}}[task]
    return lambda output, target: function(output, target, average=average, **size, **options)


NAMES = {metrics.Precision: "precision", metrics.Recall: "recall", metrics.F1: "f1_score"}
SKLEARN = {metrics.Precision: exact.precision_score, metrics.Recall: exact.recall_score, metrics.F1: exact.f1_score}


def matrix(output, target, ignored=-100):
    rows, wanted = kept(output, target, ignored)
    return of_classes.multiclass_confusion_matrix(rows, wanted, num_classes=CLASSES)


def of_two(score):
    return lambda output, target: score(target, output.argmax(1), average="binary", zero_division=0)


def one_against_others(average, digits=16):
    """scikit-learn's area of each class that has others beside it, from probabilities rounded to some digits."""

    def value(output, target):
        rows, wanted = kept(output, target, -100)
        p = rows if bool((rows.sum(1) - 1.0).abs().max() < 1e-6) else rows.softmax(1).round(decimals=digits)
        areas, support = [], []
        for c in range(CLASSES):
            yes = (wanted == c).long()
            areas.append(exact.roc_auc_score(yes, p[:, c]) if 0 < yes.sum() < len(yes) else math.nan)
            support.append(int(yes.sum()))
        areas, support = torch.tensor(areas, dtype=torch.float64), torch.tensor(support)
        if average is None:
            return areas
        there = ~areas.isnan()  # type: ignore[attr-defined]
        weights = support[there].double() if average == "weighted" else torch.ones(int(there.sum())).double()
        return (areas[there] * weights).sum() / weights.sum()

    return value


def area(output, target, ignored=-1):
    rows, wanted = kept(output, target, ignored)
    return exact.roc_auc_score(wanted, rows) if 0 < wanted.sum() < len(wanted) else math.nan


def their_perplexity(output, target):
    output = output if output.dim() == 3 else output.unsqueeze(-1)
    target = target if target.dim() == 2 else target.unsqueeze(-1)
    return theirs.perplexity(output.movedim(1, -1), target, ignore_index=-100)


CASES = {
    "accuracy": Case(metrics.Accuracy, plain, by_torchmetrics("accuracy", "multiclass", "micro"), ROUNDED),
    "accuracy, tied": Case(metrics.Accuracy, tied, lambda o, t: (o.argmax(1) == t).double().mean()),
    "accuracy, ignored": Case(
        metrics.Accuracy,
        ignoring,
        lambda o, t: exact.accuracy_score(kept(o, t, -100)[1], kept(o, t, -100)[0].argmax(1)),
    ),
    "accuracy, sequences": Case(
        metrics.Accuracy, sequences, by_torchmetrics("accuracy", "multiclass", "micro", ignore_index=-100), ROUNDED
    ),
    "accuracy, yes or no": Case(
        lambda: metrics.Accuracy(0.5), yes_or_no, by_torchmetrics("accuracy", "binary", None), ROUNDED
    ),
    "top 2": Case(
        lambda: metrics.Accuracy(top_k=2), plain, by_torchmetrics("accuracy", "multiclass", "micro", top_k=2), ROUNDED
    ),
    "top 3, ignored": Case(
        lambda: metrics.Accuracy(top_k=3),
        ignoring,
        lambda o, t: exact.top_k_accuracy_score(kept(o, t, -100)[1], kept(o, t, -100)[0], k=3, labels=range(CLASSES)),
    ),
    "top 2, sequences": Case(
        lambda: metrics.Accuracy(top_k=2),
        sequences,
        lambda o, t: (o.topk(2, 1).indices == t.unsqueeze(1)).sum() / (t != -100).sum(),
        ROUNDED,
    ),
    "confusion matrix": Case(metrics.ConfusionMatrix, plain, matrix),
    "confusion matrix, ignored": Case(metrics.ConfusionMatrix, ignoring, matrix),
    "confusion matrix, sequences": Case(metrics.ConfusionMatrix, sequences, matrix),
    "confusion matrix, yes or no": Case(
        lambda: metrics.ConfusionMatrix(0.4, ignore_index=-1),
        ignoring_yes_or_no,
        lambda o, t: of_classes.binary_confusion_matrix(o, t, threshold=0.4, ignore_index=-1),
    ),
    "AUC": Case(metrics.AUC, yes_or_no, area),
    "AUC of torchmetrics": Case(metrics.AUC, yes_or_no, of_classes.binary_auroc, ROUNDED, least=17),
    "AUC, tied": Case(metrics.AUC, tied_yes_or_no, area),
    "AUC, ignored": Case(lambda: metrics.AUC(ignore_index=-1), ignoring_yes_or_no, area),
    "AUC of a column": Case(metrics.AUC, a_column, lambda o, t: area(o[:, 0], t)),
    "AUC of a column, both": Case(metrics.AUC, two_columns, lambda o, t: area(o[:, 0], t[:, 0])),
    "AUC of two classes": Case(metrics.AUC, two_classes, lambda o, t: area(o[:, 1] - o[:, 0], t)),
    "AUC of probabilities, tied": Case(metrics.AUC, probabilities, one_against_others("macro")),
    "AUC of logits, tied": Case(lambda: metrics.AUC("none"), tied, one_against_others(None, digits=12)),
    "AUC, none": Case(lambda: metrics.AUC("none"), plain, one_against_others(None)),
    "AUC, macro, ignored": Case(metrics.AUC, ignoring, one_against_others("macro")),
    "AUC, weighted": Case(lambda: metrics.AUC("weighted"), plain, one_against_others("weighted")),
    "AUC, sequences": Case(metrics.AUC, sequences, one_against_others("macro")),
    "mean absolute error": Case(metrics.MeanAbsoluteError, numbers, theirs.mean_absolute_error),
    "mean absolute error of pairs": Case(metrics.MeanAbsoluteError, pairs_of_numbers, theirs.mean_absolute_error),
    "mean squared error": Case(metrics.MeanSquaredError, numbers, theirs.mean_squared_error),
    "mean squared error of pairs": Case(metrics.MeanSquaredError, pairs_of_numbers, theirs.mean_squared_error),
    "R2": Case(metrics.R2, numbers, theirs.r2_score, least=2),
    "R2 of pairs": Case(metrics.R2, pairs_of_numbers, theirs.r2_score, least=2),
    "perplexity": Case(metrics.Perplexity, plain, their_perplexity),
    "perplexity, sequences": Case(metrics.Perplexity, sequences, their_perplexity),
    "perplexity, ignored": Case(metrics.Perplexity, ignoring, their_perplexity),
}
for kind, name in NAMES.items():
    for average in ("macro", "weighted", "micro", "none"):
        CASES |= {
            f"{name}, {average}": Case(
                lambda kind=kind, average=average: kind(average),
                tied,
                by_torchmetrics(name, "multiclass", average),
                ROUNDED,
            ),
            f"{name}, {average}, ignored": Case(
                lambda kind=kind, average=average: kind(average),
                ignoring,
                by_sklearn(SKLEARN[kind], None if average == "none" else average),
            ),
            f"{name}, {average}, a class ignored": Case(
                lambda kind=kind, average=average: kind(average, ignore_index=1),
                ignoring_a_class,
                by_torchmetrics(name, "multiclass", average, ignore_index=1),
                ROUNDED,
            ),
            f"{name}, {average}, questions": Case(
                lambda kind=kind, average=average: kind(average, threshold=0.6),
                questions,
                by_torchmetrics(name, "multilabel", average, threshold=0.6),
                ROUNDED,
            ),
            f"{name}, {average}, questions ignored": Case(
                lambda kind=kind, average=average: kind(average, threshold=0.6, ignore_index=-1),
                ignoring_questions,
                by_torchmetrics(name, "multilabel", average, threshold=0.6, ignore_index=-1),
                ROUNDED,
            ),
        }
    CASES |= {
        f"{name}, yes or no": Case(
            lambda kind=kind: kind(threshold=0.3),
            yes_or_no,
            by_torchmetrics(name, "binary", None, threshold=0.3),
            ROUNDED,
        ),
        f"{name}, yes or no, exact": Case(
            lambda kind=kind: kind(threshold=0.3, ignore_index=-1),
            ignoring_yes_or_no,
            by_sklearn(SKLEARN[kind], "binary", -1, threshold=0.3),
        ),
        f"{name}, the second of two": Case(lambda kind=kind: kind("binary"), two_classes, of_two(SKLEARN[kind])),
    }

each_case = pytest.mark.parametrize("name", CASES)


def drawn(case, n, seed=0):
    return case.data(n, torch.Generator().manual_seed(seed))


def of_batches(metric, output, target, sizes, axis=0):
    """The metric after batches of these sizes."""
    mark = lamp.per_replica if axis else lambda tensor: tensor
    for x, y in zip(output.split(sizes, axis), target.split(sizes, axis), strict=True):
        metric.update(mark(x), y)
    return metric.value()


def assert_close(found, expected, relative=1e-10):
    torch.testing.assert_close(
        found.double(), torch.as_tensor(expected, dtype=torch.float64), rtol=relative, atol=relative, equal_nan=True
    )


def test_every_metric_stands_in_the_table():
    public = {getattr(metrics, name) for name in metrics.__all__} - {metrics.accuracy}
    abstract = {kind for kind in public if kind.__abstractmethods__}
    assert abstract == {metrics.Metric, metrics.SumMetric}
    assert public - abstract == {type(case.make()) for case in CASES.values()}


# ---- values ----------------------------------------------------------------------------------------------------------
@each_case
@pytest.mark.parametrize("n", SIZES)
def test_the_same_as_others(name, n):
    case = CASES[name]
    if n < case.least:
        pytest.skip("the other one has no value")
    for seed in range(3):
        output, target = drawn(case, n, seed)
        found = case.make()(output, target)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of theirs, where there is nothing to divide by
            if counts_none(case, target):
                assert found.isnan().all() or isinstance(case.make(), metrics.ConfusionMatrix)
            else:
                assert_close(found, case.oracle(output, target), case.relative)


def counts_none(case, target):
    ignored = getattr(case.make(), "ignored", None)
    return ignored is not None and bool((target == ignored).all())


@each_case
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_it_does_not_matter_how_rows_are_cut(name, data):
    case = CASES[name]
    n = data.draw(st.integers(2, 40))
    output, target = drawn(case, n, data.draw(st.integers(0, 99)))
    order = torch.tensor(data.draw(st.permutations(range(n))))
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=5)))
    sizes = [stop - start for start, stop in zip([0, *cuts], [*cuts, n], strict=True)]
    whole = case.make()(output, target)
    found = of_batches(case.make(), output[order], target[order], sizes)
    assert_close(found, whole)
    if isinstance(case.make(), metrics.classification.PredictionMetric | metrics.AUC):
        torch.testing.assert_close(found, whole, rtol=0, atol=0, equal_nan=True)  # counts are exact


@each_case
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("count", [1, 3, 7])
def test_each_replica_has_its_own(name, count, shared):
    case, n = CASES[name], 23
    pairs = [drawn(case, n, seed) for seed in range(count)]
    outputs = torch.stack([output for output, _ in pairs])
    targets = [pairs[0][1]] * count if shared else [target for _, target in pairs]
    alone = [case.make()(output, target) for output, target in zip(outputs, targets, strict=True)]
    metric = case.make()
    if shared:
        for rows in (slice(0, 9), slice(9, 10), slice(10, n)):
            metric.update(lamp.per_replica(outputs[:, rows]), targets[0][rows])
        found = metric.value()
    else:
        found = of_batches(metric, outputs, torch.stack(targets), [9, 1, 13], axis=1)
    assert found.shape[0] == count
    assert_close(found, torch.stack(alone))


@each_case
def test_what_a_metric_has_taken_in(name):
    """A call changes nothing, reset clears the metric, and its state dict is complete."""
    case = CASES[name]
    output, target = drawn(case, 20)
    whole, metric, resumed = case.make()(output, target), case.make(), case.make()
    with pytest.raises(lamp.DataError, match="has no value before the first batch"):
        metric.value()
    metric.update(output[:7], target[:7])
    assert_close(metric(output[3:], target[3:]), case.make()(output[3:], target[3:]))
    resumed.load_state_dict(metric.state_dict())
    for each in (metric, resumed):
        each.update(output[7:], target[7:])
        assert_close(each.value(), whole)
        each.reset()
        assert_close(of_batches(each, output, target, [13, 7]), whole)


@pytest.mark.parametrize(
    "make",
    [
        metrics.Accuracy,
        lambda: metrics.Accuracy(top_k=2),
        metrics.F1,
        lambda: metrics.Recall("none"),
        metrics.Perplexity,
        metrics.AUC,
        lambda: metrics.Precision("weighted"),
        lambda: metrics.F1("micro"),
    ],
)
def test_where_no_label_counts(make):
    found = make()(torch.randn(6, CLASSES), torch.full((6,), -100))
    assert found.isnan().all()


def test_targets_that_are_all_the_same():
    target = torch.full((5,), 0.1)
    assert metrics.R2()(target + 0.5, target) == 0.0
    assert metrics.R2()(target, target) == 1.0
    assert of_batches(metrics.R2(), target + 0.5, target, [1, 3, 1]) == 0.0
    assert metrics.R2()(target[:1], target[:1]).isnan()


def test_targets_far_from_zero():
    """A formula with sums of squares would lose all digits."""
    generator = torch.Generator().manual_seed(1)
    output, target = (torch.randn(400, generator=generator, dtype=torch.float64) for _ in range(2))
    expected = metrics.R2()(output, target)
    assert_close(of_batches(metrics.R2(), output + 2.0**30, target + 2.0**30, [150, 250]), expected, 1e-6)


def test_log_odds_that_a_softmax_rounds_to_one():
    output = torch.tensor([[0.0, 50.0], [0.0, 60.0], [0.0, 70.0], [0.0, 80.0]])
    assert metrics.AUC()(output, torch.tensor([0, 0, 1, 1])) == 1.0


@pytest.mark.parametrize("make", [metrics.AUC, metrics.Perplexity, metrics.MeanSquaredError, metrics.R2])
def test_outputs_that_are_nan(make):
    output, target = (torch.randn(9, 3), torch.arange(9) % 3)
    if make in (metrics.MeanSquaredError, metrics.R2):
        target = torch.randn(9, 3)
    output[4] = math.nan
    assert make()(output, target).isnan()


def test_one_hot_rows_and_probabilities_of_classes():
    output, target = drawn(CASES["accuracy"], 30)
    rows = torch.eye(CLASSES, dtype=torch.float64)[target]
    for make in (metrics.Accuracy, metrics.F1, metrics.AUC, metrics.ConfusionMatrix, lambda: metrics.Accuracy(top_k=2)):
        assert torch.equal(make()(output, rows), make()(output, target))
        assert torch.equal(make()(output, rows.long()), make()(output, target))
        found = make()(lamp.per_replica(output.expand(2, -1, -1)), rows)
        assert torch.equal(found, make()(output, target).expand(found.shape))


def test_targets_that_are_numbers_are_yes_above_the_threshold():
    generator = torch.Generator().manual_seed(3)
    output, target = torch.rand(2, 40, 1, generator=generator, dtype=torch.float64)
    for make in (metrics.Accuracy, metrics.ConfusionMatrix, lambda t: metrics.F1(threshold=t)):
        assert torch.equal(make(0.6)(output, target), make(0.6)(output, (target > 0.6).long()))
        assert torch.equal(make(0.0)(output - 0.6, torch.where(target > 0.6, 1.0, -1.0)), make(0.6)(output, target))


def test_of_equal_scores_the_first_classes_are_the_largest():
    output = torch.zeros(64, 64)
    assert metrics.Accuracy(top_k=3)(output, torch.arange(64)) == 3 / 64
    assert metrics.Accuracy()(output, torch.arange(64)) == 1 / 64


def test_which_targets_are_shared_where_all_sizes_are_equal():
    """Floats are shared one-hot rows, integers are labels per replica; a mark makes targets each replica's own."""
    generator = torch.Generator().manual_seed(6)
    outputs = torch.randn(4, 4, 4, generator=generator)
    labels = torch.randint(0, 4, (4, 4), generator=generator)
    shared = torch.randint(0, 4, (4,), generator=generator)
    for make in (metrics.Accuracy, metrics.F1, metrics.AUC):
        own = torch.stack([make()(outputs[k], labels[k]) for k in range(4)])
        assert_close(make()(lamp.per_replica(outputs), labels), own)
        alike = torch.stack([make()(outputs[k], shared) for k in range(4)])
        assert_close(make()(lamp.per_replica(outputs), torch.eye(4)[shared]), alike)
        assert_close(make()(lamp.per_replica(outputs), shared), alike)
        with pytest.raises(lamp.ShapeError, match="do not fit"):
            make()(lamp.per_replica(outputs), lamp.per_replica(shared))


def test_small_integers():
    output, target = drawn(CASES["accuracy"], 30)
    for kind in (torch.uint8, torch.int32):
        for make in (metrics.Accuracy, metrics.F1, metrics.AUC, metrics.ConfusionMatrix, metrics.Perplexity):
            assert torch.equal(make()(output, target.to(kind)), make()(output, target))


@each_case
def test_the_repr_makes_an_equal_metric(name):
    metric = CASES[name].make()
    again = eval(repr(metric), vars(metrics))
    assert type(again) is type(metric)
    assert again.state_dict() == metric.state_dict()


def test_the_repr_shows_what_is_not_the_default():
    assert repr(metrics.AUC("macro")) == "AUC()"
    assert repr(metrics.Recall("none", threshold=0.25)) == "Recall(average='none', threshold=0.25)"
    assert repr(metrics.Accuracy(top_k=2)) == "Accuracy(top_k=2)"
    metric = metrics.AUC(ignore_index=1)
    metric.update(X, Y)
    assert repr(metric) == "AUC(ignore_index=1)"


# ---- errors ----------------------------------------------------------------------------------------------------------
X, Y = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
MISTAKES = {
    "a label of no class": (metrics.F1, (X, Y + 1), lamp.LabelError, "label 3"),
    "a label of no class, AUC": (metrics.AUC, (X, Y + 1), lamp.LabelError, "label 3"),
    "a label of no class, perplexity": (metrics.Perplexity, (X, Y - 1), lamp.LabelError, "label -1"),
    "labels that are no integers": (metrics.ConfusionMatrix, (X, Y.float()), lamp.LabelError, "integers"),
    "one output": (metrics.F1, (X[:, :1], Y), lamp.ShapeError, "threshold"),
    "fewer labels": (metrics.Recall, (X, Y[:5]), lamp.ShapeError, "do not fit"),
    "classes on the last axis": (
        metrics.F1,
        (torch.randn(6, 5, 3), torch.zeros(6, 5).long()),
        lamp.ShapeError,
        "movedim",
    ),
    "three of two": (lambda: metrics.F1("binary"), (X, Y), lamp.ShapeError, "two classes"),
    "all the largest": (lambda: metrics.Accuracy(top_k=3), (X, Y), lamp.ShapeError, "top_k"),
    "targets between": (metrics.AUC, (X[:, 0], torch.rand(6)), lamp.LabelError, "yes or no"),
    "another shape": (metrics.MeanAbsoluteError, (X, X[:, 0]), lamp.ShapeError, "nothing is broadcast"),
    "one number": (metrics.R2, (torch.tensor(1.0), torch.tensor(1.0)), lamp.ShapeError, "several samples"),
    "probabilities": (metrics.Perplexity, (X, X.softmax(1)), lamp.LabelError, "perplexity needs labels"),
    "no tensor": (metrics.MeanSquaredError, ([1.0], X), lamp.DTypeError, "list"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake):
    make, pair, kind, says = MISTAKES[mistake]
    with pytest.raises(kind) as caught:
        make().update(*pair) or make()(*pair)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("first", "second"), [((6, 3), (6, 4)), ((2, 6, 3), (3, 6, 3)), ((6, 3), (2, 6, 3)), ((2, 6, 3), (6, 3))]
)
@pytest.mark.parametrize("make", [metrics.F1, metrics.AUC, metrics.R2, metrics.ConfusionMatrix])
def test_batches_of_another_form(make, first, second):
    metric = make()
    for k, shape in enumerate((first, second)):
        output = torch.randn(shape)
        output = lamp.per_replica(output) if len(shape) == 3 else output
        target = torch.randn(shape) if make is metrics.R2 else torch.zeros(6, dtype=torch.int64)
        if k == 0:
            metric.update(output, target)
        else:
            with pytest.raises(lamp.ShapeError, match="another form"):
                metric.update(output, target)


@pytest.mark.parametrize(
    "make",
    [
        lambda: metrics.F1("mean"),
        lambda: metrics.AUC("micro"),
        lambda: metrics.Accuracy(top_k=0),
        lambda: metrics.Accuracy(0.5, top_k=2),
        lambda: metrics.Recall(threshold="0.5"),
        lambda: metrics.Perplexity(ignore_index=0.5),
    ],
)
def test_arguments(make):
    with pytest.raises(lamp.ArgumentError):
        make()
    with pytest.raises(lamp.CallError, match="does not take these arguments"):
        metrics.F1(averages="macro")  # type: ignore[call-arg]
