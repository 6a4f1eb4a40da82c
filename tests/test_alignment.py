"""AdditiveAttention and DotAttention: the reference's numbers, gradients, laws, errors."""

import copy
import pickle

import numpy as np
import pytest

from pyrnn import AdditiveAttention, DotAttention
from pyrnn.reference import attention

from .disguises import FLAGS, RNGS, SIZES, wrong_kinds, wrong_lengths, wrong_shapes
from .problems import assert_names, assert_near, tolerance
from .slopes import assert_slope

B, TQ, T, Q, V = 3, 4, 6, 3, 5

MAKERS = {
    "additive": lambda **options: AdditiveAttention(Q, V, 4, rng=0, **options),
    "additive without bias": lambda **options: AdditiveAttention(Q, V, 4, bias=False, rng=0, **options),
    "dot": lambda **options: DotAttention(V, rng=0, **options),
    "scaled dot": lambda **options: DotAttention(V, scaled=True, rng=0, **options),
    "general": lambda **options: DotAttention(Q, V, general=True, rng=0, **options),
    "scaled general": lambda **options: DotAttention(Q, V, general=True, scaled=True, rng=0, **options),
}


@pytest.fixture(params=MAKERS.values(), ids=MAKERS.keys())
def make(request):
    def maker(**options):
        layer = request.param(**options)
        rng = np.random.default_rng(1)
        layer.params.update({name: rng.standard_normal(a.shape) for name, a in layer.params.items()})
        return layer

    return maker


def problem(layer, dtype=np.float64):
    """Query (Tq, B, ...) and values (T, B, ...), and gradients of both results."""
    rng = np.random.default_rng(2)
    shapes = (TQ, B, layer.query_size), (T, B, V), (TQ, B, V), (B, TQ, T)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def truth(layer, query, values, hidden):
    """By the reference: context, weights, in float64."""
    q, v = query.swapaxes(0, 1).astype(float), values.swapaxes(0, 1).astype(float)
    params = {name: a.astype(float) for name, a in layer.params.items()}
    if isinstance(layer, AdditiveAttention):
        scores = attention.additive_scores(q, v, {"bias": 0} | params)
    else:
        weight = params.get("weight", np.eye(layer.query_size))
        scores = attention.general_scores(q, v, weight, V**-0.5 if layer.scaled else 1)
    p = attention.softmax(np.where(hidden[:, None], -np.inf, scores))
    return np.einsum("bij,bjv->ibv", p, v), p


def test_is_the_reference(make, dtype):
    layer = make(dtype=dtype)
    query, values, *_ = problem(layer, dtype)
    mask = np.zeros((B, T), bool)
    mask[0, 2] = mask[1] = True
    lengths = np.array([5, 6, 2])
    for options, hidden in (
        ({}, np.zeros((B, T), bool)),
        ({"lengths": lengths}, np.arange(T) >= lengths[:, None]),
        ({"mask": mask}, mask),
        ({"mask": mask, "lengths": lengths}, mask | (np.arange(T) >= lengths[:, None])),
    ):
        context, weights = layer(query, values, **options)
        for actual, desired in zip((context, weights), truth(layer, query, values, hidden), strict=True):
            assert actual.dtype == dtype
            assert_near(actual, desired, 16 * tolerance(dtype, Q * V * T))


@pytest.mark.parametrize("lengths", [None, [5, 0, 2]])
def test_gradients_are_central_differences(make, lengths):
    layer = make(dtype=np.float64)
    query, values, dcontext, dweights = problem(layer)
    _, pull = layer.vjp(query, values, lengths=lengths)
    dq, dv, grads = pull(dcontext, dweights)
    assert list(grads) == list(layer.params)

    def loss(query=query, values=values):
        context, weights = layer(query, values, lengths=lengths)
        return float((context * dcontext).sum() + (weights * dweights).sum())

    assert_slope(dq, lambda new: loss(query=new), query)
    assert_slope(dv, lambda new: loss(values=new), values)
    for name, value in layer.state_dict().items():

        def of_parameter(new, name=name):
            layer.params[name] = new
            return loss()

        assert_slope(grads[name], of_parameter, value)
        layer.params[name] = value
    only = pull(dcontext)
    zeros = pull(dcontext, np.zeros_like(dweights))
    np.testing.assert_array_equal(only[0], zeros[0])


def test_one_query_is_a_sequence_of_one(make, dtype):
    layer = make(dtype=dtype)
    query, values, dcontext, dweights = problem(layer, dtype)
    (context, weights), pull = layer.vjp(query[0], values)
    (contexts, all_weights), pull_all = layer.vjp(query[:1], values)
    np.testing.assert_array_equal(context, contexts[0])
    np.testing.assert_array_equal(weights, all_weights[:, 0])
    dq, dv, grads = pull(dcontext[0], dweights[:, 0])
    dqs, dvs, all_grads = pull_all(dcontext[:1], dweights[:, :1])
    np.testing.assert_array_equal(dq, dqs[0])
    np.testing.assert_array_equal(dv, dvs)
    assert all((grads[name] == all_grads[name]).all() for name in grads)


def test_batch_first_is_the_same_turned(make, dtype):
    layer, other = make(dtype=dtype), make(dtype=dtype, batch_first=True)
    query, values, dcontext, _ = problem(layer, dtype)
    (context, weights), pull = layer.vjp(query, values)
    turned = [a.swapaxes(0, 1) for a in (query, values, dcontext)]
    (context_b, weights_b), pull_b = other.vjp(*turned[:2])
    np.testing.assert_array_equal(context_b.swapaxes(0, 1), context)
    np.testing.assert_array_equal(weights_b, weights)
    dq, dv, grads = pull(dcontext)
    dq_b, dv_b, grads_b = pull_b(turned[2])
    np.testing.assert_array_equal(dq_b.swapaxes(0, 1), dq)
    np.testing.assert_array_equal(dv_b.swapaxes(0, 1), dv)
    assert all((grads[name] == grads_b[name]).all() for name in grads)


def test_what_is_hidden_changes_nothing(make, dtype):
    layer = make(dtype=dtype)
    query, values, dcontext, _ = problem(layer, dtype)
    lengths, mask = [5, 0, 2], np.zeros((B, T), bool)
    mask[0, 1] = True

    def results():
        outputs, pull = layer.vjp(query, values, lengths=lengths, mask=mask)
        dq, dv, grads = pull(dcontext)
        return [*outputs, dq, dv, *grads.values()]

    before = results()
    for b, n in enumerate(lengths):
        values[n:, b] = np.nan
    values[1, 0] = np.inf
    for a, b in zip(results(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not before[0][:, 1].any() and not before[1][1].any()  # nothing to attend to


def test_inputs_are_not_written_to_and_results_are_the_callers(make, dtype):
    layer = make(dtype=dtype)
    arrays = problem(layer, dtype)
    before = [a.copy() for a in arrays]
    for array in arrays:
        array.setflags(write=False)
    outputs, pull = layer.vjp(*arrays[:2], lengths=[1, 2, 3])
    first = pull(*arrays[2:])
    for array in outputs:
        array[:] = 0
    kept = first[0].copy(), first[1].copy()
    for array in (*first[:2], *first[2].values()):
        array[:] = 0
    layer.params.update({name: a + 1 for name, a in layer.params.items()})
    for a, b in zip(pull(*arrays[2:]), kept, strict=False):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("sizes", [(0, 6, 3), (4, 0, 3), (4, 6, 0)])
def test_empty_inputs_are_legal(make, sizes):
    layer, (tq, t, b) = make(), sizes
    (context, weights), pull = layer.vjp(np.ones((tq, b, layer.query_size)), np.ones((t, b, V)))
    assert context.shape == (tq, b, V) and weights.shape == (b, tq, t)
    dq, dv, grads = pull(context)
    assert dq.shape == (tq, b, layer.query_size) and dv.shape == (t, b, V)
    assert {name: a.shape for name, a in grads.items()} == {name: a.shape for name, a in layer.params.items()}


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_pickle_copy_and_repr(make, clone):
    layer = make(dtype=np.float64, batch_first=True)
    other = clone(layer)
    names = {"AdditiveAttention": AdditiveAttention, "DotAttention": DotAttention, "np": np}
    again = eval(repr(layer), names)
    assert repr(again) == repr(other) == repr(layer) and repr(again.params) == repr(layer.params)
    query, values, *_ = problem(layer)
    given = query.swapaxes(0, 1), values.swapaxes(0, 1)
    np.testing.assert_array_equal(other(*given)[0], layer(*given)[0])


# ---- errors ----


def test_construction_errors_name_the_argument():
    for size in SIZES:
        for i, name in enumerate(("query_size", "value_size", "attention_size")):
            sizes = [3, 3, 3]
            sizes[i] = size
            with pytest.raises((TypeError, ValueError), match=name):
                AdditiveAttention(*sizes)
        with pytest.raises((TypeError, ValueError), match="query_size"):
            DotAttention(size)
    for flag in FLAGS:
        for name in ("bias", "batch_first"):
            with pytest.raises(TypeError, match=name):
                AdditiveAttention(3, 3, 3, **{name: flag})
        for name in ("general", "scaled", "batch_first"):
            with pytest.raises(TypeError, match=name):
                DotAttention(3, **{name: flag})
    for rng in RNGS:
        with pytest.raises((TypeError, ValueError), match="rng"):
            AdditiveAttention(3, 3, 3, rng=rng)
        with pytest.raises((TypeError, ValueError), match="rng"):
            DotAttention(3, general=True, rng=rng)
    with pytest.raises(ValueError, match="value_size must be query_size, 3, unless general=True; got 4"):
        DotAttention(3, 4)


def test_call_errors_name_the_argument(make):
    layer = make()
    query, values, dcontext, dweights = problem(layer)
    for wrong in (*wrong_kinds(query), *wrong_shapes(query, (2,))):
        with pytest.raises((TypeError, ValueError), match="query"):
            layer(wrong, values)
    for wrong in (*wrong_kinds(values), *wrong_shapes(values, (1, 2))):
        with pytest.raises((TypeError, ValueError), match="values"):
            layer(query, wrong)
    for wrong in wrong_lengths(T, B):
        with pytest.raises((TypeError, ValueError), match="lengths"):
            layer(query, values, lengths=wrong)
    for wrong in (np.zeros((B, T)), np.zeros((T, B), bool), np.zeros(T, bool), "text", object()):
        with pytest.raises((TypeError, ValueError), match="mask"):
            layer(query, values, mask=wrong)
    pull = layer.vjp(query, values)[1]
    for wrong in (*wrong_kinds(dcontext), *wrong_shapes(dcontext, (0, 1, 2))):
        with pytest.raises((TypeError, ValueError)) as error:
            pull(wrong)
        assert_names(error, ["dcontext"])
    for wrong in (*wrong_kinds(dweights), *wrong_shapes(dweights, (0, 1, 2))):
        with pytest.raises((TypeError, ValueError)) as error:
            pull(dcontext, wrong)
        assert_names(error, ["dweights"])
