#!/usr/bin/env python3
"""Times training steps beside PyTorch and beside what the machine could do, and writes bench/results.json.

    bench/run.py DIR [--runs N] [--sizes tiny,small,..] [--dropout 0,0.1]
    bench/run.py DIR --smoke      only whether the benchmarks run: a few steps each, no PyTorch, no file

DIR is the build's. Each run is a process of its own, and all of a size take turns, so that what else the machine does falls on
all of them. A time is the median over runs of the median over steps; spread is (slowest - fastest run) over that.

PyTorch (Debian's python3-torch; left out with a word where it is missing) is timed on one and two threads, with the OpenBLAS
kernels that it picks and, on a processor with AVX-512, with those made for that. The ratio is the fastest of these over our
faster one. The limit is the same matrix products alone, each by the faster of OpenBLAS and our kernels (bench/limit.c).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
TORCH = "/usr/bin/python3"  # Debian's, to which python3-torch belongs
SIZES = {  # steps of a run, and what there is to learn
    "tiny": (100, dict(width=32, heads=4, layers=1, ff=64, batch=32, length=10, vocabulary=16)),
    "small": (30, dict(width=64, heads=4, layers=2, ff=256, batch=64, length=16, vocabulary=32)),
    "medium": (10, dict(width=128, heads=8, layers=3, ff=512, batch=64, length=32, vocabulary=64)),
    "large": (3, dict(width=512, heads=8, layers=6, ff=2048, batch=16, length=64, vocabulary=1000)),
}
THREADS = (1, 2)


def main():
    options = parse()
    for program in ("step", "limit", "ops", "decode", "attention_length"):
        if not (options.directory / program).exists():
            sys.exit(f"bench/run.py: there is no {options.directory / program}; build it with: make bench")
    if options.smoke:
        smoke(options.directory)
        return
    torch = torch_version()
    if not torch:
        print(f"No PyTorch for {TORCH} (Debian: python3-torch): timing tapehead alone.")
    runs = []
    for size in options.sizes:
        for dropout in options.dropout:
            rows = time_size(options, size, dropout, torch)
            print_size(size, dropout, rows, first=not runs)
            runs += rows
    write(HERE / "results.json", {"machine": machine(), "pytorch": torch, "runs": runs})


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--sizes", type=names_of(SIZES), default=list(SIZES))
    parser.add_argument("--dropout", type=lambda text: [float(x) for x in text.split(",")], default=[0, 0.1])
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs: want 1 or more")
    return options


def names_of(known):
    def read(text):
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join(known)}")
        return names

    return read


# ---- running ------------------------------------------------------------------------------------------


def torch_version():
    try:
        asked = [TORCH, "-c", "import torch; print(torch.__version__)"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def wide_kernels():
    """The OpenBLAS kernels for AVX-512, where the processor has it."""
    try:
        return "SkylakeX" if "avx512f" in Path("/proc/cpuinfo").read_text() else None
    except OSError:
        return None


def run(command, kernels=None):
    """The line of JSON that it prints, with the most memory the process had, and its time from start to end."""
    environment = dict(os.environ)
    if kernels:
        environment["OPENBLAS_CORETYPE"] = kernels
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"bench/run.py: this failed: {' '.join(map(str, command))}")
    row = json.loads(said)
    if not row["seconds_per_step"] > 0:
        sys.exit(f"bench/run.py: this took no time: {' '.join(map(str, command))}: {said}")
    return row | {"resident_bytes": 1024 * usage.ru_maxrss, "process_seconds": seconds}


def arguments(shape, **more):
    return [word for name, value in (shape | more).items() for word in (f"--{name}", str(value))]


def engines(directory, torch):
    """Name, command and kernels of all that take turns."""
    listed = [("tapehead", [directory / "step"], None)]
    if torch:
        listed += [
            ("pytorch", [TORCH, HERE / "torch_step.py"], kernels)
            for kernels in dict.fromkeys((None, wide_kernels()))
        ]
    return listed


def time_size(options, size, dropout, torch):
    steps, shape = SIZES[size]
    rows = []
    for turn in range(options.runs):
        for threads in THREADS:
            for engine, command, kernels in engines(options.directory, torch):
                show(f"{size}, dropout {dropout:g}, run {turn + 1} of {options.runs}: {engine}")
                about = dict(engine=engine, size=size, dropout=dropout, threads=threads, kernels=kernels)
                timed = run(command + arguments(shape, steps=steps, threads=threads, dropout=dropout), kernels)
                rows.append(timed | about)
                if turn == 0:  # start to first step
                    begin = {} if engine == "pytorch" else {"warmup": 0}
                    first = run(command + arguments(shape, steps=1, threads=threads, **begin), kernels)
                    rows[-1]["first_step_seconds"] = first["process_seconds"]
            timed = run([options.directory / "limit"] + arguments(shape, threads=threads), wide_kernels())
            rows.append(timed | dict(engine="limit", size=size, dropout=dropout, threads=threads, kernels=None))
    show("")
    return rows


def show(text):
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def smoke(directory):
    """Batches of 2, to take seconds."""
    for steps, shape in SIZES.values():
        for dropout in (0, 0.1):
            run([directory / "step"] + arguments(shape | {"batch": 2}, steps=2, warmup=1, threads=2, dropout=dropout))
    run([directory / "limit"] + arguments(SIZES["tiny"][1] | {"batch": 2}, threads=2))
    rows = said_by([directory / "ops", "--repeats", "2", "--threads", "2"]).splitlines()
    bad = [row for row in rows[1:] if not row.endswith(("GFLOP/s", "GB/s")) or "nan" in row or "inf" in row]
    if bad or len(rows) < 20:
        sys.exit(f"bench/run.py: ops printed {len(rows)} lines, and of those: {bad}")
    said_by([directory / "decode", "--longest", "16", "--runs", "1", "--batch", "2", "--layers", "1"])
    said_by([directory / "attention_length", "--longest", "512", "--repeats", "1", "--heads", "1"])
    said_by([directory / "ranks", "--steps", "1", "--batch", "4", "--parts", "4"])


def said_by(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"bench/run.py: this failed: {' '.join(map(str, command))}")
    return done.stdout


# ---- what comes of it -----------------------------------------------------------------------------------


def of(rows, engine, threads=THREADS, key="seconds_per_step"):
    """By threads and kernels: the values of all runs."""
    groups = {}
    for row in rows:
        if row["engine"] == engine and row["threads"] in threads and key in row:
            groups.setdefault((row["threads"], row["kernels"]), []).append(row[key])
    return groups


def best(rows, engine, key="seconds_per_step"):
    return min((statistics.median(values) for values in of(rows, engine, key=key).values()), default=None)


def cell(rows, engine, threads):
    values = min(of(rows, engine, (threads,)).values(), key=statistics.median, default=None)
    if not values:
        return f"{'-':>17}"
    middle = statistics.median(values)
    return f"{1e3 * middle:11.3f} ({100 * (max(values) - min(values)) / middle:2.0f}%)"


def quotient(a, b, unit=""):
    return f"{a / b:.2f}{unit}" if a and b else "-"


def print_size(size, dropout, rows, first):
    if first:
        print(machine())
        print(
            "Milliseconds a step (spread) on 1 and 2 threads; ratio: PyTorch's best over ours; limit: the products alone, and\n"
            "their part of our best; MB: most memory of the process, ours and PyTorch's; start: milliseconds of a process that\n"
            "makes a step (PyTorch: four)."
        )
        print(
            f"{'size':7}{'dropout':>8}{'tapehead 1':>17}{'tapehead 2':>17}{'PyTorch 1':>17}{'PyTorch 2':>17}"
            f"{'ratio':>7}{'limit':>9}{'part':>7}{'MB':>6}{'MB':>6}{'start':>7}{'start':>7}"
        )
    ours, theirs, limit = (best(rows, engine) for engine in ("tapehead", "pytorch", "limit"))
    memory = [best(rows, engine, "resident_bytes") for engine in ("tapehead", "pytorch")]
    start = [best(rows, engine, "first_step_seconds") for engine in ("tapehead", "pytorch")]
    print(
        f"{size:7}{dropout:8g}"
        + "".join(cell(rows, engine, threads) for engine in ("tapehead", "pytorch") for threads in THREADS)
        + f"{quotient(theirs, ours):>7}{1e3 * limit:9.3f}{quotient(limit, ours):>7}"
        + "".join(f"{value / 1e6:6.0f}" if value else f"{'-':>6}" for value in memory)
        + "".join(f"{1e3 * value:7.0f}" if value else f"{'-':>7}" for value in start),
        flush=True,
    )


def machine():
    names = [line.split(":")[1].strip() for line in cpu_lines() if line.startswith("model name")]
    return f"{names[0] if names else 'unknown processor'}, {os.cpu_count()} cores"


def cpu_lines():
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def write(path, results):
    part = path.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1) + "\n")
    part.replace(path)
    print(f"Every run is in {path}.")


if __name__ == "__main__":
    main()
