"""mini-2020: five Linear and four ReLU, then Sigmoid with cross-entropy or Tanh with squared error."""

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from lamp.experiments.figures import file_name, loss_and_accuracy, output_maps
from lamp.experiments.protocol import POINTS, Results, Setting, column, mlp, signs
from lamp.experiments.reproduction import Experiment
from lamp.losses import BCELoss, MSELoss
from lamp.module import Module
from lamp.nn import ReLU, Sigmoid, Tanh
from lamp.optim import SGD

WIDTHS = (2, 25, 25, 25, 25)
EPOCHS = 10_000


def setting(
    last: type[Module],
    criterion: type[BCELoss | MSELoss],
    encode: Callable[[Tensor], Tensor],
    threshold: float,
    published: float,
) -> Setting:
    """Weights and biases begin uniform in +-1/sqrt(fan_in), lamp's default."""
    return Setting(
        name=f"{last.__name__}, {criterion.__name__.removesuffix('Loss')}",
        network=lambda: mlp(ReLU, 1, last(), widths=WIDTHS),
        criterion=criterion,
        optimizer=lambda model: SGD(model.parameters(), lr=0.1),
        data_seeds=4_000,
        batch_size=POINTS,
        shuffle=False,  # one batch holds all points
        epochs=EPOCHS,
        encode=encode,
        threshold=threshold,
        published=published,
    )


def figures(results: Sequence[Results], folder: Path) -> list[Path]:
    return [
        output_maps(results, folder / file_name("mini-2020", "output maps")),
        loss_and_accuracy(results, folder / file_name("mini-2020", "curves")),
    ]


EXPERIMENT = Experiment(
    label="mini-2020",
    about="5 Linear and 4 ReLU of 25 units, SGD 0.1 on the full batch, 10,000 epochs",
    settings=(setting(Sigmoid, BCELoss, column, 0.5, 96.0), setting(Tanh, MSELoss, signs, 0.0, 97.7)),
    runs=5,
    figures=figures,
)
