"""Single ops, attention by length and decoding, beside PyTorch's.

Our programs say which cases there are, as lines of JSON; PyTorch's read these lines, and do the same.
"""

from processes import (
    HERE,
    THREADS,
    TORCH,
    arguments,
    best,
    cells,
    heads,
    quotient,
    rows_of,
    run,
    show,
    torch_kernels,
    wide_kernels,
)

# ---- ops ------------------------------------------------------------------------------------------------


def time_ops(options, torch):
    print("\nSingle ops: milliseconds (spread) on 1 and 2 threads; ratio: PyTorch's best over ours.")
    print_op_head()
    return timed_and_printed(options, torch, [])


def time_lengths(options, torch):
    print(
        "\nAttention by length: milliseconds (spread) on 1 and 2 threads; ratio: PyTorch's best over ours;\n"
        "the tape's memory, and that for each token; the way that was quickest in PyTorch."
    )
    print_op_head(f"{'tape MB':>9}{'KB/token':>10}  way")
    return timed_and_printed(options, torch, ["--lengths"])


def timed_and_printed(options, torch, more):
    rows = []
    for turn in range(options.runs):
        for threads in THREADS:
            show(f"ops, run {turn + 1} of {options.runs}: tapehead")
            said, _, _ = run([options.directory / "ops", "--json", "--threads", threads] + more)
            rows += op_rows(said, engine="tapehead", threads=threads, kernels=None)
            for kernels in torch_kernels(torch):
                show(f"ops, run {turn + 1} of {options.runs}: pytorch")
                theirs, _, _ = run([TORCH, HERE / "torch_ops.py", "--threads", threads], kernels, said)
                rows += op_rows(theirs, engine="pytorch", threads=threads, kernels=kernels)
    show("")
    for name, what in dict.fromkeys((row["name"], row["what"]) for row in rows):
        print_op(name, what, [row for row in rows if (row["name"], row["what"]) == (name, what)], bool(more))
    return rows


def op_rows(said, **about):
    rows = rows_of(said, ["forward_seconds"], **about)
    for row in rows:
        if row["backward_seconds"]:  # Adam has none
            row["both_seconds"] = row["forward_seconds"] + row["backward_seconds"]
    return rows


def print_op_head(more=""):
    print(f"{'op':17}{'sizes':23}{'':9}{heads('tapehead', 'PyTorch')}{'ratio':>7}{more}", flush=True)


def print_op(name, what, rows, lengths):
    for key, means in (("forward_seconds", "forward"), ("both_seconds", "and back")):
        ours, theirs = (best(rows, engine, key) for engine in ("tapehead", "pytorch"))
        if not ours:
            continue
        more = tape_of(rows) if lengths and key == "both_seconds" else ""
        print(f"{name:17}{what:23}{means:9}{cells(rows, key)}{quotient(theirs, ours):>7}{more}", flush=True)


def tape_of(rows):
    """Linear in the length where the memory for a token stays the same."""
    ours = next(row for row in rows if row["engine"] == "tapehead")
    batch, _, length, _ = ours["shapes"][0]
    ways = [row for row in rows if row["engine"] == "pytorch"]
    way = min(ways, key=lambda row: row["both_seconds"])["way"] if ways else "-"
    return f"{ours['tape_bytes'] / 1e6:9.1f}{ours['tape_bytes'] / 1e3 / (batch * length):10.2f}  {way}"


# ---- decoding -------------------------------------------------------------------------------------------

MODELS = {
    "small": dict(width=64, heads=4, layers=2, ff=128, source=16, longest=64, vocabulary=36),
    "medium": dict(width=128, heads=8, layers=3, ff=512, source=16, longest=64, vocabulary=36),
}
BATCHES = (1, 32)
BEAMS = (1, 4)


def time_decoding(options, torch):
    print(
        "\nDecoding: tokens per second (spread) on 1 and 2 threads, keys and values kept; rerun: PyTorch's decoder\n"
        "over all earlier tokens again, at its best; ratio: ours over PyTorch's best."
    )
    print(f"{'model':8}{'batch':>6}{'beam':>6}{heads('tapehead', 'PyTorch')}{'rerun':>9}{'ratio':>7}", flush=True)
    rows = []
    for turn in range(options.runs):
        for threads in THREADS:
            show(f"decoding, run {turn + 1} of {options.runs}")
            said = said_by_decode(options.directory, threads)
            rows += rows_of(said, ["seconds"], engine="tapehead", kernels=None)
            for kernels in torch_kernels(torch):
                # what is written first is many times slower, and takes part once
                more = [] if turn == 0 and kernels == wide_kernels() else ["--cached"]
                theirs, _, _ = run([TORCH, HERE / "torch_decode.py", "--threads", threads] + more, kernels, said)
                found = rows_of(theirs, ["seconds"], kernels=kernels)
                rows += [row | {"engine": f"pytorch {row['way']}"} for row in found]
    show("")
    for name, model in MODELS.items():
        for batch in BATCHES:
            for beam in BEAMS:
                case = model | dict(batch=batch, beam=beam)
                print_decoding(name, case, [row for row in rows if row.items() >= case.items()])
    return rows


def said_by_decode(directory, threads):
    said = ""
    for model in MODELS.values():
        for batch in BATCHES:
            for beam in BEAMS:
                shape = arguments(model, batch=batch, beam=beam, threads=threads)
                said += run([directory / "decode", "--json"] + shape)[0]
    return said


def print_decoding(name, case, rows):
    def tokens_per_second(seconds):
        return f"{case['batch'] * case['longest'] / seconds:.0f}" if seconds else "-"

    engines = ("tapehead", "pytorch cached")
    ours, cached, rerun = (best(rows, engine, "seconds") for engine in (*engines, "pytorch rerun"))
    theirs = min((seconds for seconds in (cached, rerun) if seconds), default=None)
    print(
        f"{name:8}{case['batch']:6}{case['beam']:6}{cells(rows, 'seconds', engines, tokens_per_second)}"
        f"{tokens_per_second(rerun):>9}{quotient(theirs, ours):>7}",
        flush=True,
    )
