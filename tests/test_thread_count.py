"""How many threads: what is set, what the environment names, what affinity and control groups allow."""

import numpy as np
import pytest

import pyrnn
from pyrnn import _threads

from .processes import python


def test_set_and_get(threads):
    for number in (1, 2, np.int64(3), 64):
        threads(number)
        assert pyrnn.get_num_threads() == number
    threads(None)
    assert pyrnn.get_num_threads() == _threads._default()


@pytest.mark.parametrize("number", [0, -1, 2**31, 10**30])
def test_a_number_out_of_range_is_an_error(number):
    before = pyrnn.get_num_threads()
    with pytest.raises(ValueError, match=r"\bn must be .* got"):
        pyrnn.set_num_threads(number)
    assert pyrnn.get_num_threads() == before


@pytest.mark.parametrize("number", [True, 2.0, "2", [2], np.array([1, 2]), np.bool_(True), object()])
def test_anything_but_an_integer_is_an_error(number):
    before = pyrnn.get_num_threads()
    with pytest.raises(TypeError, match=r"\bn must be an integer or None, got"):
        pyrnn.set_num_threads(number)
    assert pyrnn.get_num_threads() == before


SHOW = "import pyrnn; print(pyrnn.get_num_threads())"


def test_the_environment_names_the_number():
    assert python(SHOW, PYRNN_NUM_THREADS="3") == "3\n"
    code = f"import pyrnn; pyrnn.set_num_threads(7); pyrnn.set_num_threads(None); {SHOW}"
    assert python(code, PYRNN_NUM_THREADS="3") == "3\n"


@pytest.mark.parametrize("number", ["0", "-2", "1.5", "two", "4294967296"])
def test_an_environment_that_names_no_number_is_an_error(number):
    output = python(SHOW, status=1, PYRNN_NUM_THREADS=number)
    assert "ValueError: PYRNN_NUM_THREADS must be an integer" in output and number in output


def test_the_default_is_what_the_affinity_allows():
    code = f"import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); {SHOW}"
    assert python(code, PYRNN_NUM_THREADS=None) == "1\n"
    cores = python("import os; print(len(os.sched_getaffinity(0)))")
    assert 1 <= int(python(SHOW, PYRNN_NUM_THREADS="")) <= int(cores)


UNLIMITED = 1 << 20


@pytest.mark.parametrize(
    "membership, files, limit",
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, UNLIMITED),
        ("0::/\n", {"cpu.max": "1000 100000\n"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "cpu.max": "200000 100000\n"}, 2),
        ("0::/of/the/host\n", {"cpu.max": "200000 100000\n"}, 2),
        (
            "3:cpuset:/\n2:cpu,cpuacct:/a\n1:name=systemd:/a\n",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n"},
            3,
        ),
        ("2:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, UNLIMITED),
        ("2:cpuset:/\n", {"cpuset/cpu.max": "100000 100000\n"}, UNLIMITED),
        ("0::/\n", {"cpu.max": "nonsense\n"}, UNLIMITED),
        ("0::/\n", {"cpu.max": "100000 0\n"}, UNLIMITED),
        ("0::/\n", {"cpu.max": ""}, UNLIMITED),
        ("0::/\n", {}, UNLIMITED),
        ("", {}, UNLIMITED),
        ("\nnonsense\n", {}, UNLIMITED),
    ],
)
def test_the_quota_of_the_control_group(tmp_path, membership, files, limit):
    (tmp_path / "cgroup").write_text(membership)
    for name, text in files.items():
        path = tmp_path / "mount" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = _threads._quota(tmp_path / "cgroup", tmp_path / "mount")
    assert found == limit if limit < UNLIMITED else found >= UNLIMITED


def test_no_control_groups_are_no_limit(tmp_path):
    assert _threads._quota(tmp_path / "absent", tmp_path) >= UNLIMITED
