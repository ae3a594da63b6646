"""Networks as ONNX files, built from the modules themselves and run once before they are called done."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import IO, Any

import torch

from lamp.errors import ArgumentError, ExportError
from lamp.installation import VERSION, install
from lamp.interop.agreement import check_agreement
from lamp.interop.onnx_graph import RULES, Graph
from lamp.interop.predictor import Predictor, predictor
from lamp.module import Module
from lamp.saving import write_file
from lamp.signatures import called
from lamp.studies import Ensemble

OPSET, IR_VERSION = 17, 8
LARGEST = 2**31 - 2**20  # bytes of parameters: a file of protocol buffers holds less than 2 GiB


@called()
def to_onnx(
    model: Module | Ensemble,
    path: str | os.PathLike[str],
    *,
    input_shape: tuple[int, ...] | None = None,
    input_scaling: Any = None,
    output_scaling: Any = None,
    dtype: torch.dtype | None = None,
    input_name: str = "input",
    output_name: str = "output",
) -> Path:
    """Write a network as an ONNX file (opset 17, IR version 8) that takes batches of any size; returns its path.

    model           a network in any mode: what is written is what it computes in eval mode, without the loss it may end
                    in. Of a population it is the mean of the networks' outputs; of a lamp.Ensemble the mean of their
                    probabilities: `to_onnx(lamp.Ensemble(population, probabilities=lamp.Softmax(-1)), path)`
    input_shape     of one sample, without the batch; needed only where no Linear tells it: before a Flatten, say
    input_scaling   (mean, scale): the file takes x, and the network gets (x - mean) / scale
    output_scaling  (mean, scale): the network gives z, and the file gives z scale + mean
    dtype           torch.float32 or torch.float64: that of the parameters, unless given (float32 without parameters)
    input_name, output_name   by which the file's user gives (n, *input_shape) and gets (n, ...)

    Each activation is ONNX's operator where it has one, else
    composed of basic ones by its formula; so are those of your own whose sigma is written over numbers.

    Before the file takes its place it is loaded by onnxruntime, and must give what the model gives, to rounding, on
    batches of three sizes. A file that was at `path` stays until then.

    Raises ExportError where the two differ, where the packages onnx and onnxruntime are not installed, or for more than
    2 GiB of parameters; ArgumentError for a module that cannot be exported, naming it; DTypeError for other precisions;
    CheckpointError where the file cannot be written.
    """
    onnx, runtime = _package("onnx"), _package("onnxruntime")
    plan = predictor(model, input_shape, input_scaling, output_scaling, dtype)
    written = _serialised(onnx, plan, _name(input_name, "input_name"), _name(output_name, "output_name"))

    def write(file: IO[bytes]) -> None:
        file.write(written)
        file.flush()
        session = _session(runtime, file.name)
        check_agreement(plan, lambda x: session.run([output_name], {input_name: x})[0], path, _errors_of_runtime())

    write_file(path, write)
    return Path(path)


def _serialised(onnx: Any, plan: Predictor, input_name: str, output_name: str) -> bytes:
    """The file's bytes."""
    parameters = {id(p): p for step in plan.steps for p in step.module.parameters()}.values()
    size = sum(p.data.nbytes for p in parameters)
    if size > LARGEST:
        raise ExportError(
            "the network is too large for an ONNX file",
            expected=f"at most {LARGEST / 2**30:.1f} GiB of parameters",
            got=f"{size / 2**30:.1f} GiB",
            fix="dtype=torch.float32, or fewer networks in the population",
        )
    helper = onnx.helper
    graph = Graph(plan, helper.make_node, onnx.numpy_helper.from_array)
    _write_nodes(graph, graph.reserve(input_name), graph.reserve(output_name))
    kind = {torch.float32: onnx.TensorProto.FLOAT, torch.float64: onnx.TensorProto.DOUBLE}[plan.dtype]
    rows = "rows" if plan.across else "batch"
    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "lamp",
            [helper.make_tensor_value_info(input_name, kind, ["batch", *plan.input_shape])],
            [helper.make_tensor_value_info(output_name, kind, [rows, *plan.output_shape])],
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


def _write_nodes(graph: Graph, x: str, output: str) -> None:
    """All nodes from the input x to the output, by those names."""
    plan = graph.plan
    if plan.standard is not None:
        x = graph.node("Sub", x, graph.numbers("input_mean", plan.standard.mean), at="input/")
        x = graph.node("Div", x, graph.numbers("input_scale", plan.standard.scale), at="input/")
    if plan.members is not None:
        x = graph.node("Unsqueeze", x, graph.integers("first", 0), at="population/")  # (1, n, ...)
    for step in plan.steps:
        rule = next(rule for kinds, rule in RULES if isinstance(step.module, kinds))
        x = rule(graph, step, x)  # (n, ...), or (K, n, ...)
    if plan.members is not None:
        x = graph.node("ReduceMean", x, at="population/", axes=[0], keepdims=0)  # (n, ...)
    if plan.own is not None:
        x = graph.node("Mul", x, graph.numbers("output_scale", plan.own.scale), at="output/")
        x = graph.node("Add", x, graph.numbers("output_mean", plan.own.mean), at="output/")
    graph.finish(x, output)


def _session(runtime: Any, path: str) -> Any:
    """The written file, loaded as its users will load it, on one thread."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # its errors come as exceptions too
    try:
        return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except _errors_of_runtime() as error:
        raise ExportError(
            "onnxruntime does not take the network",
            expected=f"a runtime that has the operators of opset {OPSET}",
            got=str(error),
            fix=install("onnx", upgrade=True),
        ) from None


def _errors_of_runtime() -> tuple[type[Exception], ...]:
    """What onnxruntime raises for a network that it cannot load or run: it has no common base class."""
    known = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    return known.Fail, known.InvalidArgument, known.InvalidGraph, known.NotImplemented, known.RuntimeException


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ExportError(
            f"an ONNX file is written and checked with the package {name}, which cannot be imported",
            expected="the packages onnx and onnxruntime",
            got=str(error),
            fix=install("onnx"),
        ) from None


def _name(name: Any, argument: str) -> str:
    if isinstance(name, str) and name:
        return name
    raise ArgumentError(
        f"{argument} is no name", expected="a string, not empty", got=repr(name), fix=f'{argument}="x", for instance'
    )
