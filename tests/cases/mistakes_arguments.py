"""Mistakes with arguments of one kind or another: switches, whole numbers, names, lists without an order, texts."""

from typing import Any

import numpy as np
import torch

import lamp
from tests.cases.mistakes import Mistake

X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
Y = (X.sum(1) > 0).long()


def net():
    return lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh(), lamp.Linear(4, 2))


def sgd(**options):
    return lamp.SGD(net().parameters(), **{"lr": 0.1, "momentum": 0.9, **options})


def fitted(**options):
    model = net()
    optimizer = lamp.SGD(model.parameters(), lr=0.1)
    lamp.fit(model, lamp.CrossEntropyLoss(), optimizer, (X, Y), **{"epochs": 1, "progress": False, **options})


def wrong(name, call, where, *words, error=ValueError):
    return Mistake(name, call, error, where, words)


ANY: Any = lamp  # for calls that type checkers would report
ELSEWHERE = {  # a call with a name of Keras, JAX, Lightning, fastai or scikit-learn: what lamp says
    "Dropout(rate=0.5)": (lambda: ANY.Dropout(rate=0.5), "write p="),
    "LeakyReLU(alpha=0.1)": (lambda: ANY.LeakyReLU(alpha=0.1), "write negative_slope="),
    "Softmax(axis=-1)": (lambda: ANY.Softmax(axis=-1), "write dim="),
    "BatchNorm1d(4, epsilon=0.1)": (lambda: ANY.BatchNorm1d(4, epsilon=0.1), "write eps="),
    "Linear(3, units=4)": (lambda: ANY.Linear(3, units=4), "write out_features="),
    "LSTM(3, units=4)": (lambda: ANY.LSTM(3, units=4), "write hidden_size="),
    "LSTM(3, 4, return_sequences=True)": (lambda: ANY.LSTM(3, 4, return_sequences=True), "holds all steps"),
    "Conv2d(3, filters=4, kernel_size=2)": (lambda: ANY.Conv2d(3, filters=4, kernel_size=2), "write out_channels="),
    "Conv2d(3, 4, 2, strides=2)": (lambda: ANY.Conv2d(3, 4, 2, strides=2), "write stride="),
    "MaxPool2d(pool_size=2)": (lambda: ANY.MaxPool2d(pool_size=2), "write kernel_size="),
    "Embedding(input_dim=9, embedding_dim=2)": (
        lambda: ANY.Embedding(input_dim=9, embedding_dim=2),
        "write num_embeddings=",
    ),
    "Linear(3, 4, use_bias=False)": (lambda: ANY.Linear(3, 4, use_bias=False), "write bias="),
    "Linear(3, 4, kernel_initializer='he')": (lambda: ANY.Linear(3, 4, kernel_initializer="he"), "write init="),
    "Adam(learning_rate=0.1)": (lambda: ANY.Adam(net().parameters(), learning_rate=0.1), "write lr="),
    "Adam(beta_1=0.9)": (lambda: ANY.Adam(net().parameters(), beta_1=0.9), "write betas="),
    "AdamW(wd=0.1)": (lambda: ANY.AdamW(net().parameters(), wd=0.1), "write weight_decay="),
    "SGD(l2=0.1)": (lambda: ANY.SGD(net().parameters(), l2=0.1), "write weight_decay="),
    "StepLR without a step": (lambda: ANY.StepLR(sgd()), "pass step_size"),
    "Linear(3) without outputs": (lambda: ANY.Linear(3), "pass out_features"),
    "evaluate(model, data)": (lambda: ANY.evaluate(net(), (X, Y)), "pass data"),
    "save(model) without a path": (lambda: ANY.save(net()), "pass path"),
    "cross_validate(cv=3)": (
        lambda: ANY.cross_validate(net(), (X, Y), cv=3, criterion=lamp.CrossEntropyLoss(), epochs=1),
        "write folds=",
    ),
    "fit(accelerator='gpu')": (lambda: fitted(accelerator="gpu"), "model.to(device)"),
    "fit(precision=16)": (lambda: fitted(precision=16), "model.bfloat16()"),
    "fit(accumulate_grad_batches=2)": (lambda: fitted(accumulate_grad_batches=2), "larger batch_size="),
    "fit(patience=3)": (lambda: fitted(patience=3), "lamp.EarlyStopping"),
    "fit(wd=0.1)": (lambda: fitted(wd=0.1), "lamp.Adam(model.parameters(), lr="),
    "fit(workers=2)": (lambda: fitted(workers=2), "torch DataLoader"),
}
SWITCH = "True or False"
MISTAKES = [
    *(
        wrong(name, call, name.partition("(")[0].split()[0], fix, error=TypeError)
        for name, (call, fix) in ELSEWHERE.items()
    ),
    wrong("maximize='False'", lambda: sgd(maximize="False"), "SGD: maximize", SWITCH),
    wrong("nesterov=1", lambda: sgd(nesterov=1), "SGD: nesterov", SWITCH),
    wrong("amsgrad=torch.ones(2)", lambda: lamp.Adam(net().parameters(), amsgrad=torch.ones(2)), "amsgrad", SWITCH),
    wrong("centered=None", lambda: lamp.RMSprop(net().parameters(), centered=None), "centered", SWITCH),
    wrong("optimizer.maximize = 'yes'", lambda: setattr(sgd(), "maximize", "yes"), "maximize", SWITCH),
    wrong("progress='no'", lambda: fitted(progress="no"), "progress", SWITCH),
    wrong("three_phase=1", lambda: lamp.OneCycleLR(sgd(), 0.1, total_steps=5, three_phase=1), "three_phase", SWITCH),
    wrong("trace(training=0)", lambda: lamp.trace(net(), X, training=0), "training", SWITCH),
    wrong(
        "raise_exception=0",
        lambda: lamp.check_gradients(lamp.ReLU(), X, raise_exception=0),
        "raise_exception",
        SWITCH,
    ),
    wrong("lr=True", lambda: sgd(lr=True), "SGD: lr"),
    wrong("lr=[]", lambda: sgd(lr=[]), "SGD: lr"),
    wrong("lr as lists of lists", lambda: sgd(lr=[[0.1], [0.2]]), "SGD: lr"),
    wrong("lr as an array of objects", lambda: sgd(lr=np.array(["0.1"], dtype=object)), "SGD: lr"),
    wrong("step_size=2.5", lambda: lamp.StepLR(sgd(), 2.5), "StepLR: step_size", "integer"),
    wrong("T_max=True", lambda: lamp.CosineAnnealingLR(sgd(), True), "T_max", "integer"),
    wrong("patience of a plateau = 1.5", lambda: lamp.ReduceLROnPlateau(sgd(), patience=1.5), "patience", "integer"),
    wrong("gamma for each group", lambda: lamp.ExponentialLR(sgd(), torch.ones(2)), "ExponentialLR: gamma"),
    wrong("milestones as a set", lambda: lamp.MultiStepLR(sgd(), {3, 7}), "milestones", "list"),
    wrong("seeds as a set", lambda: lamp.population(net(), {1, 2}), "seeds"),
    wrong("a seed as a text", lambda: lamp.DataLoader((X, Y), seed="12"), "seed", "integer"),
    wrong("an optimizer for a scheduler", lambda: fitted(scheduler=sgd()), "schedule", "StepLR"),
    wrong(
        "torch's optimizer for a scheduler",
        lambda: fitted(scheduler=torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=0.1)),
        "schedule",
    ),
    wrong("delta=object()", lambda: lamp.HuberLoss(delta=object()), "HuberLoss: delta"),
    wrong("label_smoothing=print", lambda: lamp.CrossEntropyLoss(label_smoothing=print), "label_smoothing"),
    wrong("approximate as an array", lambda: lamp.GELU(np.array([1, 2])), "approximate", "tanh"),
    wrong("average as an array", lambda: lamp.metrics.F1(np.array([1, 2])), "average"),
    wrong("threshold=nan", lambda: lamp.Accuracy(float("nan")), "threshold"),
    wrong("device=10**30", lambda: lamp.Linear(2, 2, device=10**30), "device", error=ValueError),
    wrong("a buffer of a number", lambda: lamp.Buffer(0.5), "buffer", "torch.as_tensor", error=TypeError),
    wrong("a parameter of 4 replicas with 3 rows", lambda: lamp.Parameter(X[:3], replicas=4), "replicas"),
    wrong("check_gradients(eps='1e-5')", lambda: lamp.check_gradients(lamp.ReLU(), X, eps="1e-5"), "eps"),
    wrong("uniform_ from 0 to -1", lambda: lamp.init.uniform_(torch.zeros(2, 3), b=-1.0), "uniform_: b"),
    wrong("scale_fn without an argument", lambda: lamp.CyclicLR(sgd(), 0.1, 0.2, scale_fn=lambda: 1), "scale_fn"),
    wrong(
        "fit_each with a function of nothing",
        lambda: lamp.fit_each([net()], lamp.CrossEntropyLoss(), lambda: 1, (X, Y), epochs=1, progress=False),
        "optimizer=",
    ),
    wrong("a title that is a number", lambda: lamp.plots.data_set(X[:, :2], Y, title=3), "title", "text"),
    wrong("classes that are numbers", lambda: lamp.Dataset(X, Y, classes=(0, 1)), "classes", "text"),
    wrong("uniform('0', True)", lambda: lamp.uniform("0", True), "uniform"),
    wrong("log_dir=None", lambda: lamp.TensorBoard(None), "log_dir"),
]
