"""History: the record of a training, with one value per epoch of everything that was measured."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, DataError, MissingIndexError
from lamp.intervals import margin_of_mean, mean_std
from lamp.metrics.metric import mode_of
from lamp.saving import write_file
from lamp.saving.paths import read_file
from lamp.signatures import called
from lamp.state_dict import check_state_of
from lamp.tabular import Table
from lamp.torch_habits import explains_attributes
from lamp.training.measured import Measured, MeasuredValues
from lamp.values import a_number, as_path, integer, is_one_of, several

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS_SHOWN = 12
WIDTH = 80  # the most characters per line

KEPT = ("engine", "why", "replicas", "stopped", "compile_seconds", "endings", "failed")

INSTEAD = {
    "history": "the history itself: history['loss']",
    "epoch": "range(history.epochs)",
    "to_frame": "polars.DataFrame({name: values.tolist() for name, values in history.items()})",
}


@explains_attributes(
    lambda history: INSTEAD | {name: f"history[{name!r}]" for name in (vars(history).get("_epochs") or [{}])[-1]}
)
class History(Mapping[str, Tensor]):
    """The record of a training: `history["loss"]`, `history["validation_loss"]`, ... are tensors (epochs,).

    engine           the engine that ran
    why              why this engine was chosen
    compile_seconds  the time to load the compiler and to compile; no epoch's time includes it
    stopped          why the training ended: "all epochs done", "interrupted", early stopping's reason, ...
    seconds          a tensor (epochs,): the time of each epoch, validation included

    For a population the values are (epochs, K), NaN after a replica has stopped. `mean`, `std` and `interval` combine
    replicas, `best_replica` finds the best one, and `of(k)` is the history of one.

    replicas  K, or None for one network
    endings   why replicas ended before the last epoch, by index
    failed    the replicas whose loss was not finite

    A history prints as a table, draws itself with `plot()`, and converts to JSON and back.
    """

    def __init__(self, engine: str, why: str, replicas: int | None = None) -> None:
        self.engine, self.why, self.replicas, self.stopped = engine, why, replicas, "not finished"
        self.compile_seconds = 0.0
        self.endings: dict[int, str] = {}
        self.failed: list[int] = []
        self._epochs: list[dict[str, Measured]] = []
        self._seconds: list[float] = []

    def record(self, values: Mapping[str, Measured], seconds: float) -> None:
        """Append one epoch's values: numbers, or tensors (K,) of a population."""
        self._epochs.append(dict(values))
        self._seconds.append(seconds)

    # ---- as a mapping of tensors ---------------------------------------------------------------------------------
    def __getitem__(self, name: str) -> Tensor:
        if not isinstance(name, str) or name not in self.names:
            raise ArgumentError(
                f"the history holds no {name!r}"[:80],
                expected=", ".join(self.names) or "nothing yet: no epoch was finished",
                got=repr(name)[:60],
                fix="name one of these, or pass validation= and metrics= to fit",
            )
        nothing = math.nan if self.replicas is None else torch.full((self.replicas,), math.nan)
        rows = [torch.as_tensor(epoch.get(name, nothing), dtype=torch.float64) for epoch in self._epochs]
        return torch.stack(rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self.names

    def __bool__(self) -> bool:
        return True  # an empty history counts as a history

    __eq__, __hash__ = object.__eq__, object.__hash__  # a Mapping's would ask whether tensors are equal

    @property
    def names(self) -> list[str]:
        """The names of what was measured, in order of appearance."""
        return list(dict.fromkeys(name for epoch in self._epochs for name in epoch))

    @property
    def epochs(self) -> int:
        """The number of epochs finished."""
        return len(self._epochs)

    @property
    def seconds(self) -> Tensor:
        return torch.tensor(self._seconds, dtype=torch.float64)

    @property
    def last(self) -> dict[str, Measured]:
        """The last epoch's values, by name."""
        return MeasuredValues(self._epochs[-1] if self._epochs else {})

    @called()
    def best_epoch(self, name: str = "validation_loss", mode: str = "min") -> int:
        """The epoch, counted from 0, in which a value was lowest (mode "min") or highest ("max"). For a population, the
        mean over replicas counts."""
        return _best(self.mean(name), _as_mode(mode))

    # ---- over the replicas of a population -------------------------------------------------------------------------
    @called()
    def mean(self, name: str = "loss") -> Tensor:
        """The mean over replicas with a finite value, (epochs,); for one network its values."""
        return self[name] if self.replicas is None else mean_std(self[name])[0]

    @called()
    def std(self, name: str = "loss") -> Tensor:
        """The standard deviation over replicas with a finite value, (epochs,); NaN if there are fewer than two."""
        return mean_std(self._of_replicas(name))[1]

    @called()
    def interval(self, name: str = "loss", level: float = 0.95) -> tuple[Tensor, Tensor]:
        """The confidence interval of the mean, (low, high), each (epochs,), as if replicas were drawn from a normal
        distribution: mean -+ t std / sqrt(count), with Student's t of count - 1 degrees of freedom."""
        if not 0 < a_number(level, "level") < 1:
            raise ArgumentError("the level of an interval", expected="between 0 and 1", got=level, fix="level=0.95")
        mean, margin = self.mean(name), margin_of_mean(self._of_replicas(name), level)
        return mean - margin, mean + margin

    @called()
    def best_replica(self, name: str | None = None, mode: str | None = None) -> int:
        """The replica whose best epoch is best: by default by validation loss, or else loss.

        mode  "min" or "max"; by default as for lamp.EarlyStopping
        """
        chosen = ("validation_loss" if "validation_loss" in self else "loss") if name is None else name
        values = self._of_replicas(chosen)
        mode = _as_mode(mode_of(chosen) if mode is None else mode)
        worst = math.inf if mode == "min" else -math.inf
        filled = values.masked_fill(~values.isfinite(), worst)
        return _best(filled.amin(0) if mode == "min" else filled.amax(0), mode)

    def of(self, k: int) -> History:
        """The history of one replica, up to its last epoch."""
        k = integer(k, "k")
        if self.replicas is None or not -self.replicas <= k < self.replicas:
            raise MissingIndexError(
                f"replica {k!r} is not in the history of {self.replicas or 'one network'}",
                expected="the history itself" if self.replicas is None else f"an integer from 0 to {self.replicas - 1}",
                got=repr(k)[:60],
                fix="history.replicas is their number",
            )
        k %= self.replicas
        one = History(self.engine, self.why)
        one.stopped, one.compile_seconds = self.endings.get(k, self.stopped), self.compile_seconds
        for epoch, seconds in zip(self._epochs, self._seconds, strict=True):
            values = {name: float(torch.as_tensor(value)[k]) for name, value in epoch.items()}
            if all(map(math.isnan, values.values())):
                break
            one.record(values, seconds)
        return one

    def _of_replicas(self, name: str) -> Tensor:
        if self.replicas is None:
            raise ArgumentError(
                "this is the history of one network",
                expected="that of a population",
                got=repr(self),
                fix="history[name]",
            )
        return self[name]

    # ---- in a checkpoint, and line by line ---------------------------------------------------------------------------
    @called()
    def state_dict(self) -> dict[str, Any]:
        """The exact contents, as numbers and tensors."""
        missing = {name: [k for k, epoch in enumerate(self._epochs) if name not in epoch] for name in self.names}
        return {
            **{name: getattr(self, name) for name in KEPT},
            "seconds": self.seconds,
            "measured": {name: self[name] for name in self.names},
            "missing": {name: epochs for name, epochs in missing.items() if epochs},
        }

    @called()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        check_state_of(self, state_dict, *KEPT, "seconds", "measured", "missing")
        for name in KEPT:
            setattr(self, name, state_dict[name])
        self._seconds = state_dict["seconds"].tolist()
        self._epochs = [{} for _ in self._seconds]
        for name, values in state_dict["measured"].items():
            each = values.tolist() if self.replicas is None else values.unbind()
            for k in {*range(self.epochs)}.difference(state_dict["missing"].get(name, ())):
                self._epochs[k][name] = each[k]

    def line(self, k: int) -> str:
        """Epoch k as a line of JSON: its number from 1, its seconds and its values; null stands for NaN."""
        values = {name: _plain(torch.as_tensor(value, dtype=torch.float64)) for name, value in self._epochs[k].items()}
        return json.dumps({"epoch": k + 1, "seconds": round(self._seconds[k], 6), **values})

    @classmethod
    def from_lines(cls, path: str | Path) -> History:
        """The history in a `history.jsonl`, also while it is being written: an incomplete last line is ignored.

        Raises DataError for a file that is missing, and for any other line that does not hold an epoch.
        """
        try:
            lines = as_path(path).read_bytes().split(b"\n")[:-1]  # after the last line's end: nothing, or what is torn
        except OSError as error:
            raise DataError(
                f"{path} cannot be read: {error.strerror}",
                expected="a run's history.jsonl",
                got=type(error).__name__,
                fix="check the path",
            ) from None
        history = cls("not said", "read from its lines")
        for k, text in enumerate(lines):
            try:
                values = json.loads(text)
                if values.pop("epoch") != k + 1:
                    raise ValueError("another epoch's")
                seconds = float(values.pop("seconds"))
                measured = {name: _number(value) for name, value in values.items()}
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
                raise DataError(
                    f"{path}: line {k + 1} is no epoch's",
                    expected=f'{{"epoch": {k + 1}, "seconds": ..., "loss": ...}}',
                    got=text[:60].decode(errors="replace"),
                    fix="the file was changed since: the checkpoint beside it holds the history as well",
                ) from None
            history.record(measured, seconds)
            history.replicas = next((len(v) for v in measured.values() if isinstance(v, Tensor)), None)
        return history

    # ---- as a table, a figure, a file ------------------------------------------------------------------------------
    @called()
    def table(self) -> Table:
        """The values of some epochs, evenly spaced, the first and the last among them."""
        shown = ROWS_SHOWN - 1
        indices = sorted({round(k * (self.epochs - 1) / shown) for k in range(ROWS_SHOWN)}) if self.epochs else []
        columns = [self._shown(name) for name in self.names]
        rows = [[str(k + 1), *(column[k] for column in columns)] for k in indices]
        who = "" if self.replicas is None else f" of {self.replicas} replicas (mean ± std)"
        compiling = f", compiled in {self.compile_seconds:.2f} s" if self.compile_seconds else ""
        ran = f"{sum(self._seconds):.2f} s ({self.engine} engine{compiling})"
        headline = textwrap.fill(f"{self.epochs} epochs{who} in {ran}; {self.stopped}", WIDTH)
        return Table(headline, ["epoch", *(name.replace("_", " ") for name in self.names)], rows, wraps=True)

    def __str__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def _shown(self, name: str) -> list[str]:
        """The values of each epoch, as the table shows them."""
        if self.replicas is None:
            return ["" if math.isnan(value) else f"{value:.4g}" for value in self[name].tolist()]
        both = zip(self.mean(name).tolist(), self.std(name).tolist(), strict=True)
        return ["" if math.isnan(mean) else f"{mean:.4g} ± {std:.2g}".removesuffix(" ± nan") for mean, std in both]

    def __repr__(self) -> str:
        return f"History({self.epochs} epochs of {', '.join(self.names) or 'nothing'}; {self.engine}; {self.stopped})"

    @called()
    def plot(self, names: str | list[str] | None = None, ax: Axes | None = None) -> Axes:
        """Draw values over the epochs: by default the loss and, if there is one, the validation loss. Returns the axes.

        Raises DataError for a history without epochs.
        """
        from lamp import plots

        if names is None:
            names = [name for name in ("loss", "validation_loss") if name in self]
        for name in [names] if isinstance(names, str) else several(names, "names", "texts"):
            ax = plots.curves(self, key=name, ax=ax, label=str(name).replace("_", " "))
        if ax is None:
            raise DataError(
                "nothing to plot",
                expected="a history with epochs",
                got="one without",
                fix="train for at least one epoch",
            )
        return ax

    @called()
    def to_dict(self) -> dict[str, Any]:
        """The contents, as lists and strings."""
        return {
            "engine": self.engine,
            "why": self.why,
            "compile_seconds": self.compile_seconds,
            "stopped": self.stopped,
            **(
                {}
                if self.replicas is None
                else {"replicas": self.replicas, "endings": self.endings, "failed": self.failed}
            ),
            "seconds": self._seconds,
            "measured": {name: [_plain(epoch.get(name)) for epoch in self._epochs] for name in self.names},
        }

    @called()
    def to_json(self, path: str | Path | None = None) -> str:
        """The record as JSON text; also written to a file if a path is given."""
        text = json.dumps(self.to_dict(), indent=1)
        if path is not None:
            write_file(path, lambda file: file.write(f"{text}\n".encode()))
        return text

    @classmethod
    @called()
    def from_json(cls, source: str | Path) -> History:
        """The history from a text or file that `to_json` wrote. Raises DataError for anything else."""
        text = read_file(source) if isinstance(source, Path) else source
        try:
            saved = json.loads(text)
            history = cls(saved["engine"], saved["why"], saved.get("replicas"))
            history.stopped, history.compile_seconds = saved["stopped"], float(saved.get("compile_seconds", 0.0))
            history.endings = {int(k): why for k, why in saved.get("endings", {}).items()}
            history.failed = list(saved.get("failed", []))
            for k, seconds in enumerate(saved["seconds"]):
                epoch = {name: values[k] for name, values in saved["measured"].items() if values[k] is not None}
                history.record({name: _number(value) for name, value in epoch.items()}, seconds)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, OverflowError) as error:
            raise DataError(
                "this is no history", expected="JSON written by History.to_json", got=f"{error}", fix="write it again"
            ) from None
        return history


def _as_mode(mode: str) -> str:
    if is_one_of(mode, "min", "max"):
        return mode
    raise ArgumentError(
        "mode says which values are best",
        expected='"min" for the lowest or "max" for the highest',
        got=repr(mode)[:60],
        fix='mode="min" for a loss, mode="max" for an accuracy',
    )


def _best(values: Tensor, mode: str) -> int:
    worst = math.inf if mode == "min" else -math.inf
    values = values.nan_to_num(nan=worst, posinf=math.inf, neginf=-math.inf)
    return int(values.argmin() if mode == "min" else values.argmax())


def _plain(value: Measured | None) -> Any:
    """A value for JSON, which has no word for NaN and for infinite numbers: None in a tensor, "inf" and "-inf".

    None in place of a number means that it was not measured, so NaN is "nan" there.
    """
    if not isinstance(value, Tensor):
        return value if value is None or math.isfinite(value) else str(float(value))
    listed = value.tolist()
    return [_of_one(each) for each in listed] if isinstance(listed, list) else _of_one(listed)


def _of_one(number: float) -> float | str | None:
    return None if math.isnan(number) else number if math.isfinite(number) else str(number)


def _number(value: Any) -> Measured:
    """A value from JSON: a number, null for NaN, "inf", "-inf" or "nan", or a list of these."""
    if isinstance(value, list):
        return torch.tensor([float(_number(each)) for each in value], dtype=torch.float64)
    if value is None:
        return math.nan
    if not isinstance(value, int | float) and value not in ("inf", "-inf", "nan"):
        raise ValueError(f"{value!r} is no number")
    return float(value)
