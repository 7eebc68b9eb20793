#!/usr/bin/env python3
"""Times tapehead beside PyTorch and beside what the machine could do.

    bench/run.py DIR [--runs N] [--parts steps,ops,..] [--sizes tiny,small,..] [--dropout 0,0.1]
    bench/run.py DIR --smoke      only whether the benchmarks run: a few steps each, no file

DIR is the build's. Each run is a process of its own, and all of a part (of steps: of a size) take turns, so that what
else the machine does falls on all of them. A time is the median over runs of the median within a run; spread is
(slowest - fastest run) over that. Only a run of everything writes bench/results.json, and draws
docs/images/bench-ratio.png.

PyTorch (Debian's python3-torch; left out with a word where it is missing) is timed on one and two threads, with the
OpenBLAS kernels that it picks and, on a processor with AVX-512, with those made for that. The ratio is the fastest of
these over our faster one. The limit is the same matrix products alone, each by the faster of OpenBLAS and our kernels
(bench/limit.c).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from parts import time_decoding, time_lengths, time_ops
from processes import HERE, TORCH, arguments, machine, rows_of, run, torch_version
from steps import KEY, SIZES, ratios, time_steps

PARTS = {"steps": time_steps, "ops": time_ops, "attention": time_lengths, "decode": time_decoding}
PROGRAMS = ("step", "limit", "ops", "decode", "attention_length", "ranks", "ratio_picture", "translate")
DROPOUT = [0, 0.1]
PICTURE = HERE.parent / "docs" / "images" / "bench-ratio.png"


def main():
    options = parse()
    for program in PROGRAMS:
        if not (options.directory / program).exists():
            sys.exit(f"bench/run.py: there is no {options.directory / program}; build it with: make bench")
    torch = torch_version()
    if not torch:
        print(f"No PyTorch for {TORCH} (Debian: python3-torch): tapehead alone.")
    if options.smoke:
        smoke(options.directory, torch)
        return
    about = {"machine": machine(), "pytorch": torch, "translate_bytes": stripped_bytes(options.directory / "translate")}
    print(f"{about['machine']}; translate, stripped: {about['translate_bytes'] / 1e3:.0f} KB")
    timed = {part: time(options, torch) for part, time in PARTS.items() if part in options.parts}
    if not torch or not is_everything(options):
        print("This was not everything: nothing is written.")
        return
    write(HERE / "results.json", about | {"ratios": ratios(timed["steps"])} | timed)
    run([options.directory / "ratio_picture", HERE / "results.json", PICTURE])
    print(f"The ratios are drawn in {PICTURE}.")


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--parts", type=names_of(PARTS), default=list(PARTS))
    parser.add_argument("--sizes", type=names_of(SIZES), default=list(SIZES))
    parser.add_argument("--dropout", type=lambda text: [float(x) for x in text.split(",")], default=DROPOUT)
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


def is_everything(options):
    asked = ((options.parts, PARTS), (options.sizes, SIZES), (options.dropout, DROPOUT))
    return all(set(some) >= set(every) for some, every in asked)


def stripped_bytes(program):
    with tempfile.TemporaryDirectory() as directory:
        stripped = Path(directory) / "stripped"
        subprocess.run(["strip", "-o", stripped, program], check=True)
        return stripped.stat().st_size


def write(path, results):
    """A line for each row of a list."""
    values = []
    for name, value in results.items():
        rows = ",\n".join(f"  {json.dumps(row)}" for row in value) if isinstance(value, list) else ""
        values.append(f" {json.dumps(name)}: " + (f"[\n{rows}\n ]" if rows else json.dumps(value)))
    part = path.with_suffix(".part")
    part.write_text("{\n" + ",\n".join(values) + "\n}\n")
    part.replace(path)
    print(f"Every run is in {path}.")


# ---- smoke ----------------------------------------------------------------------------------------------


def smoke(directory, torch):
    """Batches of 2, to take seconds."""
    for _, _, shape in SIZES.values():
        for dropout in DROPOUT:
            step = arguments(shape | {"batch": 2}, steps=2, warmup=1, threads=2, dropout=dropout)
            rows_of(run([directory / "step"] + step)[0], [KEY])
    limit = run([directory / "limit"] + arguments(SIZES["tiny"][-1] | {"batch": 2}, threads=2))[0]
    rows_of(limit, [KEY, "copy_gb_per_second"])
    once = ["--repeats", 1, "--seconds", 0]
    ops = run([directory / "ops", "--json", "--threads", 2] + once)[0]
    if len(rows_of(ops, ["forward_seconds"])) < 20:
        sys.exit(f"bench/run.py: ops left some out: {ops}")
    lengths = run([directory / "ops", "--json", "--lengths", "--threads", 2] + once)[0]
    rows_of(lengths, ["forward_seconds", "backward_seconds", "tape_bytes"])
    small = ["--longest", 16, "--runs", 1, "--batch", 2, "--layers", 1]
    run([directory / "decode"] + small)
    decode = run([directory / "decode", "--json", "--beam", 2] + small)[0]
    rows_of(decode, ["seconds"])
    run([directory / "attention_length", "--longest", 512, "--repeats", 1, "--heads", 1])
    run([directory / "ranks", "--steps", 1, "--batch", 4, "--parts", 4])
    stripped_bytes(directory / "translate")
    smoke_picture(directory)
    if torch:
        smoke_torch(ops, decode)


def smoke_picture(directory):
    with tempfile.TemporaryDirectory() as made:
        results, picture = Path(made) / "results.json", Path(made) / "ratio.png"
        rows = [{"size": size, "dropout": dropout, "ratio": 2.5} for size in SIZES for dropout in DROPOUT]
        results.write_text(json.dumps({"ratios": rows}))
        run([directory / "ratio_picture", results, picture])
        if not picture.read_bytes().startswith(b"\x89PNG"):
            sys.exit("bench/run.py: ratio_picture drew no PNG")


def smoke_torch(ops, decode):
    step = arguments(SIZES["tiny"][-1] | {"batch": 2}, steps=1, warmup=0)
    rows_of(run([TORCH, HERE / "torch_step.py"] + step)[0], [KEY])
    once = ["--repeats", 1, "--seconds", 0]
    rows_of(run([TORCH, HERE / "torch_ops.py"] + once, asked=ops)[0], ["forward_seconds"])
    rows_of(run([TORCH, HERE / "torch_decode.py", "--runs", 1], asked=decode)[0], ["seconds"])


if __name__ == "__main__":
    main()
