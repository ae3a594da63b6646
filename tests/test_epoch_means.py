"""The loss over many batches equals that of all rows at once, whatever the mean divides by, with both engines."""

import math

import pytest
import torch
from torch import nn

import lamp
from lamp.losses.weighted import WeightedLoss

N, CLASSES = 2500, 3
GENERATOR = torch.Generator().manual_seed(3)
X = torch.randn(N, 4, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.randint(0, CLASSES, (N,), generator=GENERATOR)
WEIGHT = torch.tensor([0.05, 1.0, 3.0], dtype=torch.float64)
IGNORING = LABELS.where(torch.rand(N, generator=GENERATOR) > 0.3, -100)
FIRST_IGNORED = LABELS.where(torch.arange(N) >= 1100, -100)  # a whole chunk of them
SOFT = torch.rand(N, CLASSES, generator=GENERATOR, dtype=torch.float64).softmax(1)
NUMBERS = torch.randn(N, CLASSES, generator=GENERATOR, dtype=torch.float64)
YES = torch.rand(N, CLASSES, generator=GENERATOR, dtype=torch.float64)
CE, BCE = lamp.CrossEntropyLoss, lamp.BCEWithLogitsLoss


def network(*last, seed=5):
    torch.manual_seed(seed)
    return lamp.Sequential(lamp.Linear(4, 8), lamp.Tanh(), lamp.Linear(8, CLASSES), *last).double()


CASES = {
    "labels": (CE(), LABELS),
    "weights": (CE(weight=WEIGHT), LABELS),
    "ignored": (CE(), IGNORING),
    "a chunk ignored": (CE(), FIRST_IGNORED),
    "a class ignored": (CE(ignore_index=1), LABELS),
    "a class of no weight": (CE(weight=torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)), LABELS),
    "weights and ignored": (CE(weight=WEIGHT), IGNORING),
    "smoothed": (CE(weight=WEIGHT, label_smoothing=0.2), IGNORING),
    "summed": (CE(weight=WEIGHT, reduction="sum"), IGNORING),
    "summed and a chunk ignored": (CE(reduction="sum"), FIRST_IGNORED),
    "probabilities": (CE(weight=WEIGHT), SOFT),
    "likelihood": (lamp.NLLLoss(weight=WEIGHT), IGNORING, lamp.LogSoftmax(1)),
    "yes or no": (BCE(pos_weight=WEIGHT, weight=WEIGHT), YES),
    "probabilities of yes": (lamp.BCELoss(weight=WEIGHT), YES, lamp.Sigmoid()),
    "divergence": (lamp.KLDivLoss(), SOFT, lamp.LogSoftmax(1)),
    "divergence by batch": (lamp.KLDivLoss(reduction="batchmean"), SOFT, lamp.LogSoftmax(1)),
    "squares": (lamp.MSELoss(), NUMBERS),
    "sum of squares": (lamp.MSELoss(reduction="sum"), NUMBERS),
    "huber": (lamp.HuberLoss(delta=0.3), NUMBERS),
    "samples with weights": (WeightedLoss(lamp.MSELoss()), torch.cat([NUMBERS, X[:, :1].abs()], 1)),
}


@pytest.mark.parametrize("name", CASES)
def test_evaluate_is_the_criterion_of_all_rows(name):
    criterion, targets, *last = CASES[name]
    model = network(*last)
    expected = criterion(model(X), targets).item()
    for size in (None, 7, 999, N):
        found = lamp.evaluate(model, criterion, (X, targets), **({} if size is None else {"batch_size": size}))
        assert found["loss"] == pytest.approx(expected, rel=1e-12)


TWINS = {
    "weights": (nn.CrossEntropyLoss(weight=WEIGHT), LABELS),
    "weights and ignored": (nn.CrossEntropyLoss(weight=WEIGHT), IGNORING),
    "smoothed": (nn.CrossEntropyLoss(weight=WEIGHT, label_smoothing=0.2), IGNORING),
    "a class ignored": (nn.CrossEntropyLoss(ignore_index=1), LABELS),
    "probabilities": (nn.CrossEntropyLoss(weight=WEIGHT), SOFT),
    "yes or no": (nn.BCEWithLogitsLoss(pos_weight=WEIGHT, weight=WEIGHT), YES),
}


@pytest.mark.parametrize("name", TWINS)
def test_evaluate_is_torchs_loss(name):
    model = network()
    twin, targets = TWINS[name]
    expected = twin(model(X), targets).item()
    assert lamp.evaluate(model, CASES[name][0], (X, targets))["loss"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_a_training_measures_the_same(name, engine):
    """With a learning rate of 0 the epoch's loss is that of the initial weights, over batches that all differ."""
    criterion, targets, *last = CASES[name]
    model = network(*last)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))  # so that no batch is all ignored
    data = (X[order], targets[order])
    before = criterion(model(X), targets).item()
    history = lamp.fit(
        model,
        criterion,
        lamp.SGD(model.parameters(), lr=0.0),
        data,
        epochs=3,
        batch_size=100,
        validation=(X, targets),
        progress=False,
        engine=engine,
        seed=1,
    )
    for name in ("loss", "validation_loss"):
        torch.testing.assert_close(history[name], torch.full((3,), before, dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("own", [False, True])
def test_a_population_with_weights_and_ignored_labels(engine, own):
    model = lamp.population(network(), seeds=[1, 2, 3])
    criterion = CE(weight=WEIGHT, label_smoothing=torch.tensor([0.0, 0.1, 0.3], dtype=torch.float64))
    alone = [CE(weight=WEIGHT, label_smoothing=smoothing) for smoothing in (0.0, 0.1, 0.3)]
    labels, inputs = IGNORING, X
    rows = torch.stack([torch.randperm(N, generator=torch.Generator().manual_seed(k))[:2000] for k in range(3)])
    data = (inputs, labels)
    if own:
        data = lamp.DataLoader((inputs, labels), 130, indices=rows)
    expected, outputs = [], lamp.predict(model, X)
    for k in range(3):
        taken = rows[k] if own else slice(None)
        expected.append(alone[k](outputs[k, taken], labels[taken]).item())
    history = lamp.fit(
        model,
        criterion,
        lamp.SGD(model.parameters(), lr=0.0),
        data,
        epochs=2,
        batch_size=130,
        validation=data,
        metrics=lamp.accuracy,
        progress=False,
        engine=engine,
    )
    wanted = torch.tensor([expected] * 2, dtype=torch.float64)
    torch.testing.assert_close(history["loss"], wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(history["validation_loss"], wanted, rtol=1e-12, atol=0)
    for k in range(3):
        taken = rows[k] if own else slice(None)
        kept = labels[taken] != -100
        right = outputs[k, taken].argmax(1) == labels[taken]
        share = (right & kept).sum().item() / kept.sum().item()
        assert history["accuracy"][1, k].item() == pytest.approx(share, rel=1e-12)
        assert history["validation_accuracy"][1, k].item() == pytest.approx(share, rel=1e-12)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_a_resumed_epoch_counts_its_batches_as_they_were(engine, tmp_path):
    def run(epochs, **options):
        model = network()
        optimizer = lamp.SGD(model.parameters(), lr=0.1)
        return lamp.fit(
            model, CE(weight=WEIGHT), optimizer, (X, IGNORING), epochs=epochs, batch_size=100, seed=1, progress=False,
            engine=engine, **options,
        )  # fmt: skip

    whole = run(3)

    class Break(lamp.Callback):
        def on_batch(self, training, loss):
            if training.step == 37:
                raise KeyboardInterrupt

    checkpoint = lamp.Checkpoint(tmp_path, every_steps=5)
    if engine == "eager":
        with pytest.raises(KeyboardInterrupt):
            run(3, checkpoint=checkpoint, callbacks=[Break()])
    else:
        run(1, checkpoint=checkpoint)
    resumed = run(3, checkpoint=checkpoint, resume=True)
    assert torch.equal(resumed["loss"], whole["loss"])


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_no_label_at_all(engine):
    nothing = torch.full((N,), -100)
    with pytest.raises(lamp.LabelError, match="no label is left"):
        lamp.evaluate(network(), CE(), (X, nothing))
    model = network()
    with pytest.raises(lamp.LabelError, match="no label is left"):
        lamp.fit(
            model, CE(), lamp.SGD(model.parameters()), (X, LABELS), epochs=2, validation=(X, nothing), engine=engine,
            progress=False,
        )  # fmt: skip
    assert lamp.evaluate(network(), CE(reduction="sum"), (X, nothing))["loss"] == 0.0


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_a_batch_to_train_on_of_which_nothing_counts(engine):
    model = network()
    with pytest.raises(lamp.LabelError, match="skip this batch"):
        lamp.fit(
            model, CE(), lamp.SGD(model.parameters()), (X, FIRST_IGNORED), epochs=1, batch_size=100, shuffle=False,
            engine=engine, progress=False,
        )  # fmt: skip


def test_a_wrong_label_is_no_ignored_one():
    with pytest.raises(lamp.LabelError, match="a label is out of range"):
        lamp.evaluate(network(), CE(weight=WEIGHT), (X, torch.full((N,), 7)))


def test_early_stopping_goes_by_the_exact_loss():
    """The chunks of 1,024 rows have very different weights, so the mean of their means would be wrong."""
    model = network()
    criterion = CE(weight=WEIGHT)
    stopping = lamp.EarlyStopping(patience=3)
    history = lamp.fit(
        model, criterion, lamp.SGD(model.parameters(), lr=0.05), (X, LABELS), epochs=4,
        validation=(X, LABELS.sort().values), callbacks=[stopping], progress=False, seed=1,
    )  # fmt: skip
    model.eval()
    assert stopping.best == pytest.approx(criterion(model(X), LABELS.sort().values).item(), rel=1e-12)
    assert stopping.best == history["validation_loss"].min()


def test_a_loss_of_ones_own_counts_by_rows():
    class Mine(lamp.Loss):
        def forward(self, output, target):
            self.remember((output, target))
            return (output - target).square().mean()

        def backward(self, *dloss):
            output, target = self.recall()
            return 2 * (output - target) / output.numel()

    model = network()
    expected = (model(X) - NUMBERS).square().mean().item()
    assert lamp.evaluate(model, Mine(), (X, NUMBERS))["loss"] == pytest.approx(expected, rel=1e-12)


class TestProbabilities:
    scores = torch.randn(5, CLASSES, generator=GENERATOR, dtype=torch.float64)

    def test_an_index_to_ignore_is_refused_as_torch_does(self):
        target = self.scores.softmax(1)
        with pytest.raises(RuntimeError, match="ignore_index is not supported for floating point target"):
            nn.CrossEntropyLoss(ignore_index=1)(self.scores, target)
        with pytest.raises(lamp.LabelError, match="ignore_index only works with labels"):
            CE(ignore_index=1)(self.scores, target)
        CE(ignore_index=-1)(self.scores, target)

    @pytest.mark.parametrize("wrong", [-0.1, math.nan])
    def test_no_negative_ones(self, wrong):
        target = self.scores.softmax(1)
        target[3, 1] = wrong
        with pytest.raises(lamp.LabelError, match="is not a probability") as caught:
            CE()(self.scores, target)
        assert "at (3, 1)" in str(caught.value)

    def test_rows_may_add_up_to_a_weight(self):
        target = 3 * self.scores.softmax(1)
        expected = nn.CrossEntropyLoss()(self.scores, target).item()
        assert CE()(self.scores, target).item() == pytest.approx(expected)

    @pytest.mark.parametrize("engine", ["auto", "eager"])
    def test_a_training_says_the_same(self, engine):
        model = network()
        with pytest.raises(lamp.LabelError, match="is not a probability"):
            lamp.fit(model, CE(), lamp.SGD(model.parameters()), (X, NUMBERS), epochs=300, engine=engine, progress=False)
