"""All modules of torch's own table of cases, in float32, bfloat16 and float16: as near to the truth as torch is."""

import pytest

import lamp
from tests.cases import torch_precision, torch_tables

WITHOUT_TORCH = {  # torch's CPU has no half precision for what they need
    "AvgPool3d",
    "CTCLoss",
    "LPPool3d",
    "LocalResponseNorm",
    "MultiLabelMarginLoss",
    "MultiMarginLoss",
}


@pytest.mark.parametrize("dtype", torch_precision.DTYPES, ids=str)
@pytest.mark.parametrize(("name", "training"), torch_tables.MODES)
def test_every_sample(name, training, dtype, capsys):
    failures, total, without = {}, 0, 0
    for what, sample in torch_tables.samples(name, training):
        total += 1
        try:
            wrong = torch_precision.off(name, sample, training, dtype)
        except RuntimeError as error:
            if isinstance(error, lamp.LampError) or "not implemented" not in str(error):
                raise
            without += 1
        else:
            if wrong:
                failures[what] = wrong
    with capsys.disabled():
        print(f"{name} {total - without - len(failures)}/{total - without}", end=" ")
    assert not failures
    assert total
    assert not without or name in WITHOUT_TORCH
