"""What a kernel is called with: the one place where the order of its arguments stands."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Kind = Literal["numbers", "int32", "int64", "count"]
NUMBERS: Kind = "numbers"  # the address of numbers of the kernel's dtype
INT32: Kind = "int32"  # the address of such integers
INT64: Kind = "int64"
COUNT: Kind = "count"  # a whole number itself

LINE = 64  # bytes of a cache line: what different threads write to stands that far apart


class KernelArguments(NamedTuple):
    """The arguments of a kernel, in their order: addresses and counts; within the kernel's code, values of the program.

    P is the number of a network's parameters, W that of lanes. In replica lanes shapes have an axis (W,) at their end.

    parameters                (P,) of a group of networks
    gradients                 (parts, P): the memory for gradients of parameters, one for each part of the batch
    states                    (states, P) of the optimizer
    activations               values of a chunk of the batch, and
    activation_gradients      their gradients: scratch memory of a thread
    inputs, targets           the samples' features (n, features), and what the loss compares with
    shared_coefficients       (steps, C) of the optimizer, those that all replicas share
    replica_coefficients      (steps, C), those that each replica has of its own
    loss_hyperparameters      those that each replica has of its own
    loss_constants            weights of classes or outputs
    losses                    (steps, parts), written
    outputs                   (columns of all steps, outputs), written where they are kept
    right_answers             (steps, parts, answers), written
    order                     (samples of all steps,): the rows of the samples
    keys                      (steps, dropouts, 2) of Dropout's masks
    steps, batch              how many steps, and how many samples each
    sizes                     how wide hidden layers are, in networks of several sizes
    counters                  two int64 a cache line apart, 0 at first, by which several threads share out the parts
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
