"""Files of Keras without Keras, and the layers that Keras has and pyrnn makes for them."""

import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

import pyrnn
from pyrnn.interop import from_keras, load_keras_weights
from pyrnn.interop._keras_layers import NAMES, Activation, HoldLast, MaskedSequential, MergeHalves

from .slopes import assert_slope

DATA = Path(__file__).parent / "data"
KERAS = DATA / "masked.keras"


@pytest.fixture
def known():
    with np.load(DATA / "masked.npz") as file:
        return file["x"], file["y"]


def rewritten(tmp_path, **members):
    """The archive with other members."""
    with zipfile.ZipFile(KERAS) as archive:
        content = {name: archive.read(name) for name in archive.namelist()} | members
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return tmp_path / "other.keras"


def weights_file(tmp_path):
    with zipfile.ZipFile(KERAS) as archive:
        (tmp_path / "model.weights.h5").write_bytes(archive.read("model.weights.h5"))
    return tmp_path / "model.weights.h5"


def test_a_file_computes_what_keras_computed(known):
    x, y = known
    model = from_keras(KERAS)
    np.testing.assert_allclose(model(x), y, rtol=0, atol=1e-5)  # as Keras itself differs between backends
    found, pull = model.vjp(x, rng=0)
    np.testing.assert_array_equal(found, model(x))
    assert set(pull(np.ones_like(found))[1]) == set(model.params)


def test_weights_alone_go_into_layers_of_ones_own(tmp_path, known):
    x, _ = known
    truth = from_keras(KERAS)
    for path in (weights_file(tmp_path), KERAS):
        model = from_keras(KERAS)
        for part in model:
            part.params.update({name: np.zeros(array.shape) for name, array in part.params.items()})
        load_keras_weights(model, path)
        np.testing.assert_array_equal(model(x), truth(x))


def test_weights_that_do_not_fit_change_nothing(tmp_path):
    path = weights_file(tmp_path)
    for model, message in [
        (pyrnn.Sequential(pyrnn.Embedding(9, 3)), "has weights for which there are no layers"),
        (pyrnn.LSTM(3, 3), "has no weights of a recurrent layer at lstm/cell"),
        (pyrnn.MinGRU(3, 3), "has no weights in files of Keras"),
        (pyrnn.MultiHeadAttention(4, 2), "has no weights in files of Keras"),
    ]:
        before = model.state_dict()
        with pytest.raises(ValueError, match=message):
            load_keras_weights(model, path)
        assert all(np.array_equal(array, model.params[name]) for name, array in before.items())
    with pytest.raises(TypeError, match="model must be a layer, got str"):
        load_keras_weights("model", path)
    with pytest.raises(ValueError, match="load_keras_weights puts them into layers of yours"):
        from_keras(path)
    with pytest.raises(TypeError, match="source must be a layer or model of Keras, or a path, got int"):
        from_keras(3)


def config_with(change):
    with zipfile.ZipFile(KERAS) as archive:
        config = json.loads(archive.read("config.json"))
    change(config["config"]["layers"])
    return json.dumps(config)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda parts: parts[2]["config"].update(merge_mode=None), "merge_mode is None"),
        (lambda parts: parts[3]["config"].update(stateful=True), "stateful=True is not supported"),
        (lambda parts: parts[3]["config"].update(go_backwards=True), "go_backwards=True is not supported"),
        (lambda parts: parts[3]["config"].update(units=10**12), "units, but a kernel"),
        (lambda parts: parts[3]["config"].update(units="many"), "units is 'many'"),
        (lambda parts: parts[3]["config"].update(gates=7), "gates=7 is not known"),
        (lambda parts: parts[1]["config"].update(input_dim=10**15), "must have weights of the sizes"),
        (lambda parts: parts[4].update(class_name="Lambda"), "Lambda 'layer_normalization' is not supported"),
        (lambda parts: parts[4].update(registered_name="Mine>Norm"), "is a class of its own"),
        (lambda parts: parts[6]["config"].update(activation={"class_name": "f"}), "is not supported"),
        (lambda parts: parts.clear(), "has no layers"),
    ],
)  # fmt: skip
def test_configurations_that_are_refused(tmp_path, change, message):
    path = rewritten(tmp_path, **{"config.json": config_with(change)})
    with pytest.raises(ValueError, match=message):
        from_keras(path)


def test_archives_that_are_refused(tmp_path):
    path = tmp_path / "bad.keras"
    path.write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"is no \.keras file"):
        from_keras(path)
    for config in (b"{", b"[]", b"[" * 10**6, b"\xff"):
        with pytest.raises(ValueError, match=r"config\.json"):
            from_keras(rewritten(tmp_path, **{"config.json": config}))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:  # a bomb: 64 MB in 64 kB
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(1 << 26))
    with pytest.raises(ValueError, match=r"model\.weights\.h5 says that it has 67108864 bytes, more than"):
        from_keras(path)


@pytest.mark.parametrize(
    "kind", ["external link", "soft link", "external data", "compressed", "huge", "integers"]
)
def test_arrays_that_are_refused(tmp_path, kind):
    """Nothing is read that is not in the file, or larger than it."""
    data = io.BytesIO()
    with zipfile.ZipFile(KERAS) as archive:
        data.write(archive.read("model.weights.h5"))
    with h5py.File(data, "r+") as file:
        group = file["layers/dense/vars"]
        array = group["0"][()]
        del group["0"]
        if kind == "external link":
            group["0"] = h5py.ExternalLink("/etc/passwd", "/x")
        elif kind == "soft link":
            group["0"] = h5py.SoftLink("/layers/dense/vars/1")
        elif kind == "external data":
            group.create_dataset("0", array.shape, array.dtype, external=[("/etc/passwd", 0, 1000)])
        elif kind == "compressed":
            group.create_dataset("0", data=array, compression="gzip")
        elif kind == "huge":
            group.create_dataset("0", (2**20, 2**20), np.float32)
        else:
            group["0"] = array.astype(int)
    path = rewritten(tmp_path, **{"model.weights.h5": data.getvalue()})
    with pytest.raises(ValueError, match=r"the array dense/0 cannot be read"):
        from_keras(path)


@pytest.mark.parametrize("name", NAMES)
def test_activations_and_their_gradients(rng, name):
    layer, x = Activation(name), rng.standard_normal((3, 4))
    y, pull = layer.vjp(x)
    np.testing.assert_array_equal(y, layer(x))
    dy = rng.standard_normal(y.shape)
    assert_slope(pull(dy)[0], lambda x: (layer(x) * dy).sum(), x)


@pytest.mark.parametrize(
    "layer", [MergeHalves("sum"), MergeHalves("mean"), MergeHalves("mul"), HoldLast()], ids=repr
)
def test_merged_and_held_outputs_and_their_gradients(rng, layer):
    x, options = rng.standard_normal((3, 5, 4)), {}
    if isinstance(layer, HoldLast):
        options["lengths"] = [5, 2, 0]
        np.testing.assert_array_equal(layer(x), x)
        np.testing.assert_array_equal(layer(x, **options)[1, 2:], x[1, [1, 1, 1]])
    y, pull = layer.vjp(x, **options)
    np.testing.assert_array_equal(y, layer(x, **options))
    dy = rng.standard_normal(y.shape)
    assert_slope(pull(dy)[0], lambda x: (layer(x, **options) * dy).sum(), x)


def test_masks_are_found_in_the_input(rng):
    model = MaskedSequential(pyrnn.LSTM(3, 4, batch_first=True, rng=0), mask_value=-1.0)
    x = rng.standard_normal((2, 5, 3)).astype(np.float32)
    x[1, 2:] = -1
    np.testing.assert_array_equal(model(x), pyrnn.Sequential(*model)(x, lengths=[5, 2]))
    np.testing.assert_array_equal(model(x, lengths=[5, 5]), pyrnn.Sequential(*model)(x))
    x[0, 1] = -1
    with pytest.raises(ValueError, match=r"steps masked by -1\.0 must be the last ones"):
        model(x)
