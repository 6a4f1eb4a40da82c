"""Recurrent nodes of ONNX: those that its package tests backends with, and random ones of all attributes."""

import io
import re
import unittest
import warnings

import numpy as np
import onnx.backend.base
import onnxruntime
import pytest

import pyrnn.onnx
from pyrnn.onnx import _recurrence
from pyrnn.onnx._operators import OPERATORS

from .onnx_nodes import feeds_of, model_of, random_problem, reference

RANDOM = 500


class Backend(onnx.backend.base.Backend):
    """What onnx.backend.test calls."""

    @classmethod
    def prepare(cls, model, device="CPU", **kwargs):
        loaded = pyrnn.onnx.load(model)

        class Prepared(onnx.backend.base.BackendRep):
            def run(self, inputs, **kwargs):
                return tuple(loaded(*inputs).values())

        return Prepared()

    @classmethod
    def supports_device(cls, device):
        return device == "CPU"


@pytest.fixture(scope="module")
def backend_tests():
    """Those of onnx.backend.test by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases of other operators overflow on purpose
        from onnx.backend.test import BackendTest

        return BackendTest(Backend, __name__).test_cases["OnnxBackendNodeModelTest"]


def outcome(case, names):
    suite = unittest.TestSuite(case(name) for name in names)
    return unittest.TextTestRunner(io.StringIO()).run(suite)


def test_every_recurrent_node_of_the_onnx_package_passes(backend_tests, capsys):
    pattern = re.compile(r"test_(simple_rnn|rnn|lstm|gru)_.*_cpu")
    names = [name for name in dir(backend_tests) if pattern.fullmatch(name)]
    result = outcome(backend_tests, names)
    with capsys.disabled():
        print(f"\nonnx.backend.test: {result.testsRun} of RNN, LSTM and GRU, {len(result.failures)} failures")
    assert result.testsRun == len(names) >= 18
    assert result.wasSuccessful() and not result.skipped, result.failures + result.errors


def model_of_case(case):
    """Cases of some versions of the package are made when it is imported, of others they are files of it."""
    return case.model if case.model_dir is None else onnx.load(f"{case.model_dir}/model.onnx")


def supported(model):
    """Whether a case is a model of one node that `load` accepts."""
    if len(model.graph.node) != 1 or model.graph.node[0].op_type not in OPERATORS:
        return False
    try:
        pyrnn.onnx.load(model)
    except ValueError as error:
        refused = re.search("opset must|must be float32|must be a tensor|training_mode", str(error))
        if not refused:
            raise
        return False
    return True


def test_so_does_every_node_of_the_other_operators(backend_tests, capsys):
    from onnx.backend.test.loader import load_model_tests

    # In training mode, dropout is refused when the mode is known: in a call.
    cases = [case for case in load_model_tests(kind="node") if "training_dropout" not in case.name]
    names = [f"{case.name}_cpu" for case in cases if supported(model_of_case(case))]
    result = outcome(backend_tests, names)
    with capsys.disabled():
        print(
            f"\nonnx.backend.test: {result.testsRun} tests of all operators, {len(result.failures)} failures"
        )
    assert result.testsRun == len(names) > 100
    assert result.wasSuccessful() and not result.skipped, result.failures + result.errors


def tolerance(problem):
    """Of sums over inputs and units, and over steps."""
    I = problem.inputs["X"].shape[-1]
    n = max(problem.inputs["X"].shape[:2]) * (I + problem.attributes["hidden_size"])
    return 4 * np.finfo(problem.inputs["X"].dtype).eps * np.ceil(np.log2(n + 1))


def test_random_nodes_agree_with_onnx_runtime_and_the_reference(rng, capsys):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    apart = {"reference": 0.0, "ONNX Runtime": 0.0}
    for _ in range(RANDOM):
        problem = random_problem(rng, shortest=1)  # ONNX Runtime drops the state of a sequence without steps
        model, feeds = model_of(problem), feeds_of(problem)
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        found = list(pyrnn.onnx.load(model)(**feeds).values())
        for name, truth in (("reference", reference(problem)), ("ONNX Runtime", session.run(None, feeds))):
            error = max(np.abs(a - b).max() for a, b in zip(found, truth, strict=True))
            apart[name] = max(apart[name], error)
            assert error <= (tolerance(problem) if name == "reference" else 1e-5), (name, problem)
    with capsys.disabled():
        print(
            f"\n{RANDOM} random nodes, largest error: " + ", ".join(f"{n} {e:.1e}" for n, e in apart.items())
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_random_nodes_in_both_layouts_and_dtypes_agree_with_the_reference(rng, dtype):
    for _ in range(RANDOM // 2):
        problem = random_problem(rng, dtype, layouts=(0, 1))
        found = pyrnn.onnx.load(model_of(problem))(**feeds_of(problem)).values()
        for array, truth in zip(found, reference(problem), strict=True):
            assert array.dtype == dtype
            np.testing.assert_allclose(array, truth, rtol=0, atol=tolerance(problem))


def drawn(rng, op, **attributes):
    while True:
        problem = random_problem(rng)
        if problem.op == op and "B" in problem.inputs and "sequence_lens" in problem.inputs:
            kept = {name: problem.attributes[name] for name in ("direction", "hidden_size")}
            return problem._replace(attributes=kept | attributes, fixed=True, opset=14)


@pytest.mark.parametrize(
    "op, attributes, kernel",
    [
        ("RNN", {}, "rnn_tanh"),
        ("RNN", {"activations": ["relu"]}, "rnn_relu"),
        ("RNN", {"activations": ["HardSigmoid"]}, "rnn_tanh"),
        ("GRU", {}, "gru_before"),
        ("GRU", {"linear_before_reset": 1}, "gru"),
        ("GRU", {"activations": ["HardSigmoid", "Softsign"]}, "gru_before"),
        ("GRU", {"clip": 3.0}, None),
        ("LSTM", {}, "lstm"),
        ("LSTM", {"input_forget": 1}, "lstm_coupled"),
        ("LSTM", {"activations": ["HardSigmoid", "Tanh", "Tanh"]}, "lstm"),
        ("LSTM", {"activations": ["Sigmoid", "Affine", "Affine"], "activation_alpha": [0.5, 1.0],
                  "activation_beta": [0.25, 0.0]}, "lstm"),
        ("LSTM", {"activations": ["Sigmoid", "Tanh", "Relu"]}, None),
        ("LSTM", {"activations": ["Elu", "Tanh", "Tanh"]}, None),
        ("LSTM", {"clip": 3.0}, None),
    ],
)  # fmt: skip
def test_nodes_run_in_kernels_where_these_compute_them(rng, monkeypatch, op, attributes, kernel):
    problem = drawn(rng, op, **attributes)
    D = 1 + (problem.attributes["direction"] == "bidirectional")
    for name in ("activations", "activation_alpha", "activation_beta"):
        if name in problem.attributes:
            problem.attributes[name] = problem.attributes[name] * D
    calls, run = [], _recurrence.run
    monkeypatch.setattr(_recurrence, "run", lambda *args: calls.append(args) or run(*args))
    found = pyrnn.onnx.load(model_of(problem))(**feeds_of(problem)).values()
    assert len(calls) == (D if kernel is None else 0)
    for array, truth in zip(found, reference(problem), strict=True):
        np.testing.assert_allclose(array, truth, rtol=0, atol=tolerance(problem))


def test_a_sequence_without_steps_keeps_its_state(rng):
    problem = drawn(rng, "LSTM")
    H, D = problem.attributes["hidden_size"], 1 + (problem.attributes["direction"] == "bidirectional")
    B = problem.inputs["X"].shape[1]
    states = {name: rng.standard_normal((D, B, H)).astype(np.float32) for name in ("initial_h", "initial_c")}
    problem = problem._replace(inputs=problem.inputs | states | {"sequence_lens": np.zeros(B, np.int32)})
    y, h, c = pyrnn.onnx.load(model_of(problem))(**feeds_of(problem)).values()
    assert not y.any()
    np.testing.assert_array_equal(h, states["initial_h"])
    np.testing.assert_array_equal(c, states["initial_c"])


@pytest.mark.parametrize("T, B", [(0, 3), (4, 0), (0, 0)])
@pytest.mark.parametrize("clip", [{}, {"clip": 2.0}], ids=["kernel", "numpy"])
def test_there_may_be_no_steps_and_no_rows(rng, T, B, clip):
    problem = drawn(rng, "GRU", **clip)
    inputs = {name: problem.inputs[name] for name in ("W", "R", "B")}
    inputs["X"] = np.zeros((T, B, inputs["W"].shape[2]), np.float32)
    model = model_of(problem._replace(inputs=inputs))
    y, h = pyrnn.onnx.load(model)(inputs["X"]).values()
    H, D = problem.attributes["hidden_size"], len(inputs["W"])
    assert y.shape == (T, D, B, H) and h.shape == (D, B, H) and not h.any()


@pytest.mark.parametrize(
    "attributes, message",
    [
        ({"direction": "backward"}, "direction must be forward, reverse, bidirectional, got 'backward'"),
        ({"activations": ["Tanh"]}, "activations must be 3, got 1"),
        ({"activations": ["Tanh", "Gelu", "Tanh"]}, "got 'Gelu'"),
        ({"activations": ["Affine", "Tanh", "Tanh"]}, "activation_alpha has no number for Affine"),
        (
            {"activations": ["Affine", "Tanh", "Tanh"], "activation_alpha": [1.0]},
            "activation_beta has no number",
        ),
        ({"activation_alpha": [1.0]}, "do not take 1 numbers as activation_alpha"),
        ({"clip": 0.0}, "clip must be above 0, got 0.0"),
        ({"clip": float("nan")}, "clip must be above 0, got nan"),
        ({"layout": 2}, "layout must be 0 or 1, got 2"),
        ({"input_forget": -1}, "input_forget must be 0 or 1, got -1"),
        ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
        ({"linear_before_reset": 1}, "in opset 14 there is no attribute 'linear_before_reset'"),
    ],
)
def test_attributes_that_onnx_does_not_have_are_refused(rng, attributes, message):
    problem = drawn(rng, "LSTM")
    problem = problem._replace(attributes=problem.attributes | {"direction": "forward"} | attributes)
    with pytest.raises(ValueError, match=re.escape(message)):
        pyrnn.onnx.load(model_of(problem))


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("name", ["W", "R", "B", "P", "X", "initial_h", "initial_c", "sequence_lens"])
def test_arrays_of_the_wrong_shape_are_named(rng, name, fixed):
    H, I, T, B = 5, 3, 4, 2
    shapes = {"X": (T, B, I), "W": (1, 4 * H, I), "R": (1, 4 * H, H), "B": (1, 8 * H), "P": (1, 3 * H)}
    shapes |= {"initial_h": (1, B, H), "initial_c": (1, B, H), "sequence_lens": (B,)}
    sides = list(shapes[name])
    sides[1 if name == "W" else -1] += 1  # another width of W is one that X does not fit
    shapes[name] = tuple(sides)
    inputs = {n: np.ones(s, np.int32 if n == "sequence_lens" else np.float32) for n, s in shapes.items()}
    problem = drawn(rng, "LSTM", direction="forward", hidden_size=H)._replace(inputs=inputs, fixed=fixed)
    with pytest.raises(ValueError, match=rf"node 0 \(LSTM\): .*({name}|lengths) must have shape"):
        pyrnn.onnx.load(model_of(problem))(**feeds_of(problem))


def test_lengths_beyond_the_steps_are_refused(rng):
    problem = drawn(rng, "GRU")
    problem.inputs["sequence_lens"][0] = len(problem.inputs["X"]) + 1
    with pytest.raises(ValueError, match=r"\(GRU\): lengths must lie between 0 and"):
        pyrnn.onnx.load(model_of(problem))(**feeds_of(problem))
