"""The C library on its own: build it, install it, use it as a C programmer would, by CMake and pkg-config."""

import os
import re
import shutil
import subprocess
import sysconfig

import pytest

from .pages import ROOT, fenced

PATH = sysconfig.get_path("scripts") + os.pathsep + os.environ["PATH"]  # cmake and ninja of pip

pytestmark = pytest.mark.timeout(600)


def run(*command, **env):
    """Run it to the end; its output is the message when it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PATH": PATH} | env,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """The build directory: the library, warnings as errors."""
    build = tmp_path_factory.mktemp("build")
    run("cmake", "-G", "Ninja", "-S", ROOT, "-B", build, "-DPYRNN_WERROR=ON", "-DCMAKE_INSTALL_LIBDIR=lib")
    run("cmake", "--build", build)
    return build


@pytest.fixture(scope="module")
def prefix(build, tmp_path_factory):
    """Where the library is installed, and nothing but the library."""
    prefix = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", build, "--prefix", prefix)
    return prefix


# And what they need besides the library.
PROGRAMS = {
    "attention": [],
    "linear": [],
    "lstm": [],
    "step": [],
    "chain": [],
    "norm": [],
    "update": [],
    "threads": ["-pthread"],
}


def check(output):
    assert output.rstrip().endswith("\n0 failures")
    return output


@pytest.mark.parametrize("library", ["pyrnn::pyrnn", "pyrnn::pyrnn_static"])
def test_through_the_cmake_package(prefix, tmp_path, library):
    source = tmp_path / "source"  # apart from the checkout: only what is installed can be found
    shutil.copytree(ROOT / "tests" / "c", source)
    run(
        *("cmake", "-G", "Ninja", "-S", source, "-B", tmp_path / "build"),
        *(f"-DCMAKE_PREFIX_PATH={prefix}", f"-DPYRNN_LIBRARY={library}", "-DCMAKE_BUILD_TYPE=Debug"),
    )
    run("cmake", "--build", tmp_path / "build")
    for program in PROGRAMS:
        check(run(tmp_path / "build" / f"pyrnn_c_{program}"))


@pytest.mark.skipif(not shutil.which("pkg-config"), reason="needs pkg-config")
@pytest.mark.parametrize("linking", ["shared", "static"])
def test_through_pkg_config(prefix, tmp_path, linking):
    flags = ["--cflags", "--libs", *(["--static"] if linking == "static" else [])]
    flags = run("pkg-config", *flags, "pyrnn", PKG_CONFIG_PATH=str(prefix / "lib" / "pkgconfig")).split()
    if linking == "static":
        flags = [str(prefix / "lib" / "libpyrnn.a") if flag == "-lpyrnn" else flag for flag in flags]
    libraries = {name: str(prefix / "lib") for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")}
    for program, own in PROGRAMS.items():
        source = ROOT / "tests" / "c" / f"{program}.c"
        run(os.environ.get("CC", "cc"), "-std=gnu11", source, *flags, *own, "-lm", "-o", tmp_path / program)
        check(run(tmp_path / program, **libraries))


def test_the_example_of_the_documentation(prefix, tmp_path):
    (code,) = fenced(ROOT / "docs" / "embedding.md", "c")
    source, lib = tmp_path / "example.c", prefix / "lib"
    source.write_text(code)
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{prefix / 'include' / 'pyrnn'}", f"-L{lib}"]
    run(
        os.environ.get("CC", "cc"), *flags, source, "-lpyrnn", f"-Wl,-rpath,{lib}", "-o", tmp_path / "example"
    )
    assert 0 < float(run(tmp_path / "example")) < 1


@pytest.mark.parametrize("header", ["pyrnn.h", "pyrnn_layers.h"])
def test_headers_serve_cpp(prefix, tmp_path, header):
    """The public headers, each alone, are C++ too."""
    source = tmp_path / "use.cpp"
    source.write_text(f"#include <{header}>\nint main() {{ return pyrnn_isa_count() > 0 ? 0 : 1; }}\n")
    compiler = os.environ.get("CXX", "c++")
    if not shutil.which(compiler):
        pytest.skip(f"needs {compiler}")
    lib = prefix / "lib"
    flags = ["-Wall", "-Wextra", "-pedantic", "-Werror", f"-I{prefix / 'include' / 'pyrnn'}", f"-L{lib}"]
    run(compiler, *flags, source, "-lpyrnn", f"-Wl,-rpath,{lib}", "-o", tmp_path / "use")
    run(tmp_path / "use")


def test_exports_the_headers_and_nothing_else(prefix):
    """Nothing of the kernels leaks out of the shared library."""
    library = prefix / "lib" / "libpyrnn.so"
    if not shutil.which("nm") or not library.exists():
        pytest.skip("needs nm and ELF")
    symbols = {line.split()[-1] for line in run("nm", "-D", "--defined-only", library).splitlines()}
    headers = "".join(path.read_text() for path in (prefix / "include" / "pyrnn").glob("*.h"))
    assert symbols == set(re.findall(r"^PYRNN_API .*?(pyrnn_\w+)\(", headers, re.M))


def test_without_threads(prefix, build):
    """One thread, the same results, no warning that only this configuration has. Last: it builds anew."""
    run("cmake", "-DPYRNN_THREADS=OFF", "-DPYRNN_NATIVE_TESTS=ON", build)
    run("cmake", "--build", build)
    assert "threads 1" not in check(run(build / "tests" / "c" / "pyrnn_c_lstm"))
    for program in ("attention", "linear", "norm", "step", "update", "chain", "threads", "seats"):
        check(run(build / "tests" / "c" / f"pyrnn_c_{program}"))
