#!/usr/bin/python3
"""Times single ops in PyTorch, eager mode, on the processor: forward and backward, in float32, and Adam.

    build/release/ops --json | bench/torch_ops.py --threads 2

Reads the lines of JSON that bench/ops prints, and prints one for each that PyTorch has an op for: its name, the way
it was done where there are several, and medians in seconds. Of several ways the quicker one in a first run is timed.
"""

import functools
import json
import math
import statistics
import sys
import time

import torch_step


def main():
    options = torch_step.begin(__doc__, add_arguments)
    known = ops()
    for line in sys.stdin:
        case = json.loads(line)
        if case["name"] == "adam":
            ways = adam_ways(case)
        elif case["name"] in known:
            ways = op_ways(known[case["name"]], case)
        else:
            continue
        print(json.dumps({"name": case["name"], "what": case["what"]} | time_best(ways, options)), flush=True)


def add_arguments(parser):
    parser.add_argument("--repeats", type=torch_step.positive_integer, default=31, help="runs of each op at most")
    parser.add_argument("--seconds", type=float, default=0.1, help="after which it is not run again")


# ---- what is timed --------------------------------------------------------------------------------------


def ops():
    """By name, the ways to do it: functions of the inputs, and of `ids`, which makes whole numbers below a bound."""
    import torch
    from torch.nn import functional as F

    def attention_by_baddbmm(ids, q, k, v):
        batch, heads, length, depth = q.shape
        q, k, v = (x.view(batch * heads, length, depth) for x in (q, k, v))
        nothing = q.new_empty(batch * heads, length, length)
        scores = torch.baddbmm(nothing, q, k.transpose(1, 2), beta=0, alpha=1 / math.sqrt(depth))
        return torch.bmm(F.softmax(scores, -1), v).view(batch, heads, length, depth)

    def attention_by_matmul(ids, q, k, v):
        scores = torch.matmul(q / math.sqrt(q.shape[-1]), k.transpose(-1, -2))
        return torch.matmul(F.softmax(scores, -1), v)

    def cross_entropy(ids, x):
        return F.cross_entropy(x, ids(x.shape[1]), label_smoothing=0.1)

    return {
        "matmul": {"": lambda ids, x, y: torch.matmul(x, y)},
        "linear": {"": lambda ids, x, weight, bias: F.linear(x, weight, bias)},
        "linear_relu": {"": lambda ids, x, weight, bias: F.relu(F.linear(x, weight, bias))},
        "linear_gelu_erf": {"": lambda ids, x, weight, bias: F.gelu(F.linear(x, weight, bias))},
        "attention": {"baddbmm": attention_by_baddbmm, "matmul": attention_by_matmul},
        "softmax": {"": lambda ids, x: F.softmax(x, -1)},
        "layer_norm": {"": lambda ids, x, weight, bias: F.layer_norm(x, weight.shape, weight, bias)},
        "cross_entropy": {"": cross_entropy},
        "gelu_erf": {"": lambda ids, x: F.gelu(x)},
        "gelu_tanh": {"": lambda ids, x: F.gelu(x, approximate="tanh")},
        "relu": {"": lambda ids, x: F.relu(x)},
        "add": {"": lambda ids, x, y: x + y},
        "dropout": {"": lambda ids, x: F.dropout(x, 0.1)},
        "gather": {"": lambda ids, x: F.embedding(ids(x.shape[0]), x)},
    }


def op_ways(functions, case):
    """By name of the way: a function that runs it once, and returns the seconds forward and backward."""
    import torch

    inputs = [torch.randn(shape, requires_grad=True) for shape in case["shapes"]]

    @functools.lru_cache(None)  # no part of the time
    def ids(bound):
        return torch.randint(bound, (case["ids"],))

    def once(function):
        for x in inputs:
            x.grad = None  # the first gradient is then taken over, not added
        begin = time.perf_counter()
        y = function(ids, *inputs)
        middle = time.perf_counter()
        ones = torch.ones_like(y)
        again = time.perf_counter()
        y.backward(ones)
        return middle - begin, time.perf_counter() - again

    return {way: functools.partial(once, function) for way, function in functions.items()}


def adam_ways(case):
    """One shape: as many parameters as its first number, of the others."""
    import torch

    def make(foreach):
        parameters = [torch.nn.Parameter(x) for x in torch.randn(case["shapes"][0]).unbind()]
        optimizer = torch.optim.Adam(parameters, foreach=foreach)
        for x in parameters:
            x.grad = torch.zeros_like(x)

        def once():
            begin = time.perf_counter()
            optimizer.step()
            return time.perf_counter() - begin, 0

        return once

    return {"one by one": make(False), "foreach": make(True)}


# ---- timing ---------------------------------------------------------------------------------------------


def time_best(ways, options):
    """Medians of the way that is quicker once warm. What took all the time there is was warm, and is not run again."""
    tried = {way: runs(once, 2, options.seconds) for way, once in ways.items()}
    way = min(tried, key=lambda way: sum(tried[way][-1]))
    taken = tried[way] if len(tried[way]) == 1 else runs(ways[way], options.repeats, options.seconds)
    forward, backward = zip(*taken)
    return {
        "way": way,
        "forward_seconds": statistics.median(forward),
        "backward_seconds": statistics.median(backward),
    }


def runs(once, most, seconds):
    """What up to `most` runs took, or fewer, once the time is up."""
    end = time.perf_counter() + seconds
    taken = [once()]
    while len(taken) < most and time.perf_counter() < end:
        taken.append(once())
    return taken


if __name__ == "__main__":
    main()
