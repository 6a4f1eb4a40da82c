"""Random state_dicts: what fits is loaded; else an error lists what is wrong, and nothing changes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyrnn

from .cells import cell_of, layer_of
from .disguises import DISGUISES, wrong_kinds, wrong_shapes
from .problems import assert_names, at_random, eighths

LAYERS = [
    layer_of("lstm")(3, 5, 2, bidirectional=True, rng=0),
    layer_of("gru")(1, 1, bias=False, dtype=np.float64, rng=0),
    layer_of("gru_before")(2, 17, rng=0),
    cell_of("rnn_tanh")(3, 5, rng=0),
    cell_of("lstm")(3, 5, bias=False, rng=0),
    pyrnn.Linear(4, 3, rng=0),
    pyrnn.Embedding(4, 3, rng=0),
]
NOT_MAPPINGS = [None, 3, "weight", [], [("weight", 1)], {"weight"}, np.ones(3), object(), {"a": 1}.items()]
FOREIGN = [
    "weight_ih_l9",
    "module.weight",
    "",
    "bias_hh_l0_reverse_reverse",
    0,
    None,
    ("weight", 0),
    b"weight",
]


@at_random
@given(st.data())
def test_what_fits_is_loaded(data):
    layer = data.draw(st.sampled_from(LAYERS))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    values = {name: eighths(rng, *array.shape) for name, array in layer.params.items()}
    names = data.draw(st.permutations(sorted(values)))
    layer.load_state_dict({name: data.draw(st.sampled_from(DISGUISES))(values[name]) for name in names})
    for name, value in values.items():
        np.testing.assert_array_equal(layer.params[name], value.astype(layer.dtype))


def spoil(data, state):
    """Does one thing wrong to the mapping; what the message must say of it."""
    name = data.draw(st.sampled_from(sorted(state, key=str)))
    what = data.draw(st.sampled_from(["missing", "unexpected", "kind", "shape"]))
    if what == "missing":
        del state[name]
        return f"missing .*{name}"
    if what == "unexpected":
        other = data.draw(st.sampled_from([other for other in FOREIGN if other not in state]))
        state[other] = np.ones(3)
        return "unexpected"
    choices = (
        wrong_kinds(state[name]) if what == "kind" else wrong_shapes(state[name], range(state[name].ndim))
    )
    state[name] = data.draw(st.sampled_from(choices))
    return name


@at_random
@given(st.data())
def test_what_does_not_fit_changes_nothing(data):
    layer = data.draw(st.sampled_from(LAYERS))
    before = layer.params.version, layer.params.flat.tobytes()
    state = {name: array + 1 for name, array in layer.state_dict().items()}
    expected = spoil(data, state)
    with pytest.raises((ValueError, TypeError), match=r"^state_dict does not fit: ") as error:
        layer.load_state_dict(state)
    assert_names(error, [expected])
    not_a_mapping = data.draw(st.sampled_from(NOT_MAPPINGS))
    with pytest.raises(TypeError, match="state_dict must be a mapping of names to arrays, got"):
        layer.load_state_dict(not_a_mapping)
    assert (layer.params.version, layer.params.flat.tobytes()) == before


def test_everything_that_is_wrong_is_said():
    layer = layer_of("gru")(3, 5, rng=0)
    state = layer.state_dict()
    state["bias_hh_l1"] = state.pop("bias_hh_l0")
    state["weight_ih_l0"], state["bias_ih_l0"] = state["weight_ih_l0"].T, ["a"] * 15
    with pytest.raises(ValueError) as error:
        layer.load_state_dict(state)
    message = str(error.value)
    for part in ("missing 'bias_hh_l0'", "unexpected 'bias_hh_l1'", "weight_ih_l0 must have shape (15, 3)"):
        assert part in message
    assert "bias_ih_l0 must hold real numbers" in message


def test_a_checkpoint_of_another_layer_does_not_load(cell):
    """The two GRUs alone cannot be told apart: their parameters have the same names and shapes."""
    for other in ("lstm", "gru", "rnn_tanh"):
        layer, state = layer_of(cell)(3, 5, rng=0), layer_of(other)(3, 5, rng=1).state_dict()
        if {n: a.shape for n, a in state.items()} != {n: a.shape for n, a in layer.params.items()}:
            with pytest.raises(ValueError, match="state_dict does not fit: "):
                layer.load_state_dict(state)
        else:
            layer.load_state_dict(state)
    with pytest.raises(ValueError, match="unexpected 'weight_ih_l1'"):
        layer_of(cell)(3, 5).load_state_dict(layer_of(cell)(3, 5, 2).state_dict())
    with pytest.raises(ValueError, match="missing 'bias_ih_l0'"):
        layer_of(cell)(3, 5).load_state_dict(layer_of(cell)(3, 5, bias=False).state_dict())
    with pytest.raises(ValueError, match=r"missing 'weight_ih_l0'.* unexpected 'weight_ih'"):
        layer_of(cell)(3, 5).load_state_dict(pyrnn.RNNCell(3, 5).state_dict())
