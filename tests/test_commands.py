"""Every command that a page or a program's docstring shows runs here, with sizes that take no time.

A line of an ``sh`` block, or code in a sentence that begins like a command, is taken as it is written. A
program of ``examples/`` or ``benchmarks/`` gets small sizes after the arguments that it is shown with, and
files where it is shown with their names. What nothing here knows how to run fails: no page shows a command
that is not tried.
"""

import ast
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

import pyrnn

from .conftest import ABSENT
from .pages import FENCE, PAGES, ROOT, fenced

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
SPAN = re.compile(r"`+((?:pip|python|pytest|cmake|sphinx-build|\.ci/run)\b[^`]*)`+")
USAGE = re.compile(r"^ {4}((?:pip|python|pytest) .*)$", re.M)
PROGRAMS = [path for name in ("examples", "benchmarks") for path in sorted((ROOT / name).glob("*.py"))]

# What takes a program no time, and, where it reads a file, what writes one.
EXAMPLES = {
    "adding_problem": "--steps 6 --hidden 4 --count 50 --epochs 1 --threads 1",
    "attention": "--steps 2 --hidden 4 --embedding 3 --batch 4 --held-out 5 --threads 1",
    "bidirectional": "--hidden 4 --steps 6 --texts 8 --epochs 1 --threads 1",
    "char_lm": "--steps 2 --hidden 4 --embedding 4 --seq-len 5 --batch-size 2 --sample 5 --threads 1",
    "exploding_gradient": "--steps 6 --hidden 4 --length 5 --clip 1 --threads 1",
    "forecast": "--epochs 1 --members 1 --hidden 4 --threads 1",
    "from_keras": "--steps 3 --batch 2",
    "music": "--hidden 4 --epochs 1 --threads 1",
    "onnx_roundtrip": "--hidden 5 --steps 6 --batch 3 --repeats 1",
    "rnn_states": "--hidden 4 --steps 9 --sequences 8 --epochs 1 --threads 1",
    "sentiment": "--hidden 4 --embedding 4 --epochs 1 --threads 1",
    "sklearn_pipeline": "--digits 60 --hidden 4 --epochs 1 --folds 2 --jobs 1 --cells gru --threads 1",
    "torch_dropin": "--hidden 4 --epochs 1 --batch 300 --threads 1",
    "transformer": "--size 4 --heads 1 --steps 3 --texts 8 --epochs 1 --threads 1",
    "vanishing_gradient": "--steps 5 --hidden 4 --batch 2 --scales 0.7 --threads 1",
}
BENCHMARKS = {
    "attention": "--rounds 1 --threads 1 --shape 4 1 8 2",
    "checkpointed": "--rounds 1 --shape 30 2 3 4",
    "denormals": "--rounds 1",
    "fit": "--rounds 1 --hidden 4",
    "layer_norm": "--rounds 1 --rows 5 --features 7 --threads 1",
    "optimizers": "--rounds 1 --size 10",
    "options": "--rounds 1 --quick",
    "report": "--quick --cells lstm --shapes smoke-one --peers numpy --threads 1 "
    "--budget 0.001 --repeat 1 --no-targets",
    "torch_dropin": "--rounds 1 --threads 1 --only GRU",
}
NEEDS = {"examples/torch_dropin.py": "torch", "benchmarks.torch_dropin": "torch"}

# Commands that others run, and the words by which they do.
ELSEWHERE = {
    ".ci/run": (".ci/run", 'step "done"'),
    "cmake -B build": ("tests/test_c_library.py", 'run("cmake", "-G", "Ninja", "-S", ROOT, "-B", build'),
    "cmake --build build": ("tests/test_c_library.py", 'run("cmake", "--build", build)'),
    "cmake --install build": ("tests/test_c_library.py", 'run("cmake", "--install", build'),
    "python -m pytest": (".ci/run", "python -m pytest$"),
    "python tools/measure_ulp.py": ("tests/test_accuracy.py", "measure_ulp.measure("),
    "python tools/measure_ulp.py --exhaustive": ("tests/test_accuracy.py", "measure_ulp.measure("),
    "sphinx-build -W docs build/docs": (".ci/run", "sphinx-build -W --keep-going -q docs"),
}


# The files that commands name, as their programs read them.
PARTS = ("train", "valid", "test")
ROLLS = {part: np.packbits(np.eye(9, 88, dtype=bool), axis=1) for part in PARTS}
ROLLS |= {f"{part}_lengths": np.array([4, 5]) for part in PARTS}
INPUTS = {
    "char_lm": lambda file: file.write(b"the cat sat on the mat\n" * 40),
    "forecast": lambda file: file.write(b"t,value\n" + b"".join(b"%d,%d\n" % (t, t % 7) for t in range(200))),
    "from_keras": lambda file: file.write((ROOT / "tests" / "data" / "masked.keras").read_bytes()),
    "music": lambda file: np.savez(file, **ROLLS),
    "sentiment": lambda file: file.write(b"label\ttext\n" + b"1\tso good\n0\tso bad\n" * 20),
}
PARTNERS = {"torch", "flax"}  # what pyrnn works with and does not install


def commands(line):
    """The words of each of the commands of a line; a program called NAME is every one that there is."""
    for command in re.split(r"\s+&&\s+", line.strip()):
        words = shlex.split(command, comments=True)
        if "examples/NAME.py" in words:
            for name in EXAMPLES:
                yield [word.replace("NAME", name) for word in words]
        elif words:
            yield words


def shown():
    """The commands of blocks, those that a sentence shows, and those of docstrings."""
    lines = []
    for page in PAGES:
        lines += [line for code in fenced(page, "sh") for line in code.splitlines()]
        lines += [" ".join(span.split()) for span in SPAN.findall(FENCE.sub("", page.read_text("utf-8")))]
    for program in PROGRAMS:
        doc = ast.get_docstring(ast.parse(program.read_text("utf-8")), clean=False) or ""
        lines += USAGE.findall(doc)
    return {shlex.join(words): words for line in lines for words in commands(line)}


SHOWN = shown()
RUN = [command for command, words in SHOWN.items() if not any(NEEDS.get(word) in ABSENT for word in words)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, but for the pages that a command rewrites."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    return tmp_path


@pytest.fixture
def run(folder, monkeypatch, threads):
    """Runs a program as `python` does, in this process: run(function of runpy, what it runs, arguments)."""
    before, path, loaded = pyrnn.get_num_threads(), list(sys.path), set(sys.modules)

    def start(how, program, arguments):
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        code = 0
        try:
            how(program, run_name="__main__")
        except SystemExit as ended:
            code = ended.code
        assert not code, code

    yield start
    threads(before)
    sys.path[:] = path
    for name in set(sys.modules) - loaded:
        if name.split(".")[0] in ("_common", "benchmarks"):
            del sys.modules[name]


@pytest.mark.parametrize("command", RUN)
def test_a_command_runs(command, run, monkeypatch):
    match SHOWN[command]:
        case ["pip", "install", *what]:
            assert_installable(what)
        case ["python", program, *arguments] if program.startswith("examples/"):
            example = program.removeprefix("examples/").removesuffix(".py")
            write_inputs(example, arguments)
            monkeypatch.syspath_prepend(ROOT / "examples")
            run(runpy.run_path, str(ROOT / program), [*arguments, *EXAMPLES[example].split()])
        case ["python", "-m", module, *arguments] if module.startswith("benchmarks."):
            small = BENCHMARKS[module.removeprefix("benchmarks.")]
            monkeypatch.delitem(sys.modules, module, raising=False)  # run_module would complain of it
            run(runpy.run_module, module, [*arguments, *small.split()])
        case ["pytest", "benchmarks", *arguments]:
            assert_collects(arguments)
        case _:
            where, how = ELSEWHERE[command]
            assert how in (ROOT / where).read_text("utf-8")


def assert_installable(what):
    """A checkout, pyrnn or a partner that it does not install, with extras that there are."""
    for word in what:
        if word != "-e":
            asked = Requirement(re.sub(r"^\.", "pyrnn", word))
            assert asked.name == "pyrnn" or asked.name in PARTNERS
            assert asked.extras <= set(EXTRAS)


def write_inputs(example, arguments):
    """The files that the command names, each where it is to be read."""
    for word in arguments:
        if re.fullmatch(r"FILE|[\w-]+\.(csv|tsv|npz)|\w+\.keras", word, re.I) and not Path(word).exists():
            with open(word, "wb") as file:
                INPUTS[example](file)


def assert_collects(arguments):
    """pytest knows the options, and the expression chooses some of the benchmarks; .ci/run runs them."""
    command = [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", ROOT / "benchmarks"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--collect-only", "-q", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_examples_are_run():
    programs = {path.stem for path in (ROOT / "examples").glob("[a-z]*.py")}
    assert programs == set(EXAMPLES)
    assert {f"python examples/{name}.py" for name in programs} <= set(SHOWN)


def requirements(extra):
    """The distributions that an extra installs, and the extras that it has in it."""
    names, inside = set(), {extra}
    for asked in map(Requirement, EXTRAS[extra]):
        for other in asked.extras:
            more, within = requirements(other)
            names, inside = names | more, inside | within
        names.add(asked.name)
    return names, inside


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_extra_of_the_examples_has_what_they_import(name):
    installed, parts = requirements("examples")
    source = (ROOT / "examples" / f"{name}.py").read_text("utf-8")
    modules = set(re.findall(r"^\s*(?:import|from) (\w+)", source, re.M))
    local = {path.stem for path in (ROOT / "examples").glob("*.py")} | {"numpy", "pyrnn"}
    distributions = packages_distributions()
    for module in modules - local - PARTNERS - sys.stdlib_module_names:
        assert set(distributions[module]) & installed, module
    assert set(re.findall(r"(?:pyrnn\.|import from_)(\w+)", source)) & set(EXTRAS) <= parts


@pytest.mark.parametrize("folder", ["pyrnn", "examples", "benchmarks"])
def test_messages_name_extras_that_there_are(folder):
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / folder).rglob("*.py"))
    named = re.findall(r"""pip install ["'`]*((?:pyrnn|\.)\[[\w,]+\])""", sources)
    assert_installable(named)
    assert named
