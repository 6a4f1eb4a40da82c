"""A thousand damaged files of ONNX and Keras: clear errors, no crash, no more memory than a file may take.

They are read in a process of their own, whose memory is limited and whose end is looked at.
"""

import io
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

import pyrnn
import pyrnn.onnx

from . import processes

KERAS = Path(__file__).parent / "data" / "masked.keras"
COUNTS = {"onnx": 400, "keras": 300, "h5": 300}

READER = """
import resource, sys
from pathlib import Path
import numpy as np
import pyrnn.onnx
from pyrnn.interop import from_keras, load_keras_weights
import h5py, onnx, zipfile
from collections import Counter

def opened(name, *args):
    # sys.addaudithook sees whatever a file would have run
    if name in ("os.system", "os.exec", "subprocess.Popen", "socket.connect", "pickle.find_class"):
        print("FORBIDDEN", name, args, flush=True)

sys.addaudithook(opened)
kind, folder = sys.argv[1], Path(sys.argv[2])
model = from_keras(sys.argv[3])
used = int(next(l for l in open("/proc/self/status") if l.startswith("VmSize")).split()[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), used + (1 << 30)))
outcomes = Counter()
for path in sorted(folder.iterdir()):
    print("at", path.name, flush=True)
    try:
        if kind == "onnx":
            loaded = pyrnn.onnx.load(path, max_elements=1 << 22)
            shapes = {v.name: [n if isinstance(n, int) else 2 for n in v.shape or ()] for v in loaded.inputs}
            loaded(**{v.name: np.zeros(shapes[v.name], v.dtype) for v in loaded.inputs})
        elif kind == "keras":
            from_keras(path)(np.ones((2, 3), int))
        else:
            load_keras_weights(model, path)
        outcomes["read"] += 1
    except (ValueError, TypeError) as error:
        outcomes["refused" if str(error) else "silent"] += 1
print("outcomes", dict(outcomes), flush=True)
"""


def mutated(data, rng):
    """A file with some bytes changed, a piece cut out, doubled or moved, or an end."""
    found = bytearray(data)
    kind = rng.integers(5)
    start, length = int(rng.integers(len(found))), int(rng.integers(1, 64))
    if kind == 0:
        return bytes(found[:start])
    if kind == 1:
        del found[start : start + length]
    elif kind == 2:
        found[start:start] = found[start : start + length]
    elif kind == 3:  # a number as large as it gets
        found[start : start + 8] = b"\xff" * int(rng.choice([4, 8]))
    else:
        for at in rng.integers(len(found), size=int(rng.integers(1, 9))):
            found[at] = rng.integers(256)
    return bytes(found)


def originals(kind, tmp_path):
    if kind == "onnx":
        models = [
            pyrnn.Sequential(
                pyrnn.Embedding(9, 4), pyrnn.LSTM(4, 5, bidirectional=True), pyrnn.Linear(10, 2)
            ),
            pyrnn.GRU(3, 4, num_layers=2),
            pyrnn.Sequential(pyrnn.TransformerEncoderLayer(4, 2, 5), pyrnn.LastStep()),
        ]
        for model in models:
            pyrnn.onnx.save(model, tmp_path / "model.onnx", lengths=True)
            yield (tmp_path / "model.onnx").read_bytes()
    elif kind == "keras":
        yield KERAS.read_bytes()
    else:
        with zipfile.ZipFile(KERAS) as archive:
            yield archive.read("model.weights.h5")


def resealed(data, rng):
    """The archive with damaged members, whose sums are right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = str(rng.choice(["config.json", "model.weights.h5"]))
    members[name] = mutated(members[name], rng)
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return found.getvalue()


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="memory is limited by the system's own means"
)
@pytest.mark.parametrize("kind", COUNTS)
def test_damaged_files_are_refused_or_read(rng, tmp_path, capsys, kind):
    (folder := tmp_path / "files").mkdir()
    sources = list(originals(kind, tmp_path))
    for number in range(COUNTS[kind]):
        source = sources[number % len(sources)]
        data = resealed(source, rng) if kind == "keras" and number % 3 else mutated(source, rng)
        ending = {"onnx": "onnx", "keras": "keras", "h5": "weights.h5"}[kind]
        (folder / f"{number:04}.{ending}").write_bytes(data)
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = processes.python(READER, kind, str(folder), str(KERAS), warnings="ignore", timeout=240, **one)
    assert "FORBIDDEN" not in done and "silent" not in done
    outcomes = eval(re.search("outcomes (.*)", done)[1], {})
    assert sum(outcomes.values()) == COUNTS[kind] and outcomes["refused"] > COUNTS[kind] // 4
    with capsys.disabled():
        print(f"\n{COUNTS[kind]} damaged {kind} files: {outcomes}")


def external(tmp_path, **entries):
    """A model whose weight lies in another file."""
    (tmp_path / "model").mkdir(exist_ok=True)
    path = tmp_path / "model" / "model.onnx"
    pyrnn.onnx.save(pyrnn.Linear(3, 2, bias=False, rng=0), path, input_shape=("N", 3))
    model = onnx.load(path)
    (tensor,) = model.graph.initializer
    (path.parent / "weights").write_bytes(b"gap " + tensor.raw_data)
    (tmp_path / "outside").write_bytes(b"gap " + tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for name, value in ({"location": "weights", "offset": "4", "length": "24"} | entries).items():
        tensor.external_data.add(key=name, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def test_tensors_may_lie_in_the_folder_of_the_model(tmp_path):
    x = np.ones((1, 3), np.float32)
    found = pyrnn.onnx.load(external(tmp_path))(x)["y"]
    np.testing.assert_array_equal(found, pyrnn.Linear(3, 2, bias=False, rng=0)(x))


@pytest.mark.parametrize(
    "entries, message",
    [
        ({"location": "../outside"}, "must lie in the folder of the model, got '../outside'"),
        ({"location": "/etc/passwd"}, "must lie in the folder of the model, got '/etc/passwd'"),
        ({"location": ""}, "must lie in the folder of the model"),
        ({"location": "link"}, "must lie in the folder of the model, got 'link'"),
        ({"location": "none"}, "'none' does not hold 24 bytes from 4 on"),
        ({"offset": "5"}, "'weights' does not hold 24 bytes from 5 on"),
        ({"offset": "-1"}, "offset -1, length 24"),
        ({"length": str(2**60)}, "has 24 bytes, but the file says"),
        ({"offset": "x"}, "offset and length must be integers"),
    ],
)
def test_and_nowhere_else(tmp_path, entries, message):
    path = external(tmp_path, **entries)
    (path.parent / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match=re.escape(message)):
        pyrnn.onnx.load(path)


def test_a_model_that_comes_from_no_file_has_no_folder(tmp_path):
    model = onnx.load(external(tmp_path), load_external_data=False)
    with pytest.raises(ValueError, match="lies in another file, 'weights', but the model comes from no file"):
        pyrnn.onnx.load(model)
