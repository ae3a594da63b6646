"""mini-2019: Tanh and ReLU networks that end in their loss, mean squared error on one-hot targets, plain descent."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from lamp import init
from lamp.experiments.figures import file_name, loss_and_accuracy
from lamp.experiments.protocol import POINTS, Results, Setting, mlp, one_hot
from lamp.experiments.reproduction import Experiment
from lamp.losses import MSELoss
from lamp.nn import Activation, ReLU, Sequential, Tanh
from lamp.optim import SGD


def network(activation: Callable[[], Activation]) -> Sequential:
    """Its last module is its loss: forward(input, target) gives (output, loss), backward() takes nothing."""
    return mlp(activation, 2, MSELoss(), init=init.xavier_uniform_)


def setting(activation: type[Activation], published: float) -> Setting:
    return Setting(
        name=activation.__name__,
        network=partial(network, activation),
        optimizer=lambda model: SGD(model.parameters(), lr=0.1),
        data_seeds=2_000,
        batch_size=POINTS,
        shuffle=False,  # one batch holds all points
        epochs=1000,
        encode=one_hot,
        published=published,
    )


def figures(results: Sequence[Results], folder: Path) -> list[Path]:
    return [loss_and_accuracy(results, folder / file_name("mini-2019", "curves"))]


EXPERIMENT = Experiment(
    label="mini-2019",
    about="Tanh and ReLU networks, MSE on one-hot targets, SGD 0.1 on the full batch, 1,000 epochs",
    settings=(setting(Tanh, 89.9), setting(ReLU, 90.0)),
    runs=10,
    figures=figures,
)
