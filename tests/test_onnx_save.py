"""Layers as files of ONNX: the same numbers from ONNX Runtime and from `load`; what is refused by name."""

import copy
import itertools
import re

import numpy as np
import onnx
import onnxruntime
import pytest

import pyrnn
import pyrnn.onnx
from pyrnn import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Dropout,
    Embedding,
    LastStep,
    LayerNorm,
    Linear,
    MultiHeadAttention,
    PositionalEncoding,
    Sequential,
    TransformerEncoderLayer,
)
from pyrnn.onnx._stacks import ACTIVATIONS

T, B, I, H = 6, 3, 4, 5
EPS = np.finfo(np.float32).eps

STACKS = {"num_layers": 2, "bidirectional": True}
RECURRENT = [
    *[(kind, {}) for kind in (LSTM, GRU, RNN)],
    *[(kind, STACKS) for kind in (LSTM, GRU, RNN)],
    *[(kind, {"batch_first": True, "bias": False, **STACKS}) for kind in (LSTM, GRU, RNN)],
    *[(kind, {"num_layers": 3, "dropout": 0.5}) for kind in (LSTM, GRU, RNN)],
    (GRU, {"reset_after": False}),
    (GRU, {"reset_after": False, "batch_first": True, **STACKS}),
    (GRU, {"activation": "hard_sigmoid", "recurrent_activation": "softsign", **STACKS}),
    (LSTM, {"peepholes": True}),
    (LSTM, {"coupled": True}),
    (LSTM, {"peepholes": True, "coupled": True, "bias": False, **STACKS}),
    (LSTM, {"activation": "identity", "recurrent_activation": "hard_sigmoid", "bidirectional": True}),
    (LSTM, {"input_dropout": 0.5, "recurrent_dropout": 0.5, "weight_dropout": 0.5, "batch_first": True}),
    *[(RNN, {"nonlinearity": name}) for name in pyrnn.functional.ACTIVATIONS],
    *[(GRU, {"activation": name}) for name in pyrnn.functional.ACTIVATIONS],
]


def named(case):
    return f"{case[0].__name__}-{'-'.join(case[1])}"


def tolerance(dtype, sums=1):
    """Of `sums` sums over inputs and units, one after the other."""
    return 8 * sums * np.finfo(dtype).eps * np.ceil(np.log2(T * 2 * (I + H)))


def runs(path, feeds, dtype=np.float32):
    """The outputs of ONNX Runtime, which has no LSTM in float64, and of `load`."""
    found = [pyrnn.onnx.load(path)(**feeds)]
    if dtype == np.float32:
        session = onnxruntime.InferenceSession(path)
        names = [output.name for output in session.get_outputs()]
        found.append(dict(zip(names, session.run(None, feeds), strict=True)))
        assert list(found[0]) == names
    return found


def flat(found):
    """Outputs and states in one row of arrays."""
    return [a for part in found for a in (flat(part) if isinstance(part, tuple) else (part,))]


@pytest.mark.parametrize("case", RECURRENT, ids=named)
@pytest.mark.parametrize("lengths, state", [*itertools.product([False, True], repeat=2)])
def test_recurrent_layers(rng, tmp_path, dtype, case, lengths, state):
    kind, options = case
    layer = kind(I, H, **options, dtype=dtype, rng=0)
    path = tmp_path / "model.onnx"
    pyrnn.onnx.save(layer, path, lengths=lengths, state=state)
    x = rng.standard_normal((B, T, I) if layer.batch_first else (T, B, I)).astype(dtype)
    feeds, given = {"x": x}, {}
    if lengths:
        feeds["lengths"] = given["lengths"] = np.array([T, 1, 4], np.int32)
    if state:
        shape = (layer.num_layers * layer.directions, B, H)
        feeds["h_0"] = rng.uniform(-1, 1, shape).astype(dtype)
        given["state"] = feeds["h_0"]
        if kind is LSTM:
            feeds["c_0"] = rng.uniform(-1, 1, shape).astype(dtype)
            given["state"] = feeds["h_0"], feeds["c_0"]
    truth = flat(layer(x, **given))
    for found in runs(path, feeds, dtype):
        assert list(found) == ["y", "h_n", "c_n"][: len(truth)]
        for array, expected in zip(found.values(), truth, strict=True):
            assert array.dtype == dtype
            atol = tolerance(dtype, layer.num_layers)
            np.testing.assert_allclose(array, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("mode", ["concat", "sum", "mean", "mul", None])
@pytest.mark.parametrize("batch_first", [False, True])
def test_bidirectional(rng, tmp_path, mode, batch_first):
    layer = Bidirectional(LSTM(I, H, num_layers=2, batch_first=batch_first, rng=0), mode)
    path = tmp_path / "model.onnx"
    pyrnn.onnx.save(layer, path, lengths=True, state=True)
    x = rng.standard_normal((B, T, I) if batch_first else (T, B, I)).astype(np.float32)
    states = {name: rng.uniform(-1, 1, (2, B, H)).astype(np.float32) for name in ("h_0", "c_0")}
    back = {f"{name}_reverse": array / 2 for name, array in states.items()}
    lengths = np.array([2, T, 1], np.int32)
    truth = flat(layer(x, (tuple(states.values()), tuple(back.values())), lengths=lengths))
    outputs = ["y"] if mode else ["y_forward", "y_backward"]
    for found in runs(path, {"x": x, "lengths": lengths, **states, **back}):
        assert list(found) == [*outputs, "h_n", "c_n", "h_n_reverse", "c_n_reverse"]
        for array, expected in zip(found.values(), truth, strict=True):
            np.testing.assert_allclose(array, expected, rtol=0, atol=tolerance(np.float32, 2))


CHAINS = {
    "tokens": lambda d: Sequential(Embedding(9, I, dtype=d), LSTM(I, H, dtype=d), Dropout(0.5),
                                   Linear(H, 2, dtype=d)),
    "classes": lambda d: Sequential(GRU(I, H, bidirectional=True, dtype=d), LastStep(bidirectional=True),
                                    Linear(2 * H, 3, bias=False, dtype=d)),
    "batch first": lambda d: Sequential(RNN(I, H, batch_first=True, dtype=d), LastStep(batch_first=True)),
    "last of both": lambda d: Sequential(Bidirectional(RNN(I, H, dtype=d), "sum"), LastStep()),
    "nested": lambda d: Sequential(Sequential(Linear(I, H, dtype=d)),
                                   Sequential(Sequential(LSTM(H, H, dtype=d)))),
    "norms": lambda d: Sequential(LayerNorm(I, dtype=d), GRU(I, H, dtype=d),
                                  LayerNorm(H, bias=False, dtype=d),
                                  LayerNorm(H, elementwise_affine=False, dtype=d)),
    "attention": lambda d: Sequential(PositionalEncoding(), MultiHeadAttention(I, 2, dtype=d, rng=1)),
    "attention, batch first": lambda d: Sequential(
        PositionalEncoding(batch_first=True),
        MultiHeadAttention(I, 2, bias=False, batch_first=True, dtype=d)),
    "transformer": lambda d: TransformerEncoderLayer(I, 2, 7, dtype=d),
    "transformer, gelu": lambda d: Sequential(
        PositionalEncoding(), TransformerEncoderLayer(I, 1, 7, activation="gelu", norm_first=True, dtype=d),
        LSTM(I, H, dtype=d), LastStep()),
    "linear": lambda d: Linear(I, 2, dtype=d),
    "norm": lambda d: LayerNorm(I, dtype=d),
}  # fmt: skip


EACH_STEP = {
    "attention",
    "attention, batch first",
    "transformer",
    "nested",
    "norms",
}  # compute those beyond too


def random_parameters(layer, rng):
    """Biases and gains are drawn too, which start as zeros and ones."""
    for name, array in layer.params.items():
        layer.params[name] = array + rng.uniform(-0.3, 0.3, array.shape)
    return layer


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("lengths", [False, True])
def test_chains_of_layers(rng, tmp_path, dtype, name, lengths):
    layer = random_parameters(CHAINS[name](dtype), rng)
    path = tmp_path / "model.onnx"
    if lengths and name in ("linear", "norm"):
        with pytest.raises(ValueError, match="lengths must be False: no layer takes them"):
            pyrnn.onnx.save(layer, path, lengths=True)
        return
    pyrnn.onnx.save(layer, path, lengths=lengths)
    batch_first = "batch first" in name
    shape = (B, T) if batch_first else (T, B)
    x = rng.integers(0, 9, shape) if name == "tokens" else rng.standard_normal((*shape, I)).astype(dtype)
    feeds, given = {"x": x}, {}
    if lengths:
        feeds["lengths"] = given["lengths"] = np.array([T, 0, 4], np.int32)
        if name != "tokens":  # what lies beyond is not looked at
            hidden = np.arange(T) >= np.array([[T], [0], [4]])
            x[hidden if batch_first else hidden.T] = 3 if name in EACH_STEP else np.nan
    truth = layer(x, **given)
    for found in runs(path, feeds, dtype):
        assert found["y"].dtype == dtype
        np.testing.assert_allclose(found["y"], truth, rtol=0, atol=4 * tolerance(dtype, 4))


def test_layers_of_different_dtypes(rng, tmp_path):
    model = Sequential(Linear(I, H, dtype=np.float64), GRU(H, H), Linear(H, 2, dtype=np.float64))
    pyrnn.onnx.save(model, tmp_path / "model.onnx")
    x = rng.standard_normal((T, B, I))
    for found in runs(tmp_path / "model.onnx", {"x": x}):
        assert found["y"].dtype == np.float64
        np.testing.assert_allclose(found["y"], model(x), rtol=0, atol=tolerance(np.float32))


def test_every_activation_has_a_name_in_onnx():
    assert set(ACTIVATIONS) == set(pyrnn.functional.ACTIVATIONS)


def test_the_file_says_what_it_is(tmp_path):
    pyrnn.onnx.save(GRU(I, H), tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert (model.producer_name, model.producer_version) == ("pyrnn", pyrnn.__version__)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    (node,) = [node for node in model.graph.node if node.op_type == "GRU"]
    assert onnx.helper.get_node_attr_value(node, "linear_before_reset") == 1


def test_shapes_of_the_input(rng, tmp_path):
    path = tmp_path / "model.onnx"
    for layer, shape, given in [
        (Linear(I, 2), ("N", I), (3, I)),
        (LayerNorm(I), (I,), (I,)),
        (Embedding(9, I), ("B", 3, "C"), (2, 3, 4)),
        (LSTM(I, H), (T, "B", I), (T, 2, I)),
        (PositionalEncoding(), ("T", "B", 7), (5, 2, 7)),
        (LastStep(), ("T", "B", 7), (5, 2, 7)),
        (Sequential(Dropout(0.5)), ("T", 7), (5, 7)),
    ]:
        pyrnn.onnx.save(layer, path, input_shape=shape)
        tokens = isinstance(layer, Embedding)
        x = rng.integers(0, 9, given) if tokens else rng.standard_normal(given).astype(np.float32)
        truth = layer(x)
        truth = truth[0] if isinstance(truth, tuple) else truth
        for found in runs(path, {"x": x}):
            np.testing.assert_allclose(found["y"], truth, rtol=0, atol=tolerance(np.float32))


class Mine(LSTM):
    pass


@pytest.mark.parametrize(
    "layer, options, message",
    [
        (pyrnn.IndRNN(I, H), {}, "ONNX cannot express IndRNN: it is none of LSTM, GRU, RNN, Bidirectional"),
        (pyrnn.MinGRU(I, H), {}, "ONNX cannot express MinGRU"),
        (Sequential(Linear(I, I), pyrnn.MinLSTM(I, H)), {}, "ONNX cannot express MinLSTM"),
        (pyrnn.DotAttention(I, I), {}, "ONNX cannot express DotAttention"),
        (Mine(I, H), {}, "ONNX cannot express Mine"),
        (pyrnn.LSTMCell(I, H), {}, "LSTMCell takes single steps, which is not supported"),
        (LSTM(I, H, cell_clip=3.0), {}, "ONNX cannot express LSTM with cell_clip=3.0"),
        (GRU(I, H, zoneout=0.1), {}, "ONNX cannot express GRU with zoneout=0.1"),
        (LSTM(I, H, zoneout=(0.0, 0.1)), {}, "ONNX cannot express LSTM with zoneout=(0.0, 0.1)"),
        (LSTM(I, H, proj_size=2), {}, "ONNX cannot express LSTM with proj_size=2"),
        (Bidirectional(pyrnn.IndRNN(I, H)), {}, "ONNX cannot express IndRNN"),
        (Sequential(Bidirectional(GRU(I, H), None)), {}, "merge_mode=None among other layers"),
        (Sequential(LSTM(I, H), Linear(H + 1, 2)), {}, "takes 6 features, but is given"),
        (Sequential(LSTM(I, H), LSTM(I, H)), {}, "4 features last, but is given the shape ('T', 'B', 5)"),
        (Sequential(Linear(I, H), Embedding(9, I)), {}, "takes integers, but is given float32"),
        (LSTM(I, H), {"input_shape": ("T", I)}, "takes three axes"),
        (LSTM(I, H), {"input_shape": ("T", "B", 9)}, "input_shape must end in 4, got ('T', 'B', 9)"),
        (Dropout(0.5), {}, "input_shape must be given: no layer says how many features there are"),
        (Sequential(LSTM(I, H)), {"state": True}, "state must be False for Sequential"),
    ],
)  # fmt: skip
def test_what_onnx_cannot_express_is_refused_by_name(tmp_path, layer, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        pyrnn.onnx.save(layer, tmp_path / "model.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_parameters_and_options_that_are_not_known_are_refused(tmp_path):
    """As those that a later version may add."""
    layer = LSTM(I, H)
    layer._params = pyrnn._parameters.Parameters(
        {n: a.shape for n, a in layer.params.items()} | {"gain": (2,)}, float
    )
    with pytest.raises(ValueError, match="LSTM with the parameters gain"):
        pyrnn.onnx.save(layer, tmp_path / "model.onnx")


def test_other_arguments_are_refused(tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(TypeError, match="model must be a layer, got ndarray"):
        pyrnn.onnx.save(np.ones(3), path)
    for name in ("lengths", "state"):
        with pytest.raises(TypeError, match=f"{name} must be True or False, got 3"):
            pyrnn.onnx.save(LSTM(I, H), path, **{name: 3})
    with pytest.raises(TypeError, match="input_shape must hold sizes and names"):
        pyrnn.onnx.save(LSTM(I, H), path, input_shape=(1.5, 2))


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    pyrnn.onnx.save(GRU(I, H), path)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *args: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        pyrnn.onnx.save(LSTM(I, H), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_saving_changes_nothing(tmp_path):
    layer = LSTM(I, H, rng=0)
    before = copy.deepcopy(layer.state_dict())
    pyrnn.onnx.save(layer, tmp_path / "model.onnx")
    assert all(np.array_equal(before[name], array) for name, array in layer.params.items())
