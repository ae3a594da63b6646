"""`to_python`: exports a network as a Python file that needs only numpy, to read or to use without torch."""

from __future__ import annotations

import os
import runpy
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

import torch

from lamp.errors import ArgumentError
from lamp.interop.agreement import check_agreement
from lamp.interop.predictor import predictor
from lamp.interop.python_rules import RULES
from lamp.interop.python_script import Script
from lamp.module import Module
from lamp.saving import write_file
from lamp.signatures import called
from lamp.studies import Ensemble
from lamp.values import as_path

DOES_NOT_RUN = (SyntaxError, NameError, AttributeError, TypeError, ValueError, IndexError)  # exceptions of a wrong file


@called()
def to_python(
    model: Module | Ensemble,
    path: str | os.PathLike[str],
    *,
    input_shape: tuple[int, ...] | Sequence[tuple[int, ...]] | None = None,
    input_scaling: Any = None,
    output_scaling: Any = None,
    dtype: torch.dtype | None = None,
    input_dtype: torch.dtype | Sequence[torch.dtype | None] | None = None,
) -> Path:
    """Write a network to a Python file that needs only numpy and has a function predict(x). Returns the path.

    model           a network, which is exported as it is in eval mode, without its final loss; a population, for the
                    mean of its networks' outputs; or a lamp.Ensemble, for the mean of their probabilities, as in
                    `to_python(lamp.Ensemble(population, probabilities=lamp.Softmax(-1)), path)`
    input_shape     the shape of one sample, without the batch; needed only if no Linear takes the input, as with
                    Flatten
    input_scaling   (mean, scale): predict takes x, and passes (x - mean) / scale to the network
    output_scaling  (mean, scale): the network returns z, and predict returns z scale + mean
    dtype           torch.float32 or torch.float64; by default that of the parameters, or float32 without parameters
    input_dtype     torch.bool for a mask; by default the input is numbers, or indices if an Embedding looks it up

    predict takes an array (n, *input_shape), or anything that numpy converts to one, and returns an array (n, ...).
    With several inputs, input_shape is a list of shapes and predict takes several arrays; several outputs are a tuple.
    None in the place of a shape leaves an argument of forward out; input_dtype is a list, too.

    The file contains the operations that `lamp.trace` shows, also those of your own modules with a `trace`. An
    activation is a function with its formula. This holds for your own activations too, if their `sigma` uses only the
    operations of lamp.formulas. Small arrays are written out, larger ones as base64.

    Before the file replaces an older one, it is run on batches of three sizes, and its outputs must be the model's up
    to rounding.

    Raises ExportError if the outputs differ; ArgumentError for a module that cannot be exported, with its path;
    DTypeError for other precisions; CheckpointError if the file cannot be written.
    """
    plan = predictor(model, RULES, input_shape, input_scaling, output_scaling, dtype, input_dtype)
    if plan.lengths is not None:
        raise ArgumentError(
            "a Python file takes inputs of one size",
            expected="numbers in input_shape",
            got=f"{', '.join(plan.lengths.names)}, for any length",
            fix='lamp.to_onnx(model, path, input_shape=("length", 16)) writes a file for any length',
        )
    text = Script(plan, as_path(path).stem, RULES).text()

    def write(file: IO[bytes]) -> None:
        file.write(text.encode("utf-8"))
        file.flush()
        run = cache(runpy.run_path)  # runs the file once, in a namespace of its own
        check_agreement(plan, lambda *arrays: run(file.name)["predict"](*arrays), path, DOES_NOT_RUN)

    write_file(path, write)
    return as_path(path)
