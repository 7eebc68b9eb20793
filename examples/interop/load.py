#!/usr/bin/python3
"""Runs a tapehead model in PyTorch: outputs for lines, or logits for pairs.

    load.py RUN < lines                                as `translate decode RUN`
    load.py RUN --pairs FILE --out FILE.npy            as `translate logits RUN`
    load.py RUN --pairs FILE --compare FILE.npy        how far it is from what that wrote
"""

import argparse
import sys

import tapehead  # first: it says what is missing
import numpy
import torch


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="a run's directory")
    parser.add_argument("--pairs", metavar="FILE", help="lines of source<TAB>target to compute logits of")
    parser.add_argument("--out", metavar="FILE.npy", help="where to write them")
    parser.add_argument("--compare", metavar="FILE.npy", help="what to compare them with")
    parser.add_argument("--double", action="store_true", help="compute in double")
    options = parser.parse_args()
    if options.double:
        torch.set_default_dtype(torch.float64)
    try:
        model, source, target = tapehead.open_run(options.run)
    except OSError as error:
        sys.exit(f"load.py: {error.filename}: {error.strerror}")
    except ValueError as error:
        sys.exit(f"load.py: {options.run}: {error}")
    if not options.pairs:
        for line in model.decode_lines(source, target, [line.rstrip("\r\n") for line in sys.stdin]):
            print(line)
        return
    logits = model.logits_of(tapehead.encode_pairs(tapehead.read_pairs(options.pairs), source, target))
    if options.out:
        numpy.save(options.out, logits)
    if options.compare:
        difference, largest = compare(logits, numpy.load(options.compare))
        print(
            f"largest difference {difference:.3g}, largest logit {largest:.3g}, {difference / largest:.3g} of it"
        )


def compare(here, there):
    """The largest difference and the largest logit; NaN must stand in the same places."""
    if here.shape != there.shape:
        sys.exit(f"logits of shape {list(here.shape)} here and {list(there.shape)} there")
    if not numpy.array_equal(numpy.isnan(here), numpy.isnan(there)):
        sys.exit("the targets end at other places")
    return numpy.nanmax(abs(here - there)), numpy.nanmax(abs(there))


if __name__ == "__main__":
    main()
