"""Training steps, beside PyTorch's and beside the step's matrix products alone."""

import statistics

from processes import (
    HERE,
    THREADS,
    TORCH,
    arguments,
    best,
    cells,
    heads,
    of,
    quotient,
    rows_of,
    run,
    show,
    torch_kernels,
    wide_kernels,
)

SIZES = {  # steps of a run, those before that are not timed, and what there is to learn
    "tiny": (200, 100, dict(width=32, heads=4, layers=1, ff=64, batch=32, length=10, vocabulary=16)),
    "small": (30, 3, dict(width=64, heads=4, layers=2, ff=256, batch=64, length=16, vocabulary=32)),
    "medium": (10, 3, dict(width=128, heads=8, layers=3, ff=512, batch=64, length=32, vocabulary=64)),
    "large": (2, 1, dict(width=512, heads=8, layers=6, ff=2048, batch=16, length=64, vocabulary=1000)),
}
KEY = "seconds_per_step"


def time_steps(options, torch):
    rows = []
    print_head()
    for size in options.sizes:
        timed = time_size(options, size, torch)
        rows += timed
        for dropout in options.dropout:
            print_size(size, dropout, of_dropout(timed, dropout))
    print_copying(rows)
    return rows


def time_one(command, kernels=None):
    said, memory, seconds = run(command, kernels)
    (row,) = rows_of(said, [KEY], resident_bytes=memory, process_seconds=seconds)
    return row


def engines(directory, torch):
    """Name, command and kernels of all that take turns."""
    theirs = [("pytorch", [TORCH, HERE / "torch_step.py"], kernels) for kernels in torch_kernels(torch)]
    return [("tapehead", [directory / "step"], None)] + theirs


def time_size(options, size, torch):
    steps, warmup, shape = SIZES[size]
    rows, left_out = [], set()
    for turn in range(options.runs):
        for threads in THREADS:
            for dropout in options.dropout:
                for engine, command, kernels in engines(options.directory, torch):
                    if (engine, threads, dropout, kernels) in left_out:
                        continue
                    show(f"{size}, dropout {dropout:g}, run {turn + 1} of {options.runs}: {engine}")
                    asked = shape | dict(threads=threads, dropout=dropout)
                    timed = time_one(command + arguments(asked, steps=steps, warmup=warmup), kernels)
                    if turn == 0:  # start to first step
                        first = time_one(command + arguments(asked, steps=1, warmup=0), kernels)
                        timed["first_step_seconds"] = first["process_seconds"]
                    about = dict(engine=engine, size=size, dropout=dropout, threads=threads, kernels=kernels)
                    rows.append(timed | about)
            timed = time_one([options.directory / "limit"] + arguments(shape, threads=threads), wide_kernels())
            rows.append(timed | dict(engine="limit", size=size, dropout=None, threads=threads, kernels=None))
        if turn == 0:
            left_out = too_slow(rows)
    show("")
    return rows


def too_slow(rows):
    """Where PyTorch took twice as long with some kernels as with others, no further run would make those its best."""
    theirs = {}
    for row in rows:
        if row["engine"] == "pytorch":
            theirs.setdefault((row["threads"], row["dropout"]), {})[row["kernels"]] = row[KEY]
    return {
        ("pytorch", *case, kernels)
        for case, seconds in theirs.items()
        for kernels in seconds
        if seconds[kernels] > 2 * min(seconds.values())
    }


# ---- what comes of it -----------------------------------------------------------------------------------


def of_dropout(rows, dropout):
    """With those of the limit, on which dropout has no bearing."""
    return [row for row in rows if row["dropout"] in (dropout, None)]


def ratios(rows):
    """PyTorch's best over ours, of every size and dropout: what bench/ratio_picture.c draws."""
    found = []
    for size, dropout in dict.fromkeys((row["size"], row["dropout"]) for row in rows if row["engine"] == "tapehead"):
        timed = [row for row in rows if row["size"] == size and row["dropout"] == dropout]
        ours, theirs = (best(timed, engine, KEY) for engine in ("tapehead", "pytorch"))
        if theirs:
            found.append({"size": size, "dropout": dropout, "ratio": round(theirs / ours, 3)})
    return found


def print_head():
    print(
        "\nTraining steps: milliseconds a step (spread) on 1 and 2 threads; ratio: PyTorch's best over ours; limit:\n"
        "the products alone, their fastest run, and their part of our best; MB: most memory of the process, ours and PyTorch's;\n"
        "start: milliseconds of a process that makes one step."
    )
    print(
        f"{'size':7}{'dropout':>8}{heads('tapehead', 'PyTorch')}"
        f"{'ratio':>7}{'limit':>9}{'part':>7}{'MB':>6}{'MB':>6}{'start':>7}{'start':>7}",
        flush=True,
    )


def print_size(size, dropout, rows):
    ours, theirs = (best(rows, engine, KEY) for engine in ("tapehead", "pytorch"))
    limit = min(min(values) for values in of(rows, "limit", KEY))  # no luck makes a run faster than the machine
    memory = [best(rows, engine, "resident_bytes") for engine in ("tapehead", "pytorch")]
    start = [best(rows, engine, "first_step_seconds") for engine in ("tapehead", "pytorch")]
    print(
        f"{size:7}{dropout:8g}{cells(rows, KEY)}"
        f"{quotient(theirs, ours):>7}{1e3 * limit:9.3f}{quotient(limit, ours):>7}"
        + "".join(f"{value / 1e6:6.0f}" if value else f"{'-':>6}" for value in memory)
        + "".join(f"{1e3 * value:7.0f}" if value else f"{'-':>7}" for value in start),
        flush=True,
    )


def print_copying(rows):
    rates = []
    for threads in THREADS:
        (values,) = of(rows, "limit", "copy_gb_per_second", (threads,))
        rates.append(f"{statistics.median(values):.1f} GB/s on {threads}")
    print(f"Memory is copied, read and written together, at {', '.join(rates)} threads.", flush=True)
