"""`to_onnx`: exports a network as an ONNX file, and checks the file by running it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import torch

from lamp.errors import ArgumentError, ExportError
from lamp.graph import Value
from lamp.installation import VERSION, install
from lamp.interop.agreement import check_agreement
from lamp.interop.lengths import Sizes, varies
from lamp.interop.onnx_graph import OnnxGraph
from lamp.interop.onnx_rules import RULES
from lamp.interop.predictor import Predictor, predictor
from lamp.module import Module
from lamp.saving import write_file
from lamp.signatures import called
from lamp.studies import Ensemble
from lamp.values import as_path

OPSET, IR_VERSION = 17, 8
LARGEST = 2**31 - 2**20  # bytes of parameters; a protocol buffer is limited to 2 GiB


@called()
def to_onnx(
    model: Module | Ensemble,
    path: str | os.PathLike[str],
    *,
    input_shape: tuple[int, ...] | Sequence[tuple[int, ...]] | None = None,
    input_scaling: Any = None,
    output_scaling: Any = None,
    dtype: torch.dtype | None = None,
    input_dtype: torch.dtype | Sequence[torch.dtype | None] | None = None,
    input_name: str | Sequence[str] = "input",
    output_name: str | Sequence[str] = "output",
) -> Path:
    """Write a network to an ONNX file (opset 17, IR version 8) that takes batches of any size. Returns the path.

    model           a network, which is exported as it is in eval mode, without its final loss; a population, for the
                    mean of its networks' outputs; or a lamp.Ensemble, for the mean of their probabilities, as in
                    `to_onnx(lamp.Ensemble(population, probabilities=lamp.Softmax(-1)), path)`
    input_shape     the shape of one sample, without the batch; needed only if no Linear takes the input, as with
                    Flatten. A name in the place of a size, as in ("length", 16), stands for any length
    input_scaling   (mean, scale): the file takes x, and passes (x - mean) / scale to the network
    output_scaling  (mean, scale): the network returns z, and the file returns z scale + mean
    dtype           torch.float32 or torch.float64; by default that of the parameters, or float32 without parameters
    input_dtype     torch.bool for a mask; by default the input is numbers, or indices if an Embedding looks it up
    input_name      the name in the file of the input (n, *input_shape)
    output_name     the name in the file of the output (n, ...)

    For several inputs or outputs these are lists, as in input_shape=[(3,), (5,)]; a single name is numbered. None in
    the place of a shape leaves an argument of forward out. So an encoder with padding, for sequences of any length, is

        to_onnx(encoder, path, input_shape=[("length", 16), None, ("length",)], input_dtype=[None, None, torch.bool])

    Axes of one name have one length. The network is traced at several lengths, and must be the same operations at each;
    what cannot be written for any length, such as an Unfold, is refused by name. What a network does at more than
    1,100 places alone, such as a mask with a window of so many, is not seen.

    The file contains the operations that `lamp.trace` shows, also those of your own modules with a `trace`. An
    activation becomes an ONNX operator if there is one, else its formula in basic operators. This holds for your own
    activations too, if their `sigma` uses only the operations of lamp.formulas.

    Before the file replaces an older one, onnxruntime runs it on batches of three sizes, and of several lengths where
    any is allowed. Its outputs must be the model's up to rounding.

    Raises ExportError if the outputs differ, if the packages onnx and onnxruntime are not installed, or for more than
    2 GiB of parameters; ArgumentError for a module that cannot be exported, with its path; DTypeError for other
    precisions; CheckpointError if the file cannot be written.
    """
    onnx, runtime = package("onnx"), package("onnxruntime")
    plan = predictor(model, RULES, input_shape, input_scaling, output_scaling, dtype, input_dtype)
    inputs = _names(input_name, "input_name", len(plan.inputs))
    outputs = _names(output_name, "output_name", len(plan.outputs))
    written = _serialised(onnx, plan, inputs, outputs)

    def write(file: IO[bytes]) -> None:
        file.write(written)
        file.flush()
        session = session_of(runtime, file.name)

        def run(*arrays: Any) -> Any:
            return session.run(outputs, dict(zip(inputs, arrays, strict=True)))

        check_agreement(plan, run, path, errors_of_runtime())

    write_file(path, write)
    return as_path(path)


def _serialised(onnx: Any, plan: Predictor, inputs: list[str], outputs: list[str]) -> bytes:
    """The contents of the file."""
    size = sum(parameter.data.nbytes for parameter in plan.parameters)
    if size > LARGEST:
        raise ExportError(
            "the network is too large for an ONNX file",
            expected=f"at most {LARGEST / 2**30:.1f} GiB of parameters",
            got=f"{size / 2**30:.1f} GiB",
            fix="dtype=torch.float32, or fewer networks in the population",
        )
    helper = onnx.helper
    graph = OnnxGraph(plan, helper.make_node, onnx.numpy_helper.from_array, RULES)
    _write_nodes(graph, *([graph.reserve(name) for name in names] for names in (inputs, outputs)))
    proto = onnx.TensorProto
    kinds = {
        torch.float32: proto.FLOAT,
        torch.float64: proto.DOUBLE,
        torch.int64: proto.INT64,
        torch.bool: proto.BOOL,
    }

    def described(name: str, value: Value, sizes: list[Sizes]) -> Any:
        rows = "batch" if value.rows == 1 else "rows"
        shape: Any = tuple(_size(plan, name, k, each) for k, each in enumerate(sizes))
        return helper.make_tensor_value_info(name, kinds[value.dtype], list(replace(value, shape=shape).layout(rows)))

    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "lamp",
            list(map(described, inputs, plan.inputs, plan.input_sizes)),
            list(map(described, outputs, plan.outputs, plan.output_sizes)),
            initializer=graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="lamp",
        producer_version=VERSION,
        doc_string=repr(plan.model),
    )
    helper.set_model_props(made, {"lamp_version": VERSION, "members": str(plan.members or 1)})
    onnx.checker.check_model(made, full_check=True)
    data: bytes = made.SerializeToString()
    return data


def _size(plan: Predictor, name: str, axis: int, sizes: Sizes) -> int | str:
    """An axis of an input or output in the file's words: its size, the name of its length, or a name of its own."""
    if plan.lengths is None or not varies(sizes):
        return sizes[0]
    return plan.lengths.name(sizes) or f"{name}_axis_{axis + 1}"


def _write_nodes(graph: OnnxGraph, inputs: list[str], outputs: list[str]) -> None:
    """Add all nodes, from the inputs to the outputs, which get these names."""
    plan = graph.plan
    begin = []
    for x, standard, value, sizes in zip(inputs, plan.standard, plan.inputs, plan.input_sizes, strict=True):
        x = graph.swapped(x, value, at="input/")
        if standard is not None:
            x = graph.node("Sub", x, graph.numbers("input_mean", standard.mean), at="input/")
            x = graph.node("Div", x, graph.numbers("input_scale", standard.scale), at="input/")
        if plan.members is not None:
            x = graph.node("Unsqueeze", x, graph.integers("first", 0), at="population/")  # (1, n, ...)
        graph.note(x, sizes)
        begin.append(x)
    put_out = []
    written = plan.written(begin, graph.operation)
    for y, own, value in zip(written, plan.own, plan.outputs, strict=True):  # (n, ...), or (K, n, ...)
        if plan.members is not None:
            y = graph.node("ReduceMean", y, at="population/", axes=[0], keepdims=0)  # (n, ...)
        if own is not None:
            y = graph.node("Mul", y, graph.numbers("output_scale", own.scale), at="output/")
            y = graph.node("Add", y, graph.numbers("output_mean", own.mean), at="output/")
        put_out.append(graph.swapped(y, value, at="output/"))
    graph.finish(put_out, outputs)


def session_of(runtime: Any, path: str) -> Any:
    """An onnxruntime session for the written file, on one thread."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised as exceptions anyway
    try:
        return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except errors_of_runtime() as error:
        raise ExportError(
            "onnxruntime cannot load the network",
            expected=f"a runtime with the operators of opset {OPSET}",
            got=str(error),
            fix=install("onnx", upgrade=True),
        ) from None


def errors_of_runtime() -> tuple[type[Exception], ...]:
    """The exceptions of onnxruntime for a network that it cannot load or run; they have no common base class."""
    known = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    return known.Fail, known.InvalidArgument, known.InvalidGraph, known.NotImplemented, known.RuntimeException


def package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ExportError(
            f"an ONNX file is written and checked with the package {name}, which cannot be imported",
            expected="the packages onnx and onnxruntime",
            got=str(error),
            fix=install("onnx"),
        ) from None


def _names(given: Any, argument: str, count: int) -> list[str]:
    """A name for each input or output."""
    if isinstance(given, str) and given:
        return [given] if count == 1 else [f"{given}_{k + 1}" for k in range(count)]
    names = list(given) if isinstance(given, list | tuple) else []
    if all(isinstance(name, str) and name for name in names) and len(set(names)) == count == len(names) > 0:
        return names
    raise ArgumentError(
        f"{argument} is not a name",
        expected="a string, not empty" if count == 1 else f"a string, not empty, or {count} different ones",
        got=repr(given),
        fix=f'{argument}="x", for example',
    )
