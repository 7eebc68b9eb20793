#!/usr/bin/python3
"""Times one training step of an encoder-decoder in PyTorch, eager mode, on the processor.

A step is forward, label-smoothed loss, backward and Adam, in float32, on one batch of random ids
without padding. It is a yardstick for bench/: the same model, sizes and work. Prints one line of
JSON; the times are in seconds.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time


def main():
    options = parse_options()
    set_up_threads(options.threads)
    seconds = time_steps(options)
    print(
        json.dumps(
            {
                "seconds_per_step": statistics.median(seconds),
                "min": min(seconds),
                "max": max(seconds),
                "steps": options.steps,
                "threads": options.threads,
            }
        )
    )


def parse_options():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    count = positive_integer
    parser.add_argument("--width", type=count, default=128, help="of embeddings and layers")
    parser.add_argument("--heads", type=count, default=4, help="attention heads in each layer")
    parser.add_argument("--layers", type=count, default=2, help="of the encoder; as many decode")
    parser.add_argument("--ff", type=count, default=512, help="width inside the feed-forward net")
    parser.add_argument("--batch", type=count, default=32, help="sentence pairs in a step")
    parser.add_argument("--length", type=count, default=32, help="tokens in each sentence")
    parser.add_argument("--vocabulary", type=count, default=128, help="words on either side")
    parser.add_argument("--dropout", type=probability, default=0.1, help="probability of a zero")
    parser.add_argument("--threads", type=count, default=1, help="processor threads")
    parser.add_argument("--steps", type=count, default=20, help="timed")
    parser.add_argument("--warmup", type=int, default=3, help="steps before those")
    parser.add_argument("--seed", type=int, default=1, help="of weights, ids and dropout")
    options = parser.parse_args()
    if options.width % options.heads != 0:
        parser.error(f"--width {options.width} is no multiple of --heads {options.heads}")
    if options.width % 2 != 0:
        parser.error(f"--width {options.width} is odd; sines and cosines come in pairs")
    return options


def begin(description, add_arguments):
    """For the scripts beside this one: their options, with --threads among them; PyTorch is imported then."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=positive_integer, default=1, help="processor threads")
    add_arguments(parser)
    options = parser.parse_args()
    set_up_threads(options.threads)
    import torch

    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    return options


def set_up_threads(threads):
    """Speaks to the thread pools of OpenBLAS and OpenMP, which listen while torch is imported."""
    os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
    # PyTorch's OpenMP threads wait by spinning, unless told otherwise, and so take the cores from
    # OpenBLAS, which has threads of its own: with two of each on two cores a step takes 3 times
    # as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def positive_integer(text):
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def probability(text):
    value = float(text)
    if not 0.0 <= value < 1.0:
        raise argparse.ArgumentTypeError(f"'{text}' is not in [0, 1)")
    return value


def time_steps(options):
    """Returns how many seconds each timed step took."""
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    model = build_model(options)
    model.train()
    # foreach=True takes as long on the processor, and fused=True is for graphics cards only.
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-9)
    shape = (options.batch, options.length)
    source = torch.randint(options.vocabulary, shape)
    target_in = torch.randint(options.vocabulary, shape)
    target_out = torch.randint(options.vocabulary, shape).flatten()

    def step():
        optimizer.zero_grad(set_to_none=True)
        logits = model(source, target_in)
        loss = F.cross_entropy(logits.flatten(0, 1), target_out, label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(options.warmup):
        step()
    seconds = []
    for _ in range(options.steps):
        begin = time.perf_counter()
        loss = step()
        seconds.append(time.perf_counter() - begin)
    if not torch.isfinite(loss):
        sys.exit(f"the loss became {loss.item()}: these times mean nothing")
    return seconds


def build_model(options):
    import torch
    from torch import nn

    class Translator(nn.Module):
        """Vaswani et al. 2017, with the two norms that nn.Transformer puts after its stacks."""

        def __init__(self):
            super().__init__()
            self.source_embedding = nn.Embedding(options.vocabulary, options.width)
            self.target_embedding = nn.Embedding(options.vocabulary, options.width)
            self.dropout = nn.Dropout(options.dropout)
            self.transformer = nn.Transformer(
                options.width,
                options.heads,
                options.layers,
                options.layers,
                options.ff,
                dropout=options.dropout,
                batch_first=True,
            )
            self.output = nn.Linear(options.width, options.vocabulary)
            self.register_buffer("positions", sinusoids(options.length, options.width))
            causal_mask = torch.ones(options.length, options.length, dtype=torch.bool).triu(1)
            self.register_buffer("causal_mask", causal_mask)

        def forward(self, source, target):
            decoded = self.transformer(
                self.embed(self.source_embedding, source),
                self.embed(self.target_embedding, target),
                tgt_mask=self.causal_mask,
            )
            return self.output(decoded)

        def embed(self, embedding, ids):
            embedded = embedding(ids) * math.sqrt(options.width)
            return self.dropout(embedded + self.positions[: ids.shape[1]])

    def sinusoids(length, width):
        position = torch.arange(length, dtype=torch.float64).unsqueeze(1)
        even_column = torch.arange(0, width, 2, dtype=torch.float64)
        angle = position / 10000.0 ** (even_column / width)
        return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1).float()

    return Translator()


if __name__ == "__main__":
    main()
