"""flax's cells against the layers made from them, and back; JAX's arrays as inputs."""

import jax
import numpy as np
import pytest
from flax import linen, nnx

import pyrnn
from pyrnn import interop

I, H, T, B = 3, 5, 7, 4
KINDS = ["LSTMCell", "OptimizedLSTMCell", "GRUCell", "SimpleCell"]
ATOL = 64 * np.finfo(np.float32).eps  # outputs are of order one; either side rounds at every step


def cell_of(kind, **options):
    cell = getattr(nnx, kind)(I, H, rngs=nnx.Rngs(0), **options)
    rng = np.random.default_rng(0)  # biases are zeros otherwise
    state = nnx.state(cell, nnx.Param)
    nnx.update(cell, jax.tree.map(lambda a: a + rng.standard_normal(a.shape).astype(np.float32) / 4, state))
    return cell


def run(cell, x):
    return np.asarray(nnx.RNN(cell, time_major=True)(x))


@pytest.fixture
def x(rng):
    return rng.standard_normal((T, B, I)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["cell", "RNN", "tree", "state"])
def test_a_cell_is_a_layer(kind, form, x):
    cell = cell_of(kind)
    state = nnx.state(cell, nnx.Param)
    source = {"cell": cell, "RNN": nnx.RNN(cell), "tree": nnx.to_pure_dict(state), "state": state}[form]
    layer = interop.from_flax(source)
    assert layer.batch_first == (form == "RNN")
    y, _ = layer(x.swapaxes(0, 1) if layer.batch_first else x)
    y = y.swapaxes(0, 1) if layer.batch_first else y
    np.testing.assert_allclose(y, run(cell, x), rtol=0, atol=ATOL)


@pytest.mark.parametrize("kind", ["LSTM", "RNN", "GRU"])
def test_a_layer_is_a_cell(kind, x):
    layer = getattr(pyrnn, kind)(I, H, rng=0)
    if kind == "GRU":
        layer.params["bias_hh_l0"] = np.where(np.arange(3 * H) < 2 * H, layer.params["bias_hh_l0"], 0)
    cell = cell_of({"LSTM": "OptimizedLSTMCell", "RNN": "SimpleCell", "GRU": "GRUCell"}[kind])
    nnx.update(cell, interop.to_flax(layer))
    np.testing.assert_allclose(layer(x)[0], run(cell, x), rtol=0, atol=ATOL)


@pytest.mark.parametrize("kind", KINDS)
def test_linen(kind, x):
    cell = getattr(linen, kind)(H)
    carry = cell.initialize_carry(jax.random.key(0), (B, I))
    variables = cell.init(jax.random.key(1), carry, x[0])
    variables = jax.tree.map(lambda a: a + 0.1, variables)
    outputs = []
    for step in x:
        carry, y = cell.apply(variables, carry, step)
        outputs.append(y)
    np.testing.assert_allclose(interop.from_flax(variables)(x)[0], np.stack(outputs), rtol=0, atol=ATOL)


def test_activations_are_honoured_or_refused(x):
    cell = cell_of("LSTMCell", gate_fn=jax.nn.hard_sigmoid, activation_fn=jax.nn.relu)
    layer = interop.from_flax(cell)
    assert repr(layer) == f"LSTM({I}, {H}, activation='relu', recurrent_activation='hard_sigmoid')"
    np.testing.assert_allclose(layer(x)[0], run(cell, x), rtol=0, atol=ATOL * np.abs(layer(x)[0]).max())
    with pytest.raises(ValueError, match="source has activation_fn="):
        interop.from_flax(cell_of("GRUCell", activation_fn=jax.nn.gelu))


def test_what_pyrnn_lacks_is_refused():
    with pytest.raises(ValueError, match="source has residual=True"):
        interop.from_flax(cell_of("SimpleCell", residual=True))
    with pytest.raises(ValueError, match="source has reverse=True"):
        interop.from_flax(nnx.RNN(cell_of("GRUCell"), reverse=True))
    with pytest.raises(ValueError, match="source has dtype=bfloat16"):
        interop.from_flax(cell_of("GRUCell", dtype=jax.numpy.bfloat16))
    with pytest.raises(TypeError, match=r"source must be one of flax\.nnx's .*, got Linear"):
        interop.from_flax(nnx.Linear(3, 4, rngs=nnx.Rngs(0)))


def test_arrays_are_not_copied(x, kernels_read):
    given = jax.numpy.asarray(x)
    assert kernels_read(pyrnn.GRU(I, H), given).ctypes.data == given.unsafe_buffer_pointer()
