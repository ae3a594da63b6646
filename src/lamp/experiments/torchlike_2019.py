"""torchlike-2019: the same training by lamp and by torch.nn, two losses, with and without momentum."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from lamp import init
from lamp.experiments.figures import file_name, loss_and_accuracy
from lamp.experiments.protocol import Results, Setting, indices, mlp, one_hot
from lamp.experiments.reproduction import Experiment
from lamp.losses import CrossEntropyLoss, Loss, MSELoss
from lamp.nn import ReLU
from lamp.optim import SGD


def setting(
    name: str,
    criterion: Callable[[], Loss],
    encode: Callable[[Tensor], Tensor],
    momentum: float,
    published: tuple[float, float],
    published_torch: float,
) -> Setting:
    return Setting(
        name=name,
        network=partial(mlp, ReLU, 2, init=init.xavier_uniform_),
        criterion=criterion,
        optimizer=lambda model: SGD(model.parameters(), lr=0.1, momentum=momentum),
        data_seeds=3_000,
        batch_size=100,
        epochs=200,
        normalized=True,
        encode=encode,
        published=published[0],
        published_std=published[1],
        published_torch=published_torch,
    )


def figures(results: Sequence[Results], folder: Path) -> list[Path]:
    return [loss_and_accuracy(results, folder / file_name("torchlike-2019", "curves"))]


EXPERIMENT = Experiment(
    label="torchlike-2019",
    about="ReLU network on normalised inputs, SGD 0.1, momentum 0 or 0.2, batch 100, 200 epochs, beside torch.nn",
    settings=(
        setting("CE", CrossEntropyLoss, indices, 0.0, (97.61, 1.37), 97.65),
        setting("CE, momentum", CrossEntropyLoss, indices, 0.2, (97.66, 0.94), 97.74),
        setting("MSE", MSELoss, one_hot, 0.0, (97.63, 0.77), 97.66),
        setting("MSE, momentum", MSELoss, one_hot, 0.2, (97.95, 0.74), 97.46),
    ),
    runs=20,
    figures=figures,
    peer=True,
)
