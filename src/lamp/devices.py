"""Checks of device and dtype arguments, which raise lamp's errors before torch would raise its own."""

from __future__ import annotations

from typing import Any

import torch

from lamp.errors import DeviceError, DTypeError


def device_of(named: Any) -> torch.device | None:
    """The device for a name ("cpu", "cuda:1"), a number or a torch.device; None for None.

    Raises DeviceError for a name that torch does not know, and for a device that this machine or torch does not have.
    """
    if named is None:
        return None
    try:
        device = torch.device(named)
    except (RuntimeError, TypeError, ValueError):
        raise DeviceError(
            "there is no device of this name",
            expected='a torch.device, or its name, such as "cpu", "cuda" or "cuda:1"',
            got=repr(named),
            fix='"cuda" for the GPU' if isinstance(named, str) and named == "gpu" else "name one of these",
        ) from None
    if device.type == "cuda" and (device.index or 0) >= gpus():
        raise DeviceError(
            "torch finds no such GPU on this machine",
            expected=", ".join(["cpu", *(f"cuda:{k}" for k in range(gpus()))]),
            got=str(device),
            fix='use "cpu", or install torch with CUDA on a machine with a GPU',
        )
    if device.type not in ("cpu", "cuda", "meta"):
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError, ImportError):  # torch raises each of these
            raise DeviceError(
                f"torch cannot use the device {device.type!r} here",
                expected=", ".join(["cpu", *(f"cuda:{k}" for k in range(gpus()))]),
                got=repr(str(device)),
                fix="use one of these, or install torch with support for that device",
            ) from None
    return device


def gpus() -> int:
    """The number of GPUs that torch finds."""
    return torch.cuda.device_count()


def without_numbers(what: str) -> DeviceError:
    """The error for something on the device "meta", whose tensors have shapes but no values."""
    return DeviceError(
        f"{what} is on the device meta, where tensors have no values",
        expected='a device with memory, such as "cpu" or "cuda"',
        got="meta",
        fix="build it where it is to run",
    )


def check_default_device() -> None:
    """Raise DeviceError if new tensors have no values, since torch's default device is "meta"."""
    if torch.get_default_device().type == "meta":
        raise without_numbers("torch's default device, where new tensors are made,")


def floating(dtype: Any) -> torch.dtype | None:
    """The dtype; None for None. Raises DTypeError unless it is a real floating-point dtype."""
    if dtype is None or (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        return dtype
    raise DTypeError(
        "a network computes in floating point",
        expected="a floating-point dtype, such as torch.float32 or torch.float64",
        got=repr(dtype),
        fix="dtype=torch.float32, or leave it out",
    )


def target_of(args: tuple[Any, ...], device: Any, dtype: Any) -> tuple[torch.device | None, torch.dtype | None]:
    """The device and the dtype that the arguments of `to(*args, device=, dtype=)` name; None where none is named."""
    for each in args:
        if isinstance(each, torch.dtype):
            dtype = each
        elif isinstance(each, torch.Tensor):
            device, dtype = each.device, each.dtype
        elif isinstance(each, str | torch.device | int) and not isinstance(each, bool):
            device = each
        else:
            raise DTypeError(
                "to() takes a device and a dtype",
                expected='such as to("cuda"), to(torch.float64), to("cpu", torch.float32)',
                got=type(each).__name__,
                fix="pass a device, a dtype, or a tensor that has them",
            )
    return device_of(device), floating(dtype)
