"""Sequential: its layers one after the other, its parameters as one mapping, and training on it."""

import copy
import pickle

import numpy as np
import pytest

import pyrnn
from pyrnn import (
    GRU,
    LSTM,
    Adam,
    Bidirectional,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    PositionalEncoding,
    Sequential,
    clip_grad_norm,
    cross_entropy,
)

from .problems import assert_near, tolerance
from .slopes import assert_slope

TOKENS = np.random.default_rng(0).integers(0, 7, (6, 3))
LENGTHS = np.array([6, 2, 0])


def network(dtype=np.float64, p=0.0):
    kind = {"dtype": dtype, "rng": np.random.default_rng(1)}
    return Sequential(
        Embedding(7, 4, **kind),
        PositionalEncoding(),
        Sequential(Bidirectional(GRU(4, 3, **kind)), LayerNorm(6, dtype=dtype)),
        Dropout(p, rng=2),
        LSTM(6, 5, **kind),
        Linear(5, 7, **kind),
    )


def by_hand(model, x, **options):
    embed, positions, (both, norm), _, lstm, linear = model
    y, _ = both(positions(embed(x)), **options)
    return linear(lstm(norm(y), **options)[0])


@pytest.mark.parametrize("options", [{}, {"lengths": LENGTHS}, {"reset": TOKENS == 3}], ids=str)
def test_it_is_its_layers_one_after_the_other(dtype, options):
    model = network(dtype)
    truth = by_hand(model, TOKENS, **options)
    np.testing.assert_array_equal(model(TOKENS, **options), truth)
    np.testing.assert_array_equal(model.vjp(TOKENS, **options)[0], truth)
    assert model.dtype == truth.dtype == dtype


def test_gradients_are_central_differences():
    model = network()
    y, pull = model.vjp(TOKENS, lengths=LENGTHS)
    dy = np.random.default_rng(3).standard_normal(y.shape)
    dx, grads = pull(dy)
    assert dx is None and list(grads) == list(model.params)
    for name, value in model.state_dict().items():

        def loss(new, name=name):
            model.params[name] = new
            return (model(TOKENS, lengths=LENGTHS) * dy).sum()

        assert_slope(grads[name], loss, value)
        model.params[name] = value


def test_the_gradient_of_the_input():
    model = Sequential(Linear(3, 4, dtype=np.float64, rng=0), GRU(4, 2, dtype=np.float64, rng=1))
    x = np.random.default_rng(0).standard_normal((4, 2, 3))
    first, pull_first = model[0].vjp(x)
    (y, _), pull_second = model[1].vjp(first)
    dx, grads = model.vjp(x)[1](np.ones_like(y))
    d_first, _, grads_second = pull_second(np.ones_like(y))
    truth, grads_first = pull_first(d_first)
    np.testing.assert_array_equal(dx, truth)
    for name, array in grads.items():
        k, own = name.split(".", 1)
        np.testing.assert_array_equal(array, (grads_first, grads_second)[int(k)][own])


# ---- States ----


def stateful(dtype=np.float64):
    rng = np.random.default_rng(0)
    kind = {"dtype": dtype, "rng": rng}
    inner = Sequential(LSTM(4, 3, num_layers=2, **kind), LayerNorm(3, dtype=dtype))
    return Sequential(Embedding(7, 4, **kind), inner, Dropout(0.0), GRU(3, 5, **kind), Linear(5, 2, **kind))


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "ragged"])
@pytest.mark.parametrize("cut", [0, 1, 4, 6])
def test_two_halves_make_the_whole(dtype, cut, lengths):
    model, state, parts = stateful(dtype), None, []
    for steps in (slice(0, cut), slice(cut, 6)):
        options = (
            {} if lengths is None else {"lengths": np.clip(lengths, steps.start, steps.stop) - steps.start}
        )
        y, after = model(TOKENS[steps], state=state, return_state=True, **options)
        (again, other), _ = model.vjp(TOKENS[steps], state=state, return_state=True, **options)
        np.testing.assert_array_equal(again, y)
        np.testing.assert_array_equal(other[1][0][0], after[1][0][0])
        parts.append(y)
        state = after
    options = {} if lengths is None else {"lengths": lengths}
    whole, final = model(TOKENS, return_state=True, **options)
    atol = 16 * np.finfo(dtype).eps  # Linear and LayerNorm may round a row in another way in another batch
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=atol)
    assert [type(part) for part in state] == [type(None), tuple, type(None), np.ndarray, type(None)]
    np.testing.assert_allclose(state[3], final[3], rtol=0, atol=atol)
    np.testing.assert_array_equal(model(TOKENS, **options), whole)


def test_gradients_flow_from_half_to_half():
    model, rng = stateful(), np.random.default_rng(1)
    (y, final), pull = model.vjp(TOKENS, return_state=True)
    dy, d_gru = rng.standard_normal(y.shape), rng.standard_normal(final[3].shape)
    dstate = (None, None, None, d_gru, None)
    _, _, truth = pull(dy, dstate)
    (_, state), first = model.vjp(TOKENS[:4], return_state=True)
    _, second = model.vjp(TOKENS[4:], state=state, return_state=True)
    dx, dstate, late = second(dy[4:], dstate)
    assert dx is None and [part is None for part in dstate] == [True, False, True, False, True]
    _, _, early = first(dy[:4], dstate)
    for name, array in truth.items():
        np.testing.assert_allclose(early[name] + late[name], array, rtol=0, atol=2.0**-44)


def test_states_are_judged():
    model = stateful()
    for state, error, message in [
        (3, TypeError, "state must be a tuple of 5, one a layer, got int"),
        ((None,) * 4, TypeError, "state must be a tuple of 5, one a layer, got 4"),
        ((np.ones(3), *(None,) * 4), ValueError, r"state\[0\] must be None: Embedding.* has no state"),
        ((None,) * 3 + (np.ones(3), None), ValueError, "state must have shape"),
    ]:
        with pytest.raises(error, match=message):
            model(TOKENS, state=state)
    with pytest.raises(TypeError, match="return_state must be True or False, got 1"):
        model(TOKENS, return_state=1)


# ---- The container ----


def test_it_is_a_sequence_of_its_layers():
    layers = Linear(3, 4), Dropout(), Linear(4, 2)
    model = Sequential(*layers)
    assert len(model) == 3 and tuple(model) == layers and model[1] is layers[1] and model[-1] is layers[2]
    part = model[1:]
    assert isinstance(part, Sequential) and tuple(part) == layers[1:]
    assert list(part.params) == ["1.weight", "1.bias"]
    with pytest.raises(IndexError):
        model[3]


def test_names_are_pytorchs():
    model = Sequential(LSTM(2, 3, bias=False), Sequential(Bidirectional(GRU(3, 1, bias=False))), Linear(2, 1))
    assert list(model.params) == [
        *("0.weight_ih_l0", "0.weight_hh_l0"),
        *("1.0.weight_ih_l0", "1.0.weight_hh_l0", "1.0.weight_ih_l0_reverse", "1.0.weight_hh_l0_reverse"),
        *("2.weight", "2.bias"),
    ]
    assert model.params.size == sum(layer.params.size for layer in model) == 60 + 24 + 3
    assert len(model.params) == 8 and "2.bias" in model.params and "bias" not in model.params


def test_the_output_has_a_dtype_where_a_layer_has_one():
    assert Sequential(Linear(2, 2, dtype=np.float64), Dropout()).dtype == np.float64
    assert Sequential(Linear(2, 2, dtype=np.float64), Linear(2, 2)).dtype == np.float32
    assert not hasattr(Sequential(Dropout(), Sequential(PositionalEncoding())), "dtype")


def test_pickle_and_copy():
    model = network()
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(other(TOKENS), model(TOKENS))
        assert repr(other) == repr(model)
        other.params["5.bias"] = np.ones(7)
        assert (other[5].params["bias"] == 1).all() and (model.params["5.bias"] != 1).all()
        assert (other(TOKENS) != model(TOKENS)).all()
    again = eval(repr(model), vars(pyrnn) | {"np": np})
    assert repr(again) == repr(model)


# ---- Parameters: one mapping, several buffers ----


def test_writes_reach_the_layers_and_their_packs():
    model = Sequential(GRU(3, 2, rng=0), Linear(2, 2, rng=1))
    x = np.ones((4, 1, 3))
    y, versions = model(x), [model.params.version]
    model.params["0.weight_hh_l0"] = 2 * model.params["0.weight_hh_l0"]  # the pack of the GRU is stale now
    assert (model(x) != y).any()
    versions.append(model.params.version)
    model[1].params["bias"] = [5, 5]
    np.testing.assert_array_equal(model.params["1.bias"], [5, 5])
    versions.append(model.params.version)
    assert sorted(set(versions)) == versions
    with pytest.raises(ValueError, match="read-only"):
        model.params["1.bias"][0] = 1


def test_values_may_be_swapped_between_layers():
    model = Sequential(Linear(2, 2, rng=0), Linear(2, 2, rng=1))
    before = model.state_dict()
    model.params.update({"0.weight": model.params["1.weight"], "1.weight": model.params["0.weight"]})
    np.testing.assert_array_equal(model.params["0.weight"], before["1.weight"])
    np.testing.assert_array_equal(model.params["1.weight"], before["0.weight"])


def test_loading_is_strict_and_all_or_nothing():
    model = network()
    state, y = model.state_dict(), model(TOKENS)
    other = network(np.float32)
    other.load_state_dict(state)
    assert_near(other(TOKENS), y, 8 * tolerance(np.float32, 100))
    changed = {name: array + 1 for name, array in state.items()}
    missing = {name: array for name, array in changed.items() if name != "5.bias"} | {"6.bias": 1}
    for bad, message in [
        (missing, "state_dict does not fit: missing '5.bias'; unexpected '6.bias'"),
        (changed | {"5.bias": np.ones(3)}, r"5.bias must have shape \(7,\), got \(3,\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.load_state_dict(bad)
    np.testing.assert_array_equal(model(TOKENS), y)
    with pytest.raises(KeyError, match=r"no parameter '5.x'; there are 0.weight"):
        model.params["5.x"]


# ---- Training ----


def test_an_optimizer_steps_as_on_the_layers():
    whole, parts = network(), network()
    layers = [*parts[:2], *parts[2], *parts[3:]]
    first, second = Adam(whole, lr=0.1), Adam(layers, lr=0.1)
    names = ["0", "1", "2.0", "2.1", "3", "4", "5"]
    for _ in range(3):
        y, pull = whole.vjp(TOKENS)
        _, dloss = cross_entropy.vjp(y, TOKENS)
        _, grads = pull(dloss())
        first.step(grads)
        second.step(
            [
                {name: grads[f"{k}.{name}"] for name in layer.params}
                for k, layer in zip(names, layers, strict=True)
            ]
        )
    for name, array in whole.params.items():
        np.testing.assert_array_equal(array, parts.params[name], err_msg=name)
    saved = first.state_dict()
    assert saved["0.m.2.0.weight_hh_l0_reverse"].shape == (9, 3)
    third = Adam(whole)
    third.load_state_dict(saved)
    assert third.steps == 3 and all(
        (third.state_dict()[name] == array).all() for name, array in saved.items()
    )


def test_layers_of_two_dtypes_train_together():
    model = Sequential(Linear(3, 4, dtype=np.float64, rng=0), Linear(4, 2, rng=1))
    y, pull = model.vjp(np.ones((5, 3)))
    before = model.state_dict()
    Adam(model).step(pull(np.ones_like(y))[1])
    for name, array in model.params.items():
        assert array.dtype == before[name].dtype and (array != before[name]).any()


def test_it_learns():
    model, first = network(np.float32, p=0.1), None
    adam = Adam(model, lr=0.02)
    for _ in range(150):
        logits, pull = model.vjp(TOKENS)
        loss, dloss = cross_entropy.vjp(logits, TOKENS)
        first = first or loss
        _, grads = pull(dloss())
        assert clip_grad_norm(grads, 1.0) > 0
        adam.step(grads)
    assert cross_entropy(model(TOKENS), TOKENS) < 0.1 * first


def test_one_seed_for_every_dropout():
    model = Sequential(Dropout(rng=0), LSTM(4, 4, num_layers=2, dropout=0.5, rng=0), Dropout(rng=0))
    x = np.ones((5, 2, 4), np.float32)
    first, second = (model.vjp(x, rng=7)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (model.vjp(x, rng=8)[0] != first).any()
    np.testing.assert_array_equal(model(x), model[1](x)[0])


# ---- Errors ----

SHARED = Linear(2, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Sequential(), ValueError, "layers must be one or more, got none"),
        (
            lambda: Sequential([Linear(2, 2)]),
            TypeError,
            r"layers\[0\] must be a layer for whole sequences, got",
        ),
        (lambda: Sequential(SHARED, np.tanh), TypeError, r"layers\[1\] must be a layer .* <ufunc 'tanh'>"),
        (
            lambda: Sequential(pyrnn.GRUCell(2, 2)),
            TypeError,
            r"layers\[0\] must be a layer for whole sequences",
        ),
        (lambda: Sequential(SHARED, SHARED), ValueError, "layers must be distinct, but two of them share"),
        (lambda: Sequential(SHARED, Sequential(SHARED)), ValueError, "layers must be distinct"),
        (lambda: Adam([SHARED, Sequential(SHARED)]), ValueError, "layers must be distinct"),
        (
            lambda: Sequential(SHARED, Sequential(Dropout()))(np.ones(2), lengths=[1]),
            ValueError,
            "lengths must be None: no layer of Sequential.* takes it",
        ),
        (lambda: Sequential(SHARED).vjp(np.ones(2), reset=[1]), ValueError, "reset must be None: no layer"),
        (lambda: Sequential(SHARED).vjp(np.ones(2), rng="x"), TypeError, "rng must be None, an integer"),
        (lambda: Sequential(SHARED)(np.ones(3)), ValueError, r"x must have shape \(\.\.\., 2\), got \(3,\)"),
        (lambda: Sequential(SHARED).vjp(np.ones(2))[1](np.ones(3)), ValueError, r"dy must have shape \(2,\)"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
