"""The README's code does what it says: all of its Python runs, in order."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lamp
from tests.cases.table_models import of_groups, people, written

README = Path(__file__).parent.parent / "README.md"


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 10
    code = "\n".join(blocks)
    assert "epochs=400" in code
    monkeypatch.chdir(tmp_path)
    written(of_groups(people().select("age", "city", "y"), "y", ("down", "up")), tmp_path / "customers-model")
    names: dict[str, Any] = {}
    exec(code.replace("epochs=400", "epochs=3"), names)
    assert names["history"].epochs == 3
    assert names["losses"].shape == (40,)
    assert 0 < names["f1"].value() < 1
    assert names["confusion"].value().sum() == 1000
    assert names["runs"]["loss"].shape == (20, 20)
    assert len(names["members"]) == 3
    assert names["kept"].epochs == 20
    assert (tmp_path / "curves.png").exists()
    assert lamp.load(names["model"], tmp_path / "model.safetensors") is not None
    assert names["proba"].shape == names["spread"].shape == (5, 2)
    x = torch.randn(7, 2)
    exported: dict[str, Any] = {}
    exec((tmp_path / "network.py").read_text(encoding="utf-8"), exported)
    expected = names["network"].eval()(x).detach().numpy()
    assert np.allclose(exported["predict"](x.numpy()), expected, rtol=1e-5, atol=1e-6)
    assert names["customers"].columns == ["age", "city"]
    assert "3 epochs" in capsys.readouterr().out
    assert names["lamp"] is lamp
