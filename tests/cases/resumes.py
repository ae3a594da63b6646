"""Trainings of 60 steps that are stopped and resumed: every engine, and everything that has a state.

A case is a function that builds a training from fixed seeds and returns the keyword arguments of `lamp.fit`.
"""

from __future__ import annotations

import random

import numpy as np
import torch

import lamp

EPOCHS, BATCH, SAMPLES, HELD_OUT = 12, 7, 33, 19  # 5 steps an epoch, the last of 5 samples
STEPS = EPOCHS * 5
FEATURES, HIDDEN, CLASSES, REPLICAS = 3, 8, 4, 11


def data(dtype=torch.float32, samples=SAMPLES + HELD_OUT):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(samples, FEATURES, generator=generator, dtype=dtype)
    y = (x.sum(1) + 0.5 * torch.randn(samples, generator=generator, dtype=dtype)).mul(2).round().long() % CLASSES
    return x, y


def network(*between, dtype=torch.float32, hidden=HIDDEN):
    torch.manual_seed(5)
    return lamp.Sequential(
        lamp.Linear(FEATURES, hidden), *(between or (lamp.Tanh(),)), lamp.Linear(hidden, CLASSES)
    ).to(dtype)


def case(model, optimizer=None, dtype=torch.float32, **arguments):
    x, y = data(dtype)
    return {
        "model": model,
        "criterion": lamp.CrossEntropyLoss(),
        "optimizer": optimizer or lamp.Adam(model.parameters(), lr=0.03),
        "data": (x[:SAMPLES], y[:SAMPLES]),
        "batch_size": BATCH,
        "epochs": EPOCHS,
        **arguments,
    }


def held_out(dtype=torch.float32):
    x, y = data(dtype)
    return x[SAMPLES:], y[SAMPLES:]


class Wobble(lamp.Callback):
    """Remembers a number of each epoch, changes the weights by it, and stops the training in the tenth epoch."""

    def on_start(self, training):
        self.generator, self.losses = torch.Generator().manual_seed(8), []

    def on_epoch(self, training):
        self.losses.append(float(training.history.last["loss"].mean()) if training.model.replicas else 0.5)
        weight = training.model.parameters()[0]
        weight.data += 0.01 * sum(self.losses) * torch.randn(weight.shape, generator=self.generator)
        if len(self.losses) == EPOCHS - 2:
            training.stop("enough")

    def state_dict(self):
        return {"generator": self.generator, "losses": tuple(self.losses), "by": {3: float("inf"), "$x": None}}

    def load_state_dict(self, state):
        assert state["by"] == {3: float("inf"), "$x": None}
        self.generator, self.losses = state["generator"], list(state["losses"])


class Batches(lamp.Callback):
    """Stops the training, and asks for it in the middle of an epoch."""

    def on_batch(self, training, loss):
        if training.step == STEPS - 18:
            training.stop("seen enough batches")


class Augmented(torch.utils.data.Dataset):
    """Samples with noise from three default generators."""

    def __init__(self):
        self.x, self.y = data()

    def __len__(self):
        return SAMPLES

    def __getitem__(self, k):
        noise = torch.randn(FEATURES) + random.random() + np.random.rand()  # noqa: NPY002
        return self.x[k] + 0.3 * noise, self.y[k]


def adam_with_everything(engine):
    """Shuffled, dropout, validation, metrics; the last batch is smaller."""
    return case(
        network(lamp.Tanh(), lamp.Dropout(0.3), lamp.Linear(HIDDEN, HIDDEN), lamp.ReLU(), lamp.Dropout(0.2)),
        validation=held_out(),
        metrics=[lamp.accuracy, mean_output],
        engine=engine,
    )


def mean_output(output, target):
    return output.mean() + target.double().std()


class Largest:
    """A user's metric with update, value and reset, for one network."""

    def __init__(self, power=1):
        self.power = power
        self.reset()

    def reset(self):
        self.seen = []

    def update(self, output, target):
        self.seen.append(output.abs().amax(0))

    def value(self):
        return (torch.stack(self.seen).amax(0) ** self.power).mean()


class MeanTop(lamp.metrics.SumMetric):
    """A user's metric with update, value and reset, for replicas too."""

    def terms(self, output, target, replicas):
        return output.double().amax(-1).sum(-1), output.shape[-2]

    def of(self, total, count):
        return total / count


def streamed():
    """Metrics with every kind of state, and a plain function."""
    named = lamp.metrics
    return {
        **{each.name: each for each in (named.F1(), named.AUC(), named.Perplexity(), named.Accuracy(top_k=2))},
        "largest": Largest(2),
        "mean_top": MeanTop(),
        "mean_output": mean_output,
    }


def streamed_metrics(engine):
    return case(network(lamp.Dropout(0.2)), validation=held_out(), metrics=streamed(), engine=engine)


def streamed_metrics_of_a_population(engine):
    model = lamp.population(network(), range(3))
    return case(model, validation=held_out(), metrics=streamed(), engine=engine)


def streamed_metrics_of_lamp(engine):
    """Metrics of lamp's, whose states are checked when they are loaded."""
    metrics = {name: metric for name, metric in streamed().items() if name not in ("largest", "mean_output")}
    return case(lamp.population(network(), range(3)), metrics=metrics, engine=engine)


def streamed_metrics_of_numbers(engine):
    model = lamp.Sequential(lamp.Linear(FEATURES, HIDDEN), lamp.Tanh(), lamp.Linear(HIDDEN, 2))
    x, _ = data()
    named = lamp.metrics
    return case(
        model,
        criterion=lamp.MSELoss(),
        data=(x[:SAMPLES], 3.0 + x[:SAMPLES, :2].sin()),
        metrics=[named.R2(), named.MeanAbsoluteError(), named.MeanSquaredError()],
        engine=engine,
    )


def momentum_by_epoch(engine):
    model = network(lamp.Dropout(0.2))
    optimizer = lamp.SGD(model.parameters(), lr=0.3, momentum=0.9, nesterov=True)
    return case(model, optimizer, scheduler=lamp.MultiStepLR(optimizer, [2, 5, 5], 0.5), seed=4, engine=engine)


def schedule_by_batch(engine):
    model = network(lamp.SELU())
    groups = [{"params": model.parameters()[:2], "lr": 0.05}, {"params": model.parameters()[2:], "weight_decay": 0.1}]
    optimizer = lamp.AdamW(groups, lr=0.02, amsgrad=True)
    return case(
        model,
        optimizer,
        scheduler=lamp.OneCycleLR(optimizer, [0.1, 0.05], total_steps=STEPS + 1),
        schedule_per="batch",
        clip_norm=0.7,
        engine=engine,
    )


def doubles_without_a_look(engine):
    """No callback looks between epochs, so the compiled engine trains several epochs in one call."""
    model = network(lamp.GELU(), lamp.Dropout(0.1), dtype=torch.float64)
    return case(model, lamp.Adam(model.parameters(), lr=0.01), torch.float64, metrics=[lamp.accuracy], engine=engine)


def early_stopping(engine):
    model = network()
    stopping = lamp.EarlyStopping(3, "validation_loss", min_delta=0.02)
    optimizer = lamp.RMSprop(model.parameters(), lr=0.05, momentum=0.3, centered=True)
    return case(model, optimizer, validation=held_out(), callbacks=[stopping], clip_value=0.2, engine=engine)


def plateau(engine):
    model = network(lamp.Mish())
    optimizer = lamp.SGD(model.parameters(), lr=1.0)
    schedule = lamp.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.05, cooldown=1)
    validation = lamp.DataLoader(held_out(), 8, shuffle=True)
    return case(model, optimizer, scheduler=schedule, validation=validation, engine=engine)


def population(engine):
    """Replicas with orders, dropout masks and learning rates of their own."""
    model = lamp.population(network(lamp.Tanh(), lamp.Dropout(0.25)), range(4, 4 + REPLICAS))
    lr = torch.linspace(0.005, 0.05, REPLICAS, dtype=torch.float64)
    optimizer = lamp.Adam(model.parameters(), lr=lr)
    schedule = lamp.CosineAnnealingLR(optimizer, 7)
    return case(model, optimizer, scheduler=schedule, metrics=[lamp.accuracy], validation=held_out(), engine=engine)


def replicas_that_stop(engine):
    """Some replicas stop in the fourth epoch or later, with their best weights."""
    model = lamp.population(network(lamp.Dropout(0.4)), range(REPLICAS))
    lr = torch.linspace(0.01, 0.6, REPLICAS, dtype=torch.float64)
    optimizer = lamp.SGD(model.parameters(), lr=lr, momentum=0.5)
    stopping = lamp.EarlyStopping(2, "validation_accuracy", min_delta=0.01)
    schedule = lamp.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    return case(
        model,
        optimizer,
        scheduler=schedule,
        callbacks=[stopping],
        validation=held_out(),
        metrics=[lamp.accuracy],
        engine=engine,
    )


def replicas_that_fail(engine):
    """The losses of some replicas become infinite or NaN, early or later."""
    model = lamp.population(
        lamp.Sequential(lamp.Linear(FEATURES, HIDDEN), lamp.ReLU(), lamp.Linear(HIDDEN, 1)), range(REPLICAS)
    )
    x, y = data()
    lr = torch.logspace(-2, 1.2, REPLICAS, dtype=torch.float64)
    return case(
        model,
        lamp.SGD(model.parameters(), lr=lr),
        criterion=lamp.MSELoss(),
        data=(x[:SAMPLES], 3.0 * y[:SAMPLES].float().unsqueeze(1)),
        engine=engine,
    )


def several_widths(engine):
    model = lamp.stack([network(lamp.Tanh(), lamp.Dropout(0.2), hidden=width) for width in (3, 8, 5)])
    return case(model, lamp.Adam(model.parameters(), lr=0.02), shuffle=True, engine=engine)


def callbacks(engine):
    return case(network(), callbacks=[Wobble(), lamp.EarlyStopping(9, "loss", restore_best=False)], engine=engine)


def callbacks_of_a_population(engine):
    model = lamp.population(network(), range(3))
    return case(model, callbacks=[Wobble()], shuffle=False, engine=engine)


class Noise(lamp.Module):
    """Draws from torch's default generator at every step."""

    def forward(self, x):
        return x + 0.1 * torch.randn_like(x) if self.training else x

    def backward(self, dy):
        return dy


# ---- what only the eager engine trains -------------------------------------------------------------------------------
def torch_loader(engine):
    x, y = data()
    samples = torch.utils.data.TensorDataset(x[:SAMPLES], y[:SAMPLES])
    generator = torch.Generator().manual_seed(2)
    loader = torch.utils.data.DataLoader(samples, BATCH, shuffle=True, generator=generator)
    validation = torch.utils.data.DataLoader(samples, BATCH, shuffle=True)  # from torch's default generator
    return case(
        network(lamp.Dropout(0.2)), data=loader, batch_size=None, validation=validation, metrics=[lamp.accuracy]
    )


def default_generator(engine):
    """Torch's default generator gives both the order of the data and the noise in the network."""
    x, y = data()
    samples = torch.utils.data.TensorDataset(x[:SAMPLES], y[:SAMPLES])
    loader = torch.utils.data.DataLoader(samples, BATCH, shuffle=True)
    return case(network(Noise()), data=loader, batch_size=None)


def samplers_with_generators(engine):
    """Samplers of torch's with generators of their own, one of them within a sampler of batches."""
    x, y = data()
    samples = torch.utils.data.TensorDataset(x[:SAMPLES], y[:SAMPLES])
    sampler, other = (
        torch.utils.data.RandomSampler(samples, generator=torch.Generator().manual_seed(seed)) for seed in (3, 4)
    )
    loader = torch.utils.data.DataLoader(samples, BATCH, sampler=sampler)
    batches = torch.utils.data.BatchSampler(other, BATCH, drop_last=False)
    validation = torch.utils.data.DataLoader(samples, batch_sampler=batches)
    return case(network(lamp.Dropout(0.2)), data=loader, batch_size=None, validation=validation, callbacks=[Batches()])


def samples_with_noise(engine):
    loader = lamp.DataLoader(Augmented(), BATCH, shuffle=True)
    return case(network(), data=loader, batch_size=None, callbacks=[Batches()])


def list_of_batches(engine):
    x, y = data()
    batches = list(zip(x[:SAMPLES].split(BATCH), y[:SAMPLES].split(BATCH), strict=True))
    model = network(lamp.PReLU())
    optimizer = lamp.Adagrad(model.parameters(), lr=0.1, lr_decay=0.01)
    return case(model, optimizer, data=batches, batch_size=None)


def batches_of_their_own(engine):
    """Each replica has its own batches, and some replicas stop."""
    generator = torch.Generator().manual_seed(9)
    x = torch.randn(REPLICAS, SAMPLES, FEATURES, generator=generator)
    y = torch.randint(0, CLASSES, (REPLICAS, SAMPLES), generator=generator)
    batches = [(lamp.per_replica(a), b) for a, b in zip(x.split(BATCH, 1), y.split(BATCH, 1), strict=True)]
    model = lamp.population(network(), range(REPLICAS))
    optimizer = lamp.Adam(model.parameters(), lr=torch.linspace(0.001, 0.3, REPLICAS, dtype=torch.float64))
    stopping = lamp.EarlyStopping(1, "loss")
    return case(model, optimizer, data=batches, batch_size=None, callbacks=[stopping], metrics=[lamp.accuracy])


def network_with_its_loss(engine):
    single = lamp.Sequential(*network(lamp.Dropout(0.5)), lamp.CrossEntropyLoss(label_smoothing=0.1))
    single.reset_parameters(generator=torch.Generator().manual_seed(1))
    return case(lamp.population(single, [7, 3]), criterion=None, seed=5)


def running_statistics(engine):
    model = network(lamp.BatchNorm1d(HIDDEN), lamp.Tanh())
    optimizer = lamp.Adam(model.parameters(), lr=0.01)
    stopping = lamp.EarlyStopping(5, "validation_loss")
    return case(model, optimizer, validation=held_out(), callbacks=[stopping])


def running_statistics_of_replicas(engine):
    """Replicas that stop keep their best running statistics; those that fail get the last good ones."""
    x, y = data()
    body = (lamp.Linear(FEATURES, HIDDEN), lamp.BatchNorm1d(HIDDEN, momentum=None), lamp.Linear(HIDDEN, 1))
    model = lamp.population(lamp.Sequential(*body), range(REPLICAS))
    lr = torch.logspace(-2, 1.5, REPLICAS, dtype=torch.float64)
    return case(
        model,
        lamp.SGD(model.parameters(), lr=lr),
        criterion=lamp.MSELoss(),
        data=(x[:SAMPLES], 3.0 * y[:SAMPLES].float().unsqueeze(1)),
        callbacks=[lamp.EarlyStopping(2, "loss", min_delta=0.1)],
    )


BOTH = [
    running_statistics,
    running_statistics_of_replicas,
    adam_with_everything,
    momentum_by_epoch,
    schedule_by_batch,
    doubles_without_a_look,
    early_stopping,
    plateau,
    population,
    replicas_that_stop,
    replicas_that_fail,
    several_widths,
    callbacks,
    callbacks_of_a_population,
    streamed_metrics,
    streamed_metrics_of_a_population,
    streamed_metrics_of_lamp,
    streamed_metrics_of_numbers,
]
EAGER = [
    torch_loader,
    default_generator,
    samplers_with_generators,
    samples_with_noise,
    list_of_batches,
    batches_of_their_own,
    network_with_its_loss,
]
CASES = {
    **{f"{build.__name__}, {engine}": (build, engine) for build in BOTH for engine in ("eager", "compiled")},
    **{f"{build.__name__}, eager": (build, "eager") for build in EAGER},
}


def build(name):
    """The arguments of a case, built from fixed seeds."""
    torch.manual_seed(11)
    random.seed(12)
    np.random.seed(13)  # noqa: NPY002
    make, engine = CASES[name]
    return {**make(engine), "progress": False}
