"""The arguments of a kernel, by name and in order.

A kernel is a C function of 64-bit integers. Everything that calls one or writes one takes the order from here.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Kind = Literal["numbers", "int32", "int64", "count"]
NUMBERS: Kind = "numbers"  # the address of an array of the kernel's dtype
INT32: Kind = "int32"  # the address of an array of int32
INT64: Kind = "int64"  # the address of an array of int64
COUNT: Kind = "count"  # an integer, passed by value

LINE = 64  # bytes of a cache line: values written by different threads are that far apart


class KernelArguments(NamedTuple):
    """The arguments of a kernel, in order. For a caller they are addresses and counts; while a kernel is being written
    they are values of its program.

    P is the number of parameters of one network and W the number of lanes. In replica lanes every shape that belongs
    to a network has one more axis at its end, (..., W).

    parameters                (P,) parameters of a group of networks
    gradients                 (parts, P) their gradients, one array per part of the batch
    states                    (states, P) the optimizer's state
    activations               a thread's scratch memory: the values of a chunk of the batch
    activation_gradients      a thread's scratch memory: the gradients of these values
    inputs                    (n, features) the samples
    targets                   (n,) labels or (n, outputs) numbers, as floats
    shared_coefficients       (steps, C) the optimizer's coefficients that all replicas share
    replica_coefficients      (steps, C) the optimizer's coefficients that differ between replicas
    loss_hyperparameters      (hyperparameters,) those of the loss, per replica
    loss_constants            weights of the loss's classes or outputs
    constants                 the fixed numbers of the network, such as masks of attention
    losses                    (steps, parts) written by the kernel
    outputs                   (columns of all steps, outputs) written if the spec keeps outputs
    right_answers             (steps, parts, answers) written by the kernel: counts of correct predictions
    order                     (samples of all steps,) the row of each sample in inputs and targets
    keys                      (steps, dropouts, 2) random keys of Dropout's masks
    steps, batch              the number of steps, and of samples per step
    sizes                     the widths of the hidden layers, if they differ between networks
    counters                  two int64, a cache line apart and 0 at first, through which threads share the parts
    """

    parameters: Any
    gradients: Any
    states: Any
    activations: Any
    activation_gradients: Any
    inputs: Any
    targets: Any
    shared_coefficients: Any
    replica_coefficients: Any
    loss_hyperparameters: Any
    loss_constants: Any
    constants: Any
    losses: Any
    outputs: Any
    right_answers: Any
    order: Any
    keys: Any
    steps: Any
    batch: Any
    sizes: Any
    counters: Any


KINDS: dict[str, Kind] = dict.fromkeys(KernelArguments._fields, NUMBERS) | {
    "order": INT32,
    "keys": INT32,
    "steps": COUNT,
    "batch": COUNT,
    "sizes": INT32,
    "counters": INT64,
}
