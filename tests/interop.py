#!/usr/bin/python3
"""interop.py TRANSLATE: tapehead's models in PyTorch and PyTorch's in tapehead give the same logits,
outputs and losses, and a peer trained in PyTorch learns as much.

Prints the worst agreement of each direction, as a part of the largest logit; exits 1 where one is
too bad. Works in the current directory, which should be empty.
"""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy
import torch
from torch import nn

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples" / "interop"))

import export
import load
import tapehead
import train_peer

TOLERANCE = {False: 1e-5, True: 1e-12}  # by whether in double
MADE = [
    "--norm pre --positions sinusoidal",
    "--norm post --positions learned --activation gelu",
    "--norm pre --positions learned --activation gelu-tanh --final-norm no --target-unit word",
    "--norm post --positions sinusoidal --final-norm yes --source-unit word",
    "--norm pre --positions sinusoidal --head-gates l0 --gate-penalty 5 --head-dropout 0.2",
]


def translate(*words, text=None):
    done = subprocess.run([sys.argv[1], *words], input=text, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"translate {' '.join(words)}: {done.stderr}")
    return done.stdout


def logits_there(run, pairs, in_double):
    translate("logits", run, "--pairs", pairs, "--out", "logits.npy", *(["--double"] if in_double else []))
    return numpy.load("logits.npy")


def agreement(what, here, there, in_double):
    difference, largest = load.compare(here, there)
    relative = difference / largest
    if not relative <= TOLERANCE[in_double]:
        sys.exit(f"{what}, {'double' if in_double else 'float'}: {relative:.3g} of the largest logit apart")
    return relative


def in_pytorch(in_double):
    """Runs that tapehead trained."""
    torch.set_default_dtype(torch.float64 if in_double else torch.float32)
    worst = 0
    for i, flags in enumerate(MADE):
        model, source, target = tapehead.open_run(f"run{i}")
        pairs = tapehead.encode_pairs(tapehead.read_pairs("some.tsv"), source, target)
        there = logits_there(f"run{i}", "some.tsv", in_double)
        worst = max(worst, agreement(flags, model.logits_of(pairs), there, in_double))
        lines = [pair[0] for pair in tapehead.read_pairs("some.tsv")] + ["", "never se\u0301en"]
        ours = translate("decode", f"run{i}", text="\n".join(lines) + "\n").split("\n")[:-1]
        if model.decode_lines(source, target, lines) != ours:
            sys.exit(f"{flags}: other outputs")
    return worst


class Translator(nn.Module):
    """A model as people make them: nn.Transformer, which ends its stacks with norms, between other names."""

    def __init__(self, words, width, longest, norm_first, learned):
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.core = nn.Transformer(width, 2, 1, 2, 48, norm_first=norm_first, batch_first=True)
        self.head = nn.Linear(width, words, bias=not norm_first)
        if learned:
            self.places = nn.Parameter(torch.randn(1, longest, width))
        else:
            self.register_buffer("places", tapehead.sinusoids(longest, width).unsqueeze(0))
        for weight in self.parameters():
            weight.data.add_(torch.randn_like(weight), alpha=0.1)  # norms and biases, too, tell something

    def forward(self, source, target):
        x, y = (self.embed(ids) + self.places[:, : ids.shape[1]] for ids in (source, target))
        causal = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).triu(1)
        return self.head(self.core(x, y, tgt_mask=causal))


def in_tapehead(in_double):
    """Models that PyTorch made. Their special tokens stand elsewhere, and one embedding serves both sides."""
    torch.set_default_dtype(torch.float64 if in_double else torch.float32)
    tokens = ["</s>", "a", "b", "<p>", "<s>", "c", "d", "<?>", "e", "f"]
    order = [3, 4, 0, 7, 1, 2, 5, 6, 8, 9]
    pairs = [[random.choices("abcdef", k=i % most + 1) for most in (7, 5)] for i in range(40)]
    Path("made.tsv").write_text("".join(f"{' '.join(s)}\t{' '.join(t)}\n" for s, t in pairs))
    length = max(len(target) for _, target in pairs) + 1
    worst = 0
    for norm_first in (False, True):
        for learned in (False, True):
            model = Translator(len(tokens), 24, 12, norm_first, learned).to(torch.get_default_dtype()).eval()
            run = f"made-{in_double}-{norm_first}-{learned}"
            names = {"source_embedding.weight": "embed.weight", "target_embedding.weight": "embed.weight"}
            names["output.weight"] = "head.weight"
            if not norm_first:
                names["output.bias"] = "head.bias"
            if learned:
                names.update(source_positions="places", target_positions="places")
            export.export(
                model.state_dict(),
                run,
                2,
                source=tokens,
                target=tokens,
                specials=["<p>", "<s>", "</s>", "<?>"],
                norm="pre" if norm_first else "post",
                unscaled=True,
                names=names,
                drop=() if learned else ["places"],
            )
            here = numpy.full((len(pairs), length, len(tokens)), numpy.nan)
            with torch.no_grad():
                for i, (s, t) in enumerate(pairs):
                    ids = [tokens.index(token) for token in s] + [0]
                    read = [4] + [tokens.index(token) for token in t]
                    here[i, : len(read)] = model(torch.tensor([ids]), torch.tensor([read]))[0]
            there = logits_there(run, "made.tsv", in_double)
            worst = max(worst, agreement(run, here[:, :, order], there, in_double))
    studied(run, "made.tsv")
    return worst


def studied(run, pairs):
    """A model that PyTorch made is evaluated and looked at as any other."""
    translate("eval", run, "--pairs", pairs)
    translate("heads", run, "--pairs", pairs, "--sequences", "10", "--pruning", "5")


def loss_there(run):
    return json.loads(translate("eval", run, "--json"))["loss"]


def held_out_there():
    """The same pairs are held out, and their loss is the same."""
    for i, flags in enumerate(MADE):
        model, source, target = tapehead.open_run(f"run{i}")
        _, held_out = train_peer.read_data(Path(f"run{i}"), tapehead.read_settings(f"run{i}"), source, target)
        here, there = train_peer.held_out_loss(model, held_out), loss_there(f"run{i}")
        if abs(here - there) > 2e-6 * max(1, there):
            sys.exit(f"{flags}: held-out loss {here} here, {there} there")


def a_peer():
    """Trained in PyTorch from other first values, on batches in another order."""
    train_peer.train_run(Path("run0"), Path("peer"))
    studied("peer", "some.tsv")
    here, there = loss_there("peer"), loss_there("run0")
    if abs(here - there) > 0.1 * there:
        sys.exit(f"a peer trained in PyTorch has held-out loss {here}, the run {there}")
    return f"held-out loss of a run {there:.3f}, of its peer {here:.3f}"


def refused(run, setting, *scripts):
    """In one line, and nothing is made."""
    for script in scripts:
        words = [Path(load.__file__).with_name(script), run] + ["--out", "peer"] * (script == "train_peer.py")
        done = subprocess.run([sys.executable, "-B", *words], input="", capture_output=True, text=True)
        if done.returncode != 1 or not done.stderr.startswith(f"{script}: {run}: {setting}: ") or done.stderr.count("\n") != 1:
            sys.exit(f"{script} of a run with {setting}: {done.stderr}")
        if Path("peer").exists():
            sys.exit(f"{script} of a run with {setting} made something")


def what_pytorch_has_not(words):
    translate("prune", "run0", "--heads", "enc0.1", "--out", "pruned")
    refused("pruned", "pruned enc0.1", "load.py", "train_peer.py")
    refused("run4", "head-gates l0", "train_peer.py")
    for flags in ("--attention local", "--attention linear", "--attention multi-query", "--reversible yes"):
        run = "-".join(flags.split()).strip("-")
        translate("train", *words.split(), *flags.split(), "--steps", "1", "--out", run)
        refused(run, flags[2:], "load.py", "train_peer.py")


def main():
    torch.set_num_threads(1)
    torch.manual_seed(1)
    random.seed(1)
    letters = "abcd\u00e9e\u0301\u6f22"
    words = ["".join(random.choices(letters, k=3)) for _ in range(100)]
    lines = [" ".join(random.choices(words, k=random.randint(1, 3))) for _ in range(200)]
    lines = [f"{line}\t{line[::-1].strip()}x\n" for line in lines]
    Path("pairs.tsv").write_text("".join(lines))
    Path("some.tsv").write_text("".join(lines[:40]))
    shape = "--width 24 --heads 3 --encoder-layers 2 --decoder-layers 1 --feed-forward 40"
    recipe = "--steps 60 --batch 16 --warmup 10 --rate 0.003"
    for i, flags in enumerate(MADE):
        words = f"--pairs pairs.tsv {shape} {recipe} {flags} --out run{i}"
        translate("train", *words.split())
    held_out_there()
    what_pytorch_has_not(f"--pairs pairs.tsv {shape}")
    print(a_peer())
    for in_double in (False, True):
        print("double:" if in_double else "float:", "largest difference, as a part of the largest logit,")
        print(f"  of tapehead's models in PyTorch {in_pytorch(in_double):.2g}")
        print(f"  of PyTorch's models in tapehead {in_tapehead(in_double):.2g}")


if __name__ == "__main__":
    main()
