"""lamp-2019: SELU, cross-entropy, Adam; loss curves of 10 trainings, the points of all runs over one another."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lamp import init
from lamp.experiments.figures import file_name, three_panels
from lamp.experiments.protocol import Results, Setting, mlp
from lamp.experiments.reproduction import Experiment
from lamp.losses import CrossEntropyLoss
from lamp.nn import SELU
from lamp.optim import Adam

SELU_NETWORK = Setting(
    name="SELU",
    network=partial(mlp, SELU, 2, init=init.xavier_normal_),
    criterion=CrossEntropyLoss,
    optimizer=lambda model: Adam(model.parameters(), lr=1e-3),
    data_seeds=1_000,
    batch_size=25,
    epochs=400,
)


def figures(results: Sequence[Results], folder: Path) -> list[Path]:
    return [three_panels(results[0], folder / file_name("lamp-2019", "curves and points"))]


EXPERIMENT = Experiment(
    label="lamp-2019",
    about="SELU network, cross-entropy, Adam 1e-3, batch 25, 400 epochs",
    settings=(SELU_NETWORK,),
    runs=10,
    figures=figures,
)
