"""Graphs of ONNX: every version of every operator, what is refused, and what calls give and take."""

import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import pyrnn.onnx

F, D, I32, I64, B = (
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.BOOL,
)


def graph_of(nodes, inputs, outputs, constants=(), opset=17, **options):
    """A model; inputs and constants are name: array, or name: (type, shape)."""

    def info(name, value):
        if isinstance(value, tuple):
            return helper.make_tensor_value_info(name, *value)
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        return helper.make_tensor_value_info(name, kind, [None] * value.ndim)

    graph = helper.make_graph(
        nodes,
        "graph",
        [info(name, value) for name, value in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [onnx.numpy_helper.from_array(array, name) for name, array in dict(constants).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **options)


def one(op, arrays, opset, outputs=1, kind=F, fixed=(), **attributes):
    """A model of one node whose inputs are arrays, those in `fixed`, by number, as constants."""
    names = ["" if a is None else f"i{k}" for k, a in enumerate(arrays)]
    node = helper.make_node(op, names, [f"o{k}" for k in range(outputs)], **attributes)
    inputs = {n: a for k, (n, a) in enumerate(zip(names, arrays, strict=True)) if n and k not in fixed}
    kinds = kind if isinstance(kind, tuple) else (kind,) * outputs
    outs = {f"o{k}": kinds[k] for k in range(outputs)}
    return graph_of([node], inputs, outs, {f"i{k}": arrays[k] for k in fixed}, opset), inputs


def ints(*numbers):
    return np.array(numbers, np.int64)


RNG = np.random.default_rng(5)
X = RNG.standard_normal((2, 3, 4)).astype(np.float32)
Y = RNG.standard_normal((3, 1)).astype(np.float32)
N = RNG.integers(-9, 10, (2, 3)).astype(np.int32)
VECTOR = RNG.standard_normal(4).astype(np.float32)
LEFT, RIGHT = RNG.standard_normal((3, 5)).astype(np.float32), RNG.standard_normal((5, 2)).astype(np.float32)
SHAPE = ints(2, 0, -1)

# op, opsets, inputs, options of `one`: each version of an operator comes once at least.
CASES = [
    *[(op, (7, 13, 14), [X, Y], {}) for op in ("Add", "Mul", "Sub", "Div")],
    ("Div", (7, 14), [N, np.array([2, -3, 4], np.int32)], {"kind": I32}),
    *[(op, (7, 13), [X], {}) for op in ("Relu", "Tanh", "Sigmoid", "Identity", "Sqrt")],
    ("Relu", (14,), [X], {}),
    ("Identity", (14, 16, 19, 21), [X], {}),
    ("Sin", (7, 22), [X], {}),
    ("Erf", (9, 13), [X], {}),
    ("Pow", (7, 12, 13), [np.abs(X), VECTOR], {}),
    ("Pow", (13, 15), [np.abs(X), ints(2)], {}),
    *[(op, (7, 11, 13), [X], {"axis": 1}) for op in ("Softmax", "LogSoftmax")],
    *[(op, (7, 11, 13), [X], {}) for op in ("Softmax", "LogSoftmax")],
    *[(op, (11, 13), [X], {"axis": -2}) for op in ("Softmax", "LogSoftmax")],
    ("Gemm", (7, 9, 11, 13), [LEFT, RIGHT, VECTOR[:2]], {}),
    ("Gemm", (7, 13), [LEFT.T.copy(), RIGHT.T.copy(), Y],
     {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}),
    ("Gemm", (11, 13), [LEFT, RIGHT], {"alpha": 3.0}),
    ("MatMul", (7, 9, 13), [X, RNG.standard_normal((4, 5)).astype(np.float32)], {}),
    ("MatMul", (9, 13), [VECTOR, X.swapaxes(1, 2).copy()], {}),
    ("MatMul", (9, 13), [X, VECTOR], {}),
    ("Gather", (7, 11, 13), [X, ints(1, 0, 1)], {"axis": 1}),
    ("Gather", (11, 13), [X, np.array([[-1], [0]], np.int32)], {"axis": -1}),
    ("Transpose", (7, 13, 21), [X], {"perm": [2, 0, 1]}),
    ("Transpose", (7, 13), [X], {}),
    ("Squeeze", (7, 11), [X[:, :1]], {"axes": [1]}),
    ("Squeeze", (11,), [X[:, :1]], {"axes": [-2]}),
    ("Squeeze", (7, 11, 13, 21), [X[:, :1]], {}),
    ("Squeeze", (13, 21), [X[:, :1], ints(1)], {}),
    ("Unsqueeze", (7, 11), [X], {"axes": [0, 4]}),
    ("Unsqueeze", (13, 21), [X, ints(-1, 1)], {}),
    ("Reshape", (7, 13, 14, 19, 21), [X, SHAPE], {}),
    ("Reshape", (14, 21), [X[:, :0], ints(0, 4)], {"allowzero": 1}),
    ("Concat", (7, 11, 13), [X, X * 2], {"axis": 1}),
    ("Concat", (11, 13), [X, X * 2], {"axis": -1}),
    ("Slice", (7, 9), [X], {"starts": [1, -3], "ends": [9, -1], "axes": [1, 2]}),
    ("Slice", (7, 9), [X], {"starts": [1], "ends": [2]}),
    ("Slice", (10, 11, 13), [X, ints(-1, 0), ints(-(2**40), 3), ints(2, 1), ints(-2, 2)], {}),
    ("Slice", (10, 13), [X, ints(1), ints(2**62)], {}),
    ("Split", (7, 11), [X], {"axis": 1, "split": [1, 2], "outputs": 2}),
    ("Split", (7, 11), [X], {"axis": 2, "outputs": 2}),
    ("Split", (13, 18), [X, ints(1, 2)], {"axis": 1, "outputs": 2}),
    ("Split", (13,), [X], {"axis": -1, "outputs": 2}),
    ("Split", (18,), [X], {"axis": 1, "outputs": 2, "num_outputs": 2}),
    ("Expand", (8, 13), [Y, ints(2, 1, 4)], {}),
    ("Shape", (7, 13, 15, 19, 21), [X], {"kind": I64}),
    ("Shape", (15, 21), [X], {"kind": I64, "start": -2, "end": 9}),
    ("ConstantOfShape", (9, 20, 21), [ints(2, 3)], {}),
    ("ConstantOfShape", (9, 21), [ints(2)], {"kind": I64, "value": helper.make_tensor("v", I64, [1], [7])}),
    ("Cast", (7, 9, 13, 19, 21), [X * 3], {"to": I32, "kind": I32}),
    ("Cast", (7, 13), [N], {"to": D, "kind": D}),
    ("Cast", (9, 13), [X], {"to": B, "kind": B}),
    ("Dropout", (7, 10), [X], {"ratio": 0.9}),
    ("Dropout", (12, 13, 22), [X, np.array(0.9, np.float32), np.array(False)],
     {"kind": (F, B), "outputs": 2}),
    ("Dropout", (10,), [X], {"kind": (F, B), "outputs": 2}),
    ("LayerNormalization", (17,), [X, VECTOR, VECTOR - 1], {}),
    ("LayerNormalization", (17,), [X, X[0], X[1]], {"axis": 1, "epsilon": 0.1, "outputs": 3}),
    *[(op, (7, 11, 13), [X], {"axes": [0, 2]}) for op in ("ReduceMean", "ReduceMax")],
    *[(op, (11, 13), [X], {"axes": [-1], "keepdims": 0}) for op in ("ReduceMean", "ReduceMax")],
    *[(op, (7, 18), [X], {}) for op in ("ReduceMean", "ReduceMax")],
    *[(op, (18,), [X, ints(-1, 0)], {"keepdims": 0}) for op in ("ReduceMean", "ReduceMax")],
    *[(op, (18,), [X], {"noop_with_empty_axes": 1}) for op in ("ReduceMean", "ReduceMax")],
    ("ReduceMax", (12, 20), [N], {"kind": I32}),
    ("Where", (9, 16), [X > 0, X, Y], {}),
    ("Equal", (7, 11, 13, 19), [N, np.array([2, -3, 4], np.int32)], {"kind": B}),
    ("Equal", (11, 19), [X, X * (X > 0)], {"kind": B}),
    ("Less", (7, 9, 13), [X, Y], {"kind": B}),
    ("Range", (11,), [np.array(-2, np.int64), np.array(7, np.int64), np.array(2, np.int64)], {"kind": I64}),
    ("Range", (11,), [np.array(n, np.float32) for n in (3, -1, -0.75)], {}),
]  # fmt: skip


@pytest.mark.parametrize("op, opset, arrays, options", [(c[0], v, *c[2:]) for c in CASES for v in c[1]])
def test_operators_agree_with_onnx_runtime(op, opset, arrays, options):
    fixed = tuple(k for k, a in enumerate(arrays) if k and a.dtype == np.int64 and op != "Pow")
    # Their inputs as constants, as exporters write them, and as inputs.
    for constants in {(), fixed}:
        model, feeds = one(op, arrays, opset, fixed=constants, **options)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        found = pyrnn.onnx.load(model)(**feeds).values()
        for array, truth in zip(found, session.run(None, feeds), strict=True):
            assert array.dtype == truth.dtype and array.shape == truth.shape
            if array.dtype.kind == "f":
                np.testing.assert_allclose(array, truth, rtol=0, atol=32 * np.finfo(np.float32).eps)
            else:
                np.testing.assert_array_equal(array, truth)


@pytest.mark.parametrize(
    "options, value",
    [
        ({"value": helper.make_tensor("v", D, [2], [1.0, 2.0])}, np.array([1.0, 2.0])),
        ({"value_float": 1.5}, np.array(1.5, np.float32)),
        ({"value_floats": [1.5, 2.0]}, np.array([1.5, 2], np.float32)),
        ({"value_int": 3}, np.array(3)),
        ({"value_ints": [3, 4]}, np.array([3, 4])),
    ],
)
def test_constants(options, value):
    model = graph_of([helper.make_node("Constant", [], ["c"], **options)], {}, {"c": F})
    found = pyrnn.onnx.load(model)()["c"]
    assert found.dtype == value.dtype
    np.testing.assert_array_equal(found, value)
    found[...] = 0  # the caller's own
    np.testing.assert_array_equal(pyrnn.onnx.load(model)()["c"], value)


def lstm_model(rng, dtype=np.float32, **options):
    """Embedding, a bidirectional LSTM whose directions are joined, and a linear map, in no order."""
    I, H = 3, 4
    constants = {
        "table": rng.standard_normal((9, I)).astype(dtype),
        "W": rng.standard_normal((2, 4 * H, I)).astype(dtype),
        "R": (rng.standard_normal((2, 4 * H, H)) / 2).astype(dtype),
        "kernel": rng.standard_normal((5, 2 * H)).astype(dtype),
        "joined": np.array([0, 0, -1]),
    }
    nodes = [
        helper.make_node("Transpose", ["kernel"], ["turned"]),
        helper.make_node("MatMul", ["rows", "turned"], ["logits"]),
        helper.make_node("Transpose", ["Y"], ["by_batch"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["by_batch", "joined"], ["rows"]),
        helper.make_node("Gather", ["table", "tokens"], ["x"]),
        helper.make_node("LSTM", ["x", "W", "R"], ["Y", "h"], hidden_size=H, direction="bidirectional"),
    ]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return graph_of(nodes, {"tokens": (I64, ["T", "B"])}, {"logits": kind, "h": kind}, constants, **options)


def test_a_whole_model_in_any_order(rng):
    model = lstm_model(rng)
    loaded = pyrnn.onnx.load(model)
    assert repr(loaded) == "Model(tokens: int64 (T, B) -> logits: float32 (...), h: float32 (...))"
    tokens = rng.integers(0, 9, (6, 2))
    found = loaded(tokens)
    assert list(found) == ["logits", "h"] and found["logits"].shape == (6, 2, 5)
    lstm = pyrnn.LSTM(3, 4, bidirectional=True, bias=False)
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    for d, suffix in enumerate(("", "_reverse")):
        for name, array in (("ih", arrays["W"][d]), ("hh", arrays["R"][d])):
            lstm.params[f"weight_{name}_l0{suffix}"] = array.reshape(4, 4, -1)[[0, 2, 3, 1]].reshape(16, -1)
    y, (h, _) = lstm(arrays["table"][tokens])
    np.testing.assert_array_equal(found["h"], h)
    np.testing.assert_allclose(found["logits"], y @ arrays["kernel"].T, rtol=0, atol=1e-6)


def test_float64(rng):
    tokens = rng.integers(0, 9, (6, 2))
    narrow = pyrnn.onnx.load(lstm_model(np.random.default_rng(1)))(tokens)["logits"]
    wide = pyrnn.onnx.load(lstm_model(np.random.default_rng(1), np.float64))(tokens)["logits"]
    assert wide.dtype == np.float64
    np.testing.assert_allclose(narrow, wide, rtol=0, atol=16 * np.finfo(np.float32).eps * 4)


def test_inputs_by_position_and_by_name_and_their_errors(rng):
    x, y = {"x": (F, ["T", 3]), "n": (I32, [2])}, {"y": F}
    nodes = [helper.make_node("Gather", ["x", "n"], ["y"])]
    model = pyrnn.onnx.load(graph_of(nodes, x, y))
    a, n = rng.standard_normal((4, 3)), np.array([1, 3])
    for found in (model(a, n), model(a, n=n), model(n=n, x=a.tolist())):
        np.testing.assert_array_equal(found["y"], a[n].astype(np.float32))
    for args, kwargs, error, message in [
        ((a,), {}, TypeError, "the inputs of the model are x, n; missing: n; unexpected: none"),
        ((a, n, n), {}, TypeError, "the model takes 2 inputs, got 3"),
        ((a, n), {"n": n}, TypeError, "inputs given twice: n"),
        ((a, n), {"z": n}, TypeError, "unexpected: z"),
        ((a[:, :2], n), {}, ValueError, r"x must have shape (T, 3), got (4, 2)"),
        ((a[0], n), {}, ValueError, r"x must have shape (T, 3), got (3,)"),
        ((a, n * 1.0), {}, TypeError, "n must have dtype int32, got float64"),
        ((a * 1j, n), {}, TypeError, "x must hold real numbers, got dtype complex128"),
        ((a, n + 2**40), {}, ValueError, "n must fit into int32"),
        ((a, n + 3), {}, ValueError, "node 0 (Gather): indices must lie between -4 and 3"),
    ]:
        with pytest.raises(error, match=re.escape(message)):
            model(*args, **kwargs)


def test_outputs_are_the_callers(rng):
    """Neither inputs nor constants nor other outputs change with them."""
    x = rng.standard_normal((2, 3)).astype(np.float32)
    names = ["same", "turned", "part", "wide", "twice", "constant"]
    nodes = [
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Transpose", ["x"], ["turned"]),
        helper.make_node("Split", ["x"], ["part", "other"], axis=0),
        helper.make_node("Expand", ["x", "shape"], ["wide"]),
        helper.make_node("Relu", ["x"], ["relu"]),
        helper.make_node("Reshape", ["relu", "flat"], ["twice"]),
        helper.make_node("Identity", ["c"], ["constant"]),
    ]
    constants = {"shape": np.array([2, 2, 3]), "flat": np.array([6]), "c": np.ones(2, np.float32)}
    model = pyrnn.onnx.load(
        graph_of(nodes, {"x": x}, dict.fromkeys([*names, "relu"], F), constants, opset=13)
    )
    given, first = x.copy(), model(x)
    kept = {name: array.copy() for name, array in first.items()}
    for name, array in first.items():
        array[...] = 7
        assert all(np.array_equal(kept[n], first[n]) for n in first if n != name)
        array[...] = kept[name]
        array[...] = -1
        for other, again in model(x).items():
            np.testing.assert_array_equal(again, kept[other])
        array[...] = kept[name]
    np.testing.assert_array_equal(x, given)


def test_a_model_pickles_and_is_called_by_many_threads(rng):
    model = pickle.loads(pickle.dumps(pyrnn.onnx.load(lstm_model(rng))))
    batches = [rng.integers(0, 9, (6, 2)) for _ in range(16)]
    truth = [model(batch)["logits"] for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for found, expected in zip(pool.map(model, batches), truth, strict=True):
            np.testing.assert_array_equal(found["logits"], expected)


def test_initializers_among_the_inputs_are_constants(rng):
    model = lstm_model(rng)
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    assert [value.name for value in pyrnn.onnx.load(model).inputs] == ["tokens"]


RELU = helper.make_node("Relu", ["x"], ["y"])
GIVEN, TAKEN = {"x": (F, [3])}, {"y": F}


def node(op, inputs=("x",), outputs=("y",), **attributes):
    return helper.make_node(op, list(inputs), list(outputs), **attributes)


@pytest.mark.parametrize(
    "nodes, message",
    [
        ([node("Conv", ["x", "x"]), node("Abs"), RELU], "operators that are not supported: Abs, Conv"),
        ([node("LSTM", domain="com.microsoft")], "operators that are not supported: com.microsoft.LSTM"),
        ([node("Relu", ["z"])], "node 0 (Relu): nothing computes its input 'z'"),
        ([node("Relu", ["z"], ["y"]), node("Relu", ["y"], ["z"])], "the graph has a cycle"),
        ([RELU, RELU], "node 1 (Relu): 'y' has been computed or given before"),
        ([node("Relu", outputs=["x"])], "node 0 (Relu): 'x' has been computed or given before"),
        ([node("Relu", outputs=["z"])], "nothing computes the outputs 'y'"),
        ([node("Relu", ["x", "x"])], "node 0 (Relu) must have 1 to 1 inputs, got 2"),
        ([node("Relu", [""])], "node 0 (Relu) has no input X"),
        ([node("Relu", name="act", slope=1.0)], "'act' (Relu): in opset 17 there is no attribute 'slope'"),
        ([node("Concat", ["x", "x"])], "node 0 (Concat) has no attribute 'axis'"),
        ([node("Concat", ["x", "x"], axis=1.5)], "attribute 'axis' has the wrong type"),
        ([node("Cast", to=TensorProto.FLOAT16)], "'to' must be float32, float64, int32, int64 or bool"),
        ([node("Dropout", ["x", "", "on"])], "training_mode must be False"),
        ([node("Gather", ["x", "x"])], "node 0 (Gather): input indices cannot have the dtype float32"),
        ([node("Add", ["x", "wide"])], "node 0 (Add): input B must be float32 as others, got float64"),
        ([node("Constant", [], value_string="a")], "attribute 'value_string' is not supported"),
        ([node("Constant", [])], "must have one attribute, got none"),
        ([node("LayerNormalization", ["x", "x"], stash_type=10)], "got the type FLOAT16"),
        ([node("ConstantOfShape", ["s"], value=helper.make_tensor("", F, [2], [1, 2]))],
         "must be one number"),
    ],
)  # fmt: skip
def test_graphs_that_are_refused(nodes, message):
    constants = {"on": np.array(True), "wide": np.ones(3), "s": np.array([2])}
    with pytest.raises(ValueError, match=re.escape(message)):
        pyrnn.onnx.load(graph_of(nodes, GIVEN, TAKEN, constants))


@pytest.mark.parametrize("opset", [6, 23, -1])
def test_other_opsets_are_refused(opset):
    with pytest.raises(ValueError, match=f"opset must be 7 to 22, got {opset}"):
        pyrnn.onnx.load(graph_of([RELU], GIVEN, TAKEN, opset=opset))


def test_an_operator_of_a_later_opset_is_refused():
    with pytest.raises(ValueError, match=r"node 0 \(LayerNormalization\): opset 16 has no operator"):
        pyrnn.onnx.load(graph_of([node("LayerNormalization", ["x", "x"])], GIVEN, TAKEN, opset=16))


def test_what_else_a_model_may_not_have():
    function = helper.make_function("f", "F", ["x"], ["y"], [RELU], [helper.make_opsetid("", 17)])
    with pytest.raises(ValueError, match="functions are not supported, and the model has 'F'"):
        pyrnn.onnx.load(graph_of([RELU], GIVEN, TAKEN, functions=[function]))
    model = graph_of([RELU], GIVEN, TAKEN)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING
    with pytest.raises(ValueError, match=r"input 'x' must be float32, .* got the type STRING"):
        pyrnn.onnx.load(model)
    del model.opset_import[:]
    with pytest.raises(ValueError, match="the model names no opset of the domain"):
        pyrnn.onnx.load(model)
    with pytest.raises(TypeError, match=r"path must be a path or an onnx.ModelProto, got int"):
        pyrnn.onnx.load(3)


def test_a_call_that_asks_for_too_much_memory_is_refused():
    nodes = [node("ConstantOfShape", ["n"], ["z"]), node("Add", ["z", "x"])]
    model = graph_of(nodes, {"n": (I64, [2]), "x": (F, [])}, TAKEN)
    loaded = pyrnn.onnx.load(model, max_elements=100)
    assert loaded([5, 10], 1.0)["y"].shape == (5, 10)
    for shape in ([5, 11], [2**31, 2**31]):
        with pytest.raises(ValueError, match="max_elements, 100"):
            loaded(shape, 1.0)


def test_constants_are_computed_once(rng):
    """The kernel of the linear map is turned at load: what is left are the steps that tokens need."""
    assert len(pyrnn.onnx.load(lstm_model(rng))._steps) == 5


def test_without_the_package_onnx_it_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r'pip install "pyrnn\[onnx\]"'):
        pyrnn.onnx.load("model.onnx")
