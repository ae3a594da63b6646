"""mini-2020: five Linear and four ReLU, then Sigmoid with cross-entropy or Tanh with squared error."""

from collections.abc import Sequence
from pathlib import Path

from lamp.experiments.figures import file_name, loss_and_accuracy, output_maps
from lamp.experiments.protocol import POINTS, Results, Setting, column, mlp, signs
from lamp.experiments.reproduction import Experiment
from lamp.losses import BCELoss, MSELoss
from lamp.module import Module
from lamp.nn import ReLU, Sequential, Sigmoid, Tanh
from lamp.optim import SGD

WIDTHS = (2, 25, 25, 25, 25)
EPOCHS = 10_000


def network(last: type[Module]) -> Sequential:
    """Weights and biases uniform in +-1/sqrt(fan_in), lamp's default."""
    return mlp(ReLU, 1, last(), widths=WIDTHS)


SIGMOID = Setting(
    name="Sigmoid, BCE",
    network=lambda: network(Sigmoid),
    criterion=BCELoss,
    optimizer=lambda model: SGD(model.parameters(), lr=0.1),
    data_seeds=4_000,
    batch_size=POINTS,
    shuffle=False,  # one batch holds all points
    epochs=EPOCHS,
    encode=column,
    threshold=0.5,
    published=96.0,
)
TANH = Setting(
    name="Tanh, MSE",
    network=lambda: network(Tanh),
    criterion=MSELoss,
    optimizer=lambda model: SGD(model.parameters(), lr=0.1),
    data_seeds=4_000,
    batch_size=POINTS,
    shuffle=False,
    epochs=EPOCHS,
    encode=signs,
    threshold=0.0,
    published=97.7,
)


def figures(results: Sequence[Results], folder: Path) -> list[Path]:
    return [
        output_maps(results, folder / file_name("mini-2020", "output maps")),
        loss_and_accuracy(results, folder / file_name("mini-2020", "curves")),
    ]


EXPERIMENT = Experiment(
    label="mini-2020",
    about="5 Linear and 4 ReLU of 25 units, SGD 0.1 on the full batch, 10,000 epochs",
    settings=(SIGMOID, TANH),
    runs=5,
    figures=figures,
)
