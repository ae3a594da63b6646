"""What a training leaves behind: one number an epoch of everything that was measured."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS_SHOWN = 12


class History(Mapping[str, Tensor]):
    """The record of a training: `history["loss"]`, `history["validation_loss"]`, ... are tensors (epochs,).

    engine   which engine ran, and `why`
    stopped  why the training ended: "all epochs done", "interrupted", early stopping's reason, ...
    seconds  a tensor (epochs,): the time each epoch took, validation included

    It prints as a table, `plot()`s itself, and goes to JSON and back.
    """

    def __init__(self, engine: str, why: str) -> None:
        self.engine, self.why, self.stopped = engine, why, "not finished"
        self._epochs: list[dict[str, float]] = []
        self._seconds: list[float] = []

    def record(self, values: Mapping[str, float], seconds: float) -> None:
        """Append one epoch's numbers."""
        self._epochs.append(dict(values))
        self._seconds.append(seconds)

    # ---- as a mapping of tensors ---------------------------------------------------------------------------------
    def __getitem__(self, name: str) -> Tensor:
        if name not in self.names:
            raise ArgumentError(
                f"the history holds no {name!r}",
                expected=", ".join(self.names) or "nothing yet: no epoch was finished",
                got=name,
                fix="name one of these, or pass validation= and metrics= to fit",
            )
        return torch.tensor([epoch.get(name, math.nan) for epoch in self._epochs], dtype=torch.float64)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __bool__(self) -> bool:
        return True  # an empty history is a history still

    @property
    def names(self) -> list[str]:
        """What was measured, in the order it came."""
        return list(dict.fromkeys(name for epoch in self._epochs for name in epoch))

    @property
    def epochs(self) -> int:
        """The number of epochs finished."""
        return len(self._epochs)

    @property
    def seconds(self) -> Tensor:
        return torch.tensor(self._seconds, dtype=torch.float64)

    @property
    def last(self) -> dict[str, float]:
        """The last epoch's numbers."""
        return dict(self._epochs[-1]) if self._epochs else {}

    def best_epoch(self, name: str = "validation_loss", mode: str = "min") -> int:
        """The epoch, counted from 0, in which this was lowest (mode "min") or highest ("max")."""
        values = self[name]
        worst = math.inf if mode == "min" else -math.inf
        values = values.nan_to_num(nan=worst)
        return int(values.argmin() if mode == "min" else values.argmax())

    # ---- as a table, a figure, a file ------------------------------------------------------------------------------
    def __str__(self) -> str:
        from io import StringIO

        from rich.console import Console
        from rich.table import Table

        table = Table()
        table.add_column("epoch", justify="right")
        for name in self.names:
            table.add_column(name.replace("_", " "), justify="right")
        shown = ROWS_SHOWN - 1
        indices = sorted({round(k * (self.epochs - 1) / shown) for k in range(ROWS_SHOWN)}) if self.epochs else []
        for k in indices:
            epoch = self._epochs[k]
            table.add_row(str(k + 1), *(f"{epoch[name]:.4g}" if name in epoch else "" for name in self.names))
        text = StringIO()
        Console(file=text, width=max(80, 18 * (1 + len(self.names))), color_system=None).print(table)
        headline = f"{self.epochs} epochs in {sum(self._seconds):.2f} s ({self.engine} engine); {self.stopped}"
        return f"{headline}\n{text.getvalue().rstrip()}"

    def __repr__(self) -> str:
        return f"History({self.epochs} epochs of {', '.join(self.names) or 'nothing'}; {self.engine}; {self.stopped})"

    def plot(self, names: str | list[str] | None = None, ax: Axes | None = None) -> Axes:
        """Draw what was measured over the epochs: by default the loss and, where there is one, the validation loss."""
        from lamp import plots

        chosen = [names] if isinstance(names, str) else names or [n for n in ("loss", "validation_loss") if n in self]
        for name in chosen:
            ax = plots.curves(self, key=name, ax=ax, label=name.replace("_", " "))
        if ax is None:
            raise DataError("nothing to plot", got="a history without epochs", fix="train for at least one epoch")
        return ax

    def to_dict(self) -> dict[str, Any]:
        """Everything in it, as lists and strings."""
        return {
            "engine": self.engine,
            "why": self.why,
            "stopped": self.stopped,
            "seconds": self._seconds,
            "measured": {name: [epoch.get(name) for epoch in self._epochs] for name in self.names},
        }

    def to_json(self, path: str | Path | None = None) -> str:
        """The record as JSON; written to a file as well where a path is given."""
        text = json.dumps(self.to_dict(), indent=1)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text

    @classmethod
    def from_json(cls, source: str | Path) -> History:
        """The history back from `to_json`'s text or file. Raises DataError for anything else."""
        text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
        try:
            saved = json.loads(text)
            history = cls(saved["engine"], saved["why"])
            history.stopped = saved["stopped"]
            for k, seconds in enumerate(saved["seconds"]):
                epoch = {name: values[k] for name, values in saved["measured"].items() if values[k] is not None}
                history.record(epoch, seconds)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise DataError(
                "this is no history", expected="JSON written by History.to_json", got=f"{error}", fix="write it again"
            ) from error
        return history
