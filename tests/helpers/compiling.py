"""Networks that torch.compile's default backend compiles: each in a process of its own, with a cache of its own.

The C++ compiler of the machine works there beside PyTorch's threads. Whatever ends that process ends one test, not the
process of all tests.
"""

import functools
import os
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

PROBE = "#include <Python.h>\n#include <omp.h>\nint threads() { return omp_get_max_threads(); }\n"


@functools.cache
def missing_compiler():
    """Why torch.compile's default backend cannot work on this machine; "" where it can."""
    compiler = shlex.split(os.environ.get("CXX", "g++"))
    if shutil.which(compiler[0]) is None:
        return f"torch.compile needs a C++ compiler, there is no {compiler[0]}"
    headers = sysconfig.get_paths()["include"]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "probe.cpp").write_text(PROBE)
        command = [*compiler, "-shared", "-fPIC", "-fopenmp", f"-I{headers}", "probe.cpp", "-o", "probe.so"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line]
        return f"torch.compile needs C++ with OpenMP and Python's headers: {(lines or ['the compiler fails'])[0]}"
    return ""


def environment_in(folder):
    """Variables of a process that compiles: one thread, no processes that help to compile, an empty cache."""
    variables = {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
    return variables | {"TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}
