"""Eval mode is local to a pass and a thread: predictions in other threads do not disturb a training."""

import copy
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import lamp

THREADS, ROUNDS = 16, 12
D = torch.float64


@pytest.fixture(autouse=True)
def often():
    """Makes threads switch as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def network(outputs=3):
    layers = [lamp.Linear(2, 9), lamp.Tanh(), lamp.Dropout(0.5), lamp.Linear(9, outputs)]
    layers[2].seed = 5  # type: ignore[attr-defined]
    return lamp.Sequential(*layers).double()


def everywhere(ask, right):
    """Predict in many threads at once, and compare each result with the right one."""
    meeting = threading.Barrier(THREADS, timeout=120)

    def many(_):
        meeting.wait()
        return all(torch.equal(torch.as_tensor(ask()), right) for _ in range(ROUNDS))

    with ThreadPoolExecutor(THREADS) as threads:
        assert all(threads.map(many, range(THREADS)))


def modes(model):
    return [module.training for module in model.modules()]


X = torch.randn(40, 2, dtype=D, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["one", "population", "ensemble", "stack"])
def test_many_threads_ask_one_network(kind, training):
    model = network()
    if kind != "one":
        model = lamp.population(model, range(4)) if kind != "stack" else lamp.stack([network(), network()])
    model.train(training)
    asked = lamp.Ensemble(model, probabilities=lamp.Softmax(-1), batch_size=7) if kind == "ensemble" else None
    ask = (lambda: asked(X)) if asked is not None else (lambda: lamp.predict(model, X, batch_size=7))
    still = copy.deepcopy(model).eval()
    right = lamp.Ensemble(still, probabilities=lamp.Softmax(-1))(X) if asked is not None else None
    everywhere(ask, ask())
    if right is not None:
        torch.testing.assert_close(ask(), right, rtol=1e-12, atol=1e-12)
    assert modes(model) == [training] * len(modes(model))


def test_many_threads_evaluate():
    model, loss, y = network(), lamp.CrossEntropyLoss(), torch.randint(3, (40,))
    right = lamp.CrossEntropyLoss()(copy.deepcopy(model).eval()(X), y).item()

    def ask():
        found = lamp.evaluate(model, loss, (X, y), metrics=[lamp.accuracy], batch_size=40)
        return torch.tensor(found["loss"], dtype=D)

    everywhere(ask, torch.tensor(right, dtype=D))
    assert modes(model) == [True] * 5


def test_many_threads_ask_an_estimator():
    pytest.importorskip("sklearn")
    y = (X.sum(1) > 0).long()
    estimator = lamp.MLPClassifier(members=3, hidden_layer_sizes=(6,), max_iter=5, random_state=0, dropout=0.3)
    estimator = _fitted(estimator, y)
    right = torch.as_tensor(estimator.predict_proba(X.numpy()))
    everywhere(lambda: estimator.predict_proba(X.numpy()), right)


def _fitted(estimator, y):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(X.numpy(), y.numpy())


def beside(train, ask, right):
    """Train while other threads predict; returns the result of the training."""
    done = threading.Event()

    def asking(_):
        asked = 0
        while not done.is_set() or asked == 0:
            found = ask()
            assert right is None or torch.equal(found, right)
            asked += 1
        return asked

    with ThreadPoolExecutor(5) as threads:
        askers = [threads.submit(asking, k) for k in range(4)]
        try:
            trained = train()
        finally:
            done.set()
        assert all(asker.result() for asker in askers)
    return trained


def training(model, criterion, y, engine="eager"):
    def train():
        optimizer = lamp.Adam(model.parameters(), lr=0.01)
        history = lamp.fit(
            model, criterion, optimizer, (X, y), epochs=8, batch_size=5, seed=0, engine=engine, progress=False
        )
        return history["loss"]

    return train


def test_other_networks_are_asked_while_one_trains():
    y, model, other = torch.randint(3, (40,)), network(), network()
    alone = training(copy.deepcopy(model), lamp.CrossEntropyLoss(), y)()
    right = lamp.predict(other, X, batch_size=9)  # how products round may depend on the number of rows
    found = beside(training(model, lamp.CrossEntropyLoss(), y), lambda: lamp.predict(other, X, batch_size=9), right)
    assert torch.equal(found, alone)


@pytest.mark.parametrize("population", [False, True])
@pytest.mark.parametrize("how", ["predict", "evaluate"])
def test_the_network_is_asked_while_it_trains(population, how):
    y, model, criterion = torch.randint(3, (40,)), network(), lamp.CrossEntropyLoss()
    if population:
        model = lamp.population(model, range(3))
    lamp.predict(model, X)
    alone = training(copy.deepcopy(model), criterion, y)()
    if how == "predict":
        found = beside(training(model, criterion, y), lambda: lamp.predict(model, X, batch_size=9), None)
    else:
        found = beside(training(model, criterion, y), lambda: lamp.evaluate(model, criterion, (X, y)), None)
    assert torch.equal(found, alone)


class Watching(lamp.Module):
    """Records the mode that it sees."""

    def __init__(self):
        self.seen = []

    def forward(self, x):
        self.seen.append(self.training)
        self.remember(x.shape)
        return x * 1.0

    def backward(self, dy):
        self.recall()
        return dy


class TestEvaluating:
    def test_modules_see_it_and_are_left_alone(self):
        watching = Watching()
        model = lamp.Sequential(watching, lamp.Dropout(0.9))
        x = torch.randn(5, 2)
        with lamp.evaluating():
            assert not model.training
            assert torch.equal(model(x), x)
            with lamp.evaluating():
                model(x)
            model(x)
            assert vars(model).get("_through") is None
        assert model.training
        assert watching.seen == [False] * 3
        model(x)
        assert watching.seen[-1] is True

    def test_a_mode_that_the_user_sets_stays(self):
        model = network()
        model[2].eval()
        with lamp.evaluating():
            model[0].eval()
            model[2].train()
        assert modes(model)[1:] == [False, True, True, True]

    def test_training_mode_returns_after_an_error(self):
        with pytest.raises(lamp.ShapeError), lamp.evaluating():
            network()(torch.randn(5, 7, dtype=D))
        assert network().training

    def test_within_a_forward(self):
        """A teacher that a student calls in its forward leaves nothing in the student's pass."""

        class Student(lamp.Module):
            def __init__(self):
                self.layer, self.teacher = lamp.Linear(2, 3).double(), network()

            def forward(self, x):
                advice = lamp.predict(self.teacher, x)
                return self.layer(x) + advice

            def backward(self, dy):
                return self.layer.backward(dy)

        student = Student()
        y = student(X)
        assert torch.equal(y, student.layer(X) + lamp.predict(student.teacher, X))
        with pytest.raises(lamp.BackwardError):
            student.teacher.backward(torch.ones_like(y))
        assert not any(module in student._through.memory for module in student.teacher.modules())
        assert student.backward(torch.ones_like(y)).shape == X.shape

    def test_what_is_copied_within_keeps_its_mode(self):
        population = lamp.population(network(), range(2))
        with lamp.evaluating():
            copies = [copy.deepcopy(population), population[0], population.select([1]), lamp.to_torch(population[0])]
        assert [each.training for each in copies] == [True] * 4


def test_a_forward_of_ones_own_survives_a_loss_that_is_not_finite():
    model = network()
    seen = []

    original = model[1].forward

    def forward(x):
        seen.append(x.shape)
        return original(x)

    model[1].forward = forward
    with pytest.raises(lamp.NonFiniteError):
        lamp.fit(
            model,
            lamp.MSELoss(),
            lamp.SGD(model.parameters(), lr=1e200),
            (X, torch.randn(40, 3, dtype=D)),
            epochs=9,
            engine="eager",
            progress=False,
        )
    assert vars(model[1])["forward"] is forward
    assert all("forward" not in vars(each) for each in (model, model[0], model[2], model[3]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_arrays_are_predicted_as_tensors_are(dtype):
    model = network().to(dtype)
    right = lamp.predict(model, X.to(dtype))
    for given in (X.numpy(), X.float().numpy() if dtype is torch.float32 else X.numpy(), X.tolist()):
        torch.testing.assert_close(lamp.predict(model, given), right)
