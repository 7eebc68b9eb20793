"""What the parts of bench/run.py share: processes that are timed or time themselves, and the medians of what they say.

A row is what a process said of one case in one run, with `engine`, `threads` and `kernels`: those of OpenBLAS that
it was told to take, or None.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
TORCH = "/usr/bin/python3"  # Debian's, to which python3-torch belongs
THREADS = (1, 2)


# ---- running ------------------------------------------------------------------------------------------


def run(command, kernels=None, asked=None):
    """What it prints, given the text `asked`; the most memory it had, in bytes; its time from start to end."""
    command = [str(word) for word in command]
    environment = dict(os.environ)
    if kernels:
        environment["OPENBLAS_CORETYPE"] = kernels
    begin = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    )
    give(process, asked)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"bench/run.py: this failed: {' '.join(command)}")
    return said, 1024 * usage.ru_maxrss, seconds


def give(process, text):
    """A process that ends without reading is no fault of its asker's: its end says what was wrong."""
    try:
        with process.stdin as pipe:
            pipe.write(text or "")
    except BrokenPipeError:
        pass


def rows_of(said, keys, **about):
    """Its lines of JSON, in each of which the values of `keys` are above 0."""
    rows = []
    for line in said.splitlines():
        try:
            row = json.loads(line)
            fine = all(0 < row[key] < float("inf") for key in keys)
        except (ValueError, KeyError):
            fine = False
        if not fine:
            sys.exit(f"bench/run.py: want JSON with {' and '.join(keys)} above 0, not: {line}")
        rows.append(row | about)
    if not rows:
        sys.exit(f"bench/run.py: a benchmark printed nothing, where {' and '.join(keys)} should be")
    return rows


def arguments(shape, **more):
    return [word for name, value in (shape | more).items() for word in (f"--{name}", str(value))]


def torch_version():
    try:
        asked = [TORCH, "-c", "import torch; print(torch.__version__)"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def torch_kernels(torch):
    """The OpenBLAS kernels with which PyTorch is timed: those it picks, and on AVX-512 those made for that."""
    return dict.fromkeys((None, wide_kernels())) if torch else {}


def wide_kernels():
    return "SkylakeX" if any("avx512f" in line for line in cpu_lines()) else None


def machine():
    names = [line.split(":")[1].strip() for line in cpu_lines() if line.startswith("model name")]
    return f"{names[0] if names else 'unknown processor'}, {os.cpu_count()} cores"


def cpu_lines():
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def show(text):
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


# ---- what comes of it -----------------------------------------------------------------------------------


def of(rows, engine, key, threads=THREADS):
    """By threads and kernels: the values of all runs."""
    groups = {}
    for row in rows:
        if row["engine"] == engine and row["threads"] in threads and key in row:
            groups.setdefault((row["threads"], row["kernels"]), []).append(row[key])
    return groups.values()


def best(rows, engine, key):
    return min((statistics.median(values) for values in of(rows, engine, key)), default=None)


def milliseconds(seconds):
    return f"{1e3 * seconds:.3f}"


def cell(rows, engine, key, threads, said=milliseconds):
    """The best median on so many threads, and how far the runs are from each other."""
    values = min(of(rows, engine, key, (threads,)), key=statistics.median, default=None)
    if not values:
        return f"{'-':>17}"
    middle = statistics.median(values)
    return f"{said(middle):>11} ({100 * (max(values) - min(values)) / middle:2.0f}%)"


def cells(rows, key, engines=("tapehead", "pytorch"), said=milliseconds):
    return "".join(cell(rows, engine, key, threads, said) for engine in engines for threads in THREADS)


def heads(*engines):
    return "".join(f"{f'{engine} {threads}':>17}" for engine in engines for threads in THREADS)


def quotient(a, b):
    return f"{a / b:.2f}" if a and b else "-"
