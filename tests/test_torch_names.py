"""Public names of torch.nn and torch.optim: each is there, or its error says what to write instead."""

import inspect

import pytest
import torch
from torch.optim import lr_scheduler, swa_utils

import lamp


def classes(package):
    return [name for name in dir(package) if name[0].isupper() and inspect.isclass(getattr(package, name))]


def functions(package):
    """The functions and modules of Python that a package shows."""
    shown = [name for name in dir(package) if not name.startswith("_")]
    return [
        name for name in shown if inspect.isfunction(getattr(package, name)) or inspect.ismodule(getattr(package, name))
    ]


NAMES = {
    "nn": [*classes(torch.nn), *functions(torch.nn)],
    "nn.utils": [name for name in functions(torch.nn.utils) if name != "convert_parameters"],
    "nn.init": [name for name in functions(torch.nn.init) if name.endswith("_")],
    "optim": [*classes(torch.optim), "lr_scheduler", "swa_utils"],
    "lr_scheduler": list(lr_scheduler.__all__),
    "swa_utils": list(swa_utils.__all__),
}
OF_TORCH_ALONE = {"common_types", "factory_kwargs", "swap_in_optimizer_params_and_state"}


ROOMS = {"nn.init": lamp.init}


@pytest.mark.parametrize(("place", "name"), [(place, name) for place, names in NAMES.items() for name in names])
def test_a_name_of_torchs_is_there_or_has_advice(place, name):
    room = ROOMS.get(place, lamp)
    if name in OF_TORCH_ALONE or hasattr(room, name):
        return
    with pytest.raises(lamp.MissingNameError) as caught:
        getattr(room, name)
    assert not caught.value.fix.startswith(("check the name", "did you mean"))
