"""lamp-2021: a Tanh network that ends in Sigmoid, with squared error, 50 runs, with and without shuffling."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lamp import init
from lamp.experiments.figures import data_and_predictions, file_name
from lamp.experiments.protocol import Results, Setting, column, mlp
from lamp.experiments.reproduction import Experiment
from lamp.losses import MSELoss
from lamp.nn import Sigmoid, Tanh
from lamp.optim import SGD

XAVIER = partial(init.xavier_normal_, gain=init.calculate_gain("tanh"))


def setting(name: str, shuffle: bool) -> Setting:
    return Setting(
        name=name,
        network=lambda: mlp(Tanh, 1, Sigmoid(), init=XAVIER),
        criterion=MSELoss,
        optimizer=lambda model: SGD(model.parameters(), lr=0.16),
        data_seeds=5_000,
        batch_size=50,
        shuffle=shuffle,
        epochs=100,
        encode=column,
        threshold=0.5,
        published=96.0,
    )


def figures(results: Sequence[Results], folder: Path) -> list[Path]:
    return [data_and_predictions(each.runs[0], folder / file_name("lamp-2021", each.setting.name)) for each in results]


EXPERIMENT = Experiment(
    label="lamp-2021",
    about="Tanh network, Sigmoid and MSE at its end, SGD 0.16, batch 50, 100 epochs",
    settings=(setting("shuffled", shuffle=True), setting("in order", shuffle=False)),
    runs=50,
    figures=figures,
)
