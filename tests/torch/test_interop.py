"""Weights between PyTorch's modules and pyrnn's layers, in files too; tensors as inputs."""

import os
import pickle

import numpy as np
import pytest
import torch

import pyrnn
import pyrnn.torch
from pyrnn import interop

from .twins import B, H, I, T

MODULES = [
    torch.nn.LSTM(I, H, 2, batch_first=True, bidirectional=True, dtype=torch.float64),
    torch.nn.LSTM(I, H, proj_size=3, bias=False, dtype=torch.float64),
    torch.nn.GRU(I, H, 2, dropout=0.25, dtype=torch.float64),
    torch.nn.RNN(I, H, nonlinearity="relu", dtype=torch.float64),
    pyrnn.torch.GRU(I, H, dtype=torch.float64),
]
CELLS = [
    torch.nn.LSTMCell(I, H),
    torch.nn.GRUCell(I, H, bias=False),
    torch.nn.RNNCell(I, H, nonlinearity="relu"),
]
TOLERANCE = 1e-12


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("module", MODULES, ids=repr)
def test_a_module_is_a_layer_and_back(module):
    module.eval()
    x = torch.randn(T, B, I, dtype=torch.float64)
    layer = interop.from_torch(module)
    y, expected = layer(x)[0], module(x)[0].detach()
    np.testing.assert_allclose(y, expected, rtol=0, atol=TOLERANCE)
    again = interop.to_torch(layer).eval()
    assert repr(again) == repr(module) and isinstance(module, type(again))
    for name, value in module.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    assert repr(interop.from_torch(again)) == repr(layer)


@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_a_cell_is_a_cell_and_back(cell):
    layer = interop.from_torch(cell)
    x = torch.randn(B, I)
    expected = cell(x)
    expected, found = ((part if isinstance(part, tuple) else (part,)) for part in (expected, layer(x)))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other.detach(), rtol=0, atol=1e-6)
    assert repr(interop.to_torch(layer)) == repr(cell)


def model():
    torch.manual_seed(0)
    return torch.nn.ModuleDict(
        {"embedding": torch.nn.Embedding(9, I), "rnn": torch.nn.GRU(I, H), "b": torch.nn.LSTM(H, H)}
    )


@pytest.mark.parametrize("form", ["module", "state_dict", "pt"])
def test_models_are_searched(form, tmp_path):
    source = whole = model()
    if form == "state_dict":
        source = whole.state_dict()
    if form == "pt":
        source = tmp_path / "model.pt"
        torch.save(whole.state_dict(), source)
    assert interop.list_torch(source) == {"rnn": f"GRU({I}, {H})", "b": f"LSTM({H}, {H})"}
    layer = interop.from_torch(source, "rnn")
    for name, value in whole["rnn"].state_dict().items():
        np.testing.assert_array_equal(layer.params[name], value)


def test_parametrized_and_half_weights():
    module = torch.nn.utils.parametrizations.weight_norm(torch.nn.GRU(I, H), "weight_hh_l0")
    np.testing.assert_array_equal(
        interop.from_torch(module).params["weight_hh_l0"], module.weight_hh_l0.detach()
    )
    with pytest.raises(ValueError, match="parametrizations"):
        interop.from_torch(module.state_dict())
    half = torch.nn.GRU(I, H, dtype=torch.bfloat16)
    assert interop.from_torch(half).dtype == np.float32


class Hostile:
    def __reduce__(self):
        return os.mkdir, (os.environ["PYRNN_TEST_HOSTILE"],)


def test_a_file_runs_no_code(tmp_path, monkeypatch):
    trap = tmp_path / "trap"
    monkeypatch.setenv("PYRNN_TEST_HOSTILE", str(trap))
    path = tmp_path / "model.pt"
    torch.save({"weight_ih_l0": Hostile()}, path)
    with pytest.raises(ValueError, match=r"model\.pt is damaged, or holds more than weights"):
        interop.from_torch(path)
    path.write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(ValueError, match="is damaged, or holds more than weights"):
        interop.from_torch(path)
    assert not trap.exists()


def test_damaged_and_other_files(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(torch.nn.GRU(2, 3).state_dict(), path)
    whole = path.read_bytes()
    for end in range(0, len(whole) - 1, 97):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match="is damaged"):
            interop.from_torch(path)
    torch.save({"model": {}, "epoch": 3}, path)
    with pytest.raises(ValueError, match="give one of 'model'"):
        interop.from_torch(path)
    torch.save([1], path)
    with pytest.raises(ValueError, match="must hold a state dict, got list"):
        interop.from_torch(path)
    with pytest.raises(FileNotFoundError):
        interop.from_torch(tmp_path / "none.pt")


def test_a_given_nonlinearity_must_be_the_modules():
    with pytest.raises(ValueError, match="must be that of the module, 'relu', got 'tanh'"):
        interop.from_torch(torch.nn.RNN(I, H, nonlinearity="relu"), nonlinearity="tanh")


@pytest.mark.parametrize("batch_first", [False, True])
def test_tensors_are_not_copied(batch_first, kernels_read):
    x = torch.randn(2 * T, B, I)[::2]
    assert kernels_read(pyrnn.GRU(I, H, batch_first=batch_first), x).ctypes.data == x.data_ptr()
