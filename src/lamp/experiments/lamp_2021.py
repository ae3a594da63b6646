"""lamp-2021: Tanh network with a Sigmoid at its end, squared error, 50 cycles, with and without shuffling."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lamp import init
from lamp.experiments.experiment import Experiment
from lamp.experiments.figures import data_and_answers, file_name
from lamp.experiments.protocol import Results, Setting, column, mlp
from lamp.losses import MSELoss
from lamp.nn import Sigmoid, Tanh
from lamp.optim import SGD

PUBLISHED = 96.0


def setting(begin: str, init_: Callable[..., Any], shuffle: bool) -> Setting:
    return Setting(
        name=f"{begin}, {'shuffled' if shuffle else 'in order'}",
        network=lambda: mlp(Tanh, 1, Sigmoid(), init=init_),
        criterion=MSELoss,
        optimizer=lambda model: SGD(model.parameters(), lr=0.16),
        batch_size=50,
        shuffle=shuffle,
        epochs=100,
        encode=column,
        threshold=0.5,
        published=PUBLISHED,
    )


XAVIER = partial(init.xavier_normal_, gain=init.calculate_gain("tanh"))


def figures(results: Sequence[Results], folder: Path) -> list[Path]:
    return [
        data_and_answers(each.runs[0], folder / file_name("lamp-2021", each.setting.name)) for each in results
    ]


EXPERIMENT = Experiment(
    label="lamp-2021",
    about="Tanh network, Sigmoid and MSE at its end, SGD 0.16, batch 50, 100 epochs",
    settings=tuple(
        setting(begin, init_, shuffle)
        for begin, init_ in (("Xavier", XAVIER), ("N(0,1)", init.normal_))
        for shuffle in (True, False)
    ),
    runs=50,
    figures=figures,
)
