#!/usr/bin/python3
"""Trains in PyTorch what `translate train` trained: the same pairs, tokens, model, loss and recipe.

    train_peer.py RUN --out PEER

RUN is a run of pairs. PEER becomes one, too: `translate eval PEER`, `translate decode PEER < lines`
and `load.py PEER < lines` say how well the peer does. Alike are also the number of updates, how
batches are cut and how first values are drawn; not alike are the random numbers themselves. There
is no mean of weights (--ema, --average) and no end before --steps (--patience).
"""

import argparse
import json
import math
import os
import random
import shutil
import sys
import time
from pathlib import Path

# PyTorch's OpenMP threads wait by spinning, unless told otherwise before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import tapehead  # first: it says what is missing
import numpy
import torch
from torch import nn
from torch.nn import functional as F

POOL_BATCHES = 32  # so many batches' worth of pairs are sorted by length together
SPLIT_SEED = 20170612
COPIED = ["vocab.source.json", "vocab.target.json", "pairs.tsv", "valid.tsv"]

# ---- the pairs -------------------------------------------------------------------------------------


def philox(stream, position):
    """64 bits for each stream and position: Philox4x32-10 (Salmon et al. 2011) with the seed of the split."""
    low, half = numpy.uint64(0xFFFFFFFF), numpy.uint64(32)
    c0, c1, c2, c3 = position & low, position >> half, stream & low, stream >> half
    for step in range(10):
        k0 = numpy.uint64((SPLIT_SEED + 0x9E3779B9 * step) & 0xFFFFFFFF)
        k1 = numpy.uint64(0xBB67AE85 * step & 0xFFFFFFFF)
        p0, p1 = numpy.uint64(0xD2511F53) * c0, numpy.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = p1 >> half ^ c1 ^ k0, p1 & low, p0 >> half ^ c3 ^ k1, p0 & low
    return c0 | c1 << half


def held_out(texts, part):
    """Which texts `translate` keeps from training: by a hash of their bytes (examples/translate/pairs.c)."""
    texts = [text.encode() for text in texts]
    length = numpy.array([len(text) for text in texts])
    bytes_at = numpy.zeros((length.max(), len(texts)), dtype=numpy.uint64)
    for i, text in enumerate(texts):
        bytes_at[: len(text), i] = list(text)
    value = length.astype(numpy.uint64)
    for at, byte in enumerate(bytes_at):
        value = numpy.where(at < length, philox(value, byte), value)
    return (philox(value, numpy.zeros_like(value)) >> numpy.uint64(11)) * 2.0**-53 < part


def read_data(run, settings, source, target):
    """Pairs of ids: to train on, and held out."""

    def sources(pairs):
        return [tapehead.plain(source.unit, pair[0]) for pair in pairs]

    def encoded(pairs, keep):
        ids = tapehead.encode_pairs([pair for pair, kept in zip(pairs, keep) if kept], source, target)
        return [pair for pair in ids if max(map(len, pair)) <= settings["max-length"]]

    pairs = tapehead.read_pairs(run / "pairs.tsv")
    if (run / "valid.tsv").exists():
        valid = tapehead.read_pairs(run / "valid.tsv")
        known = set(sources(valid))
        return encoded(pairs, [text not in known for text in sources(pairs)]), encoded(
            valid, [True] * len(valid)
        )
    out = held_out(sources(pairs), settings["held-out-part"])
    return encoded(pairs, ~out), encoded(pairs, out)[: settings["held-out"]]


def epoch(pairs, settings):
    """The pairs once, in batches, in random order. Those of like length stand together."""
    pairs = random.sample(pairs, len(pairs))
    most = settings.get("batch-tokens", 0)
    batches = cut_by_tokens(pairs, most) if most else cut_by_count(pairs, min(settings["batch"], len(pairs)))
    random.shuffle(batches)
    return batches


def length_of(pair):
    return len(pair[0]) + len(pair[1])


def cut_by_count(pairs, size):
    """Whole batches only; what is left over has its turn in another epoch."""
    pairs, pool = pairs[: len(pairs) // size * size], POOL_BATCHES * size
    for i in range(0, len(pairs), pool):
        pairs[i : i + pool] = sorted(pairs[i : i + pool], key=length_of)
    return [pairs[i : i + size] for i in range(0, len(pairs), size)]


def cut_by_tokens(pairs, most):
    """As many as `most` tokens hold, with marks and padding, both sides; at least one."""
    batches, begin = [], 0
    while begin < len(pairs):
        tokens, end = 0, begin
        while end < len(pairs) and tokens < POOL_BATCHES * most:
            tokens += length_of(pairs[end]) + 2
            end += 1
        batch, longest = [], (0, 0)
        for pair in sorted(pairs[begin:end], key=length_of):
            longer = max(longest[0], len(pair[0])), max(longest[1], len(pair[1]))
            if batch and (len(batch) + 1) * (sum(longer) + 2) > most:
                batches.append(batch)
                batch, longer = [], (len(pair[0]), len(pair[1]))
            batch.append(pair)
            longest = longer
        batches.append(batch)
        begin = end
    return batches


# ---- the recipe ------------------------------------------------------------------------------------


def first_values(model, settings):
    """As tapehead's --weights: Glorot & Bengio 2010, equation 16; embeddings normal with --weights paper."""
    for name, weight in model.named_parameters():
        if name.endswith("_positions"):
            nn.init.normal_(weight, std=0.02)
        elif "embedding" in name and settings["weights"] == "paper":
            nn.init.normal_(weight, std=settings["width"] ** -0.5)
        elif weight.ndim == 1:
            nn.init.constant_(weight, 1 if "norm" in name and name.endswith("weight") else 0)
        else:
            for matrix in weight.chunk(3) if name.endswith("in_proj_weight") else [weight]:
                nn.init.xavier_uniform_(matrix)


def rate(settings, step):
    """Of update number `step`, from 1: src/optim/schedule.c."""
    base, warmup, total = settings["rate"], settings["warmup"], settings["steps"]
    if settings["schedule"] == "paper":
        return base * settings["width"] ** -0.5 * min(step**-0.5, step * warmup**-1.5)
    if step < warmup:
        return base * step / warmup
    if settings["schedule"] == "constant":
        return base
    done = min((step - warmup) / (total - warmup), 1) if total > warmup else 1
    return base * (1 + math.cos(math.pi * done)) / 2


def make_optimizer(model, settings):
    every = settings.get("decay", "all") == "all"
    weights = list(model.parameters())
    groups = [
        {"params": [w for w in weights if every or w.ndim > 1], "weight_decay": settings["weight-decay"]},
        {"params": [w for w in weights if not (every or w.ndim > 1)], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], betas=(0.9, 0.98), eps=1e-9)


def loss_of(model, pairs, label_smoothing, reduction="mean"):
    """Cross-entropy over the tokens that count; only these go through the output layer."""
    source, read, wanted = tapehead.batch(pairs)
    counts = wanted != tapehead.IGNORED
    logits = model.output(model.decode(*model.encode(source), read)[counts])
    return F.cross_entropy(logits, wanted[counts], label_smoothing=label_smoothing, reduction=reduction)


@torch.no_grad()
def held_out_loss(model, pairs):
    model.eval()
    pairs = sorted(pairs, key=length_of)
    total = sum(loss_of(model, pairs[i : i + 64], 0, "sum").item() for i in range(0, len(pairs), 64))
    model.train()
    return total / tokens_of(pairs)


def tokens_of(pairs):
    return sum(len(target) + 1 for _, target in pairs)


def update(model, optimizer, batches, settings, step):
    """One update from the mean over the tokens of all batches (--accumulate). Returns the loss."""
    optimizer.zero_grad(set_to_none=True)
    tokens, total = sum(map(tokens_of, batches)), 0.0
    for pairs in batches:
        loss = loss_of(model, pairs, settings["label-smoothing"], "sum") / tokens
        loss.backward()
        total += loss.item()
    if settings["clip"]:
        nn.utils.clip_grad_norm_(model.parameters(), settings["clip"])
    for group in optimizer.param_groups:
        group["lr"] = rate(settings, step)
    optimizer.step()
    return total


# ---- all of it -------------------------------------------------------------------------------------


def begin_peer(run, out, settings):
    out.mkdir(parents=True)
    for name in COPIED:
        if (run / name).exists():
            shutil.copyfile(run / name, out / name)
    (out / "config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")


def train(model, train_pairs, valid_pairs, settings, out):
    optimizer = make_optimizer(model, settings)
    batches, losses, tokens, begun = [], [], 0, time.monotonic()
    model.train()
    for step in range(1, settings["steps"] + 1):
        some = []
        for _ in range(settings.get("accumulate", 1)):
            batches = batches or epoch(train_pairs, settings)
            some.append(batches.pop())
        losses.append(update(model, optimizer, some, settings, step))
        tokens += sum(map(tokens_of, some))
        if step % settings["report-every"] and step < settings["steps"]:
            continue
        seconds = time.monotonic() - begun
        line = {
            "step": step,
            "loss": sum(losses) / len(losses),
            "rate": rate(settings, step),
            "held_out_loss": held_out_loss(model, valid_pairs),
        }
        print(
            f"step {step}/{settings['steps']}  loss {line['loss']:.4f}  held-out {line['held_out_loss']:.4f}  "
            f"{tokens / seconds:.0f} target tokens/s",
            flush=True,
        )
        with open(out / "metrics.jsonl", "a") as metrics:
            metrics.write(json.dumps(line) + "\n")
        tapehead.save_weights(model, out / "model.safetensors", step)
        losses, tokens, begun = [], 0, time.monotonic()


def train_run(run, out, **changes):
    """`changes`: settings that are to be others than the run's, where not None."""
    settings = tapehead.read_settings(run)
    settings.update({name: value for name, value in changes.items() if value is not None})
    if settings["task"] != "pairs":
        sys.exit(f"train_peer.py: {run} is a run of the task {settings['task']}: want one of pairs")
    tapehead.check_plain(settings, {"head-gates": ["none"], "head-dropout": [0], "disagreement": ["none"]})
    if out.exists():
        sys.exit(f"train_peer.py: {out}: exists")
    random.seed(settings["seed"])
    torch.manual_seed(settings["seed"])
    source, target = (tapehead.open_vocabulary(run, side) for side in ("source", "target"))
    pairs, valid = read_data(run, settings, source, target)
    model = tapehead.Transformer(settings, len(source), len(target))
    first_values(model, settings)
    count = sum(weight.numel() for weight in model.parameters())
    print(f"{count} parameters, {len(pairs)} pairs to train on, {len(valid)} held out", flush=True)
    begin_peer(run, out, settings)
    train(model, pairs, valid, settings, out)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run of pairs")
    parser.add_argument("--out", type=Path, required=True, metavar="PEER", help="the directory to make")
    parser.add_argument("--steps", type=int, help="updates; default: the run's")
    parser.add_argument("--seed", type=int, help="default: the run's")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        train_run(options.run, options.out, steps=options.steps, seed=options.seed)
    except OSError as error:
        sys.exit(f"train_peer.py: {error.filename}: {error.strerror}")
    except ValueError as error:
        sys.exit(f"train_peer.py: {options.run}: {error}")


if __name__ == "__main__":
    main()
