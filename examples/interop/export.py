#!/usr/bin/python3
"""Makes a tapehead run of a PyTorch model that is built on nn.Transformer.

    export.py MODEL.pt RUN --heads 8 --source-tokens FILE --target-tokens FILE

MODEL.pt holds the model's state_dict, as torch.save wrote it. What stands beside the nn.Transformer
must be two embeddings, which are multiplied by sqrt(width) or not (--unscaled), positions that are
added to them, and a linear output layer. What a state_dict does not say is told by flags.
Everything in it must be used or passed over by name (--drop), so that nothing is lost unseen.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import tapehead  # first: it says what is missing
import torch

FIRST = "encoder.layers.0.self_attn.in_proj_weight"
NUMBERED = "the ids themselves, where 0 to 3 are <pad> <bos> <eos> <unk>"


class Failure(Exception):
    """The model cannot be exported; the text says why, in one line."""


def export(
    state,
    run,
    heads,
    source=None,
    target=None,
    specials=tapehead.SPECIALS,
    unit="word",
    norm="post",
    activation="relu",
    max_length=255,
    unscaled=False,
    names=None,
    drop=(),
):
    """Writes the directory `run` from a state_dict.

    source, target: the tokens in order of their ids (None: the ids themselves); specials: those
    among them that mean padding, begin, end and unknown. names: which entries of `state` are
    "source_embedding.weight", "target_embedding.weight", "output.weight", "output.bias",
    "source_positions" and "target_positions", where they are called otherwise. Positions without an
    entry are sinusoids. max_length: with sinusoids, the longest sequence in tokens; a table of n
    positions takes n - 1.
    """
    weights = rename(state, names or {}, drop)
    width = weights["source_embedding.weight"].shape[1]
    vocabularies, orders = {}, {}
    for side, tokens in (("source", source), ("target", target)):
        embedding = f"{side}_embedding.weight"
        orders[side], tokens = specials_first(tokens, specials, len(weights[embedding]))
        weights[embedding] = weights[embedding][orders[side]]
        vocabularies[side] = tapehead.Vocabulary(unit, tokens)
        if unscaled:
            weights[embedding] = weights[embedding] / math.sqrt(width)
    for name in ("output.weight", "output.bias"):
        weights[name] = weights[name][orders["target"]]
    learned = "source_positions" in weights
    settings = {
        "task": "pairs",
        "pairs": "",
        "source-unit": unit,
        "target-unit": unit,
        "max-length": len(weights["source_positions"]) - 1 if learned else max_length,
        "width": width,
        "heads": heads,
        "encoder-layers": layers_of(weights, "encoder"),
        "decoder-layers": layers_of(weights, "decoder"),
        "feed-forward": len(weights["encoder.layers.0.linear1.weight"]),
        "norm": norm,
        "final-norm": "yes" if "encoder.norm.weight" in weights else "no",
        "activation": activation,
        "dropout": 0,
        "positions": "learned" if learned else "sinusoidal",
    }
    check(settings, vocabularies, weights)
    if Path(run).exists():
        raise Failure(f"{run}: exists")
    directory = Path(f"{run}.new")  # until it is whole
    directory.mkdir(parents=True, exist_ok=True)
    for side, vocabulary in vocabularies.items():
        vocabulary.save(directory / f"vocab.{side}.json")
    (directory / "config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    arrays = {name: weight.detach().contiguous().numpy() for name, weight in weights.items()}
    tapehead.write_safetensors(directory / "model.safetensors", arrays, {"format": "tapehead model", "step": "0"})
    directory.rename(run)


def rename(state, names, drop):
    """Each weight under tapehead's name."""
    stacks = [name for name in state if name.endswith(FIRST)]
    if len(stacks) != 1:
        raise Failure(f"want one nn.Transformer: {len(stacks)} entries end in {FIRST}")
    before = stacks[0][: -len(FIRST)]
    weights = {}
    for ours, theirs in names.items():
        if theirs not in state:
            raise Failure(f"there is no entry {theirs}")
        weights[ours] = state[theirs].squeeze() if ours.endswith("_positions") else state[theirs]
    for name, weight in state.items():
        if name in drop or name in names.values():
            continue
        inner = name[len(before) :] if name.startswith(before) else ""
        weights[inner if inner.startswith(("encoder.", "decoder.")) else name] = weight
    for name in [name for name in weights if name.endswith("weight") and "embedding" not in name]:
        bias = name[: -len("weight")] + "bias"  # a layer made without one
        weights.setdefault(bias, torch.zeros(len(weights[name]), dtype=weights[name].dtype))
    for name in ("source_embedding.weight", "target_embedding.weight", "output.weight"):
        if name not in weights:
            raise Failure(
                f"there is no {name}: say which it is with --{name.split('.')[0].replace('_', '-')} NAME"
            )
    return weights


def specials_first(tokens, specials, count):
    """Which of the model's rows comes where in tapehead's vocabulary, and its tokens."""
    if tokens is None:
        return list(range(count)), tapehead.SPECIALS + [str(i) for i in range(len(specials), count)]
    if len(tokens) != count:
        raise Failure(f"{len(tokens)} tokens for an embedding of {count} rows")
    missing = [token for token in specials if token not in tokens]
    if missing:
        raise Failure(f"there is no token {missing[0]}: name the special tokens with --specials")
    order = [tokens.index(token) for token in specials]
    order += [i for i in range(count) if i not in set(order)]
    return order, tapehead.SPECIALS + [tokens[i] for i in order[len(specials) :]]


def layers_of(weights, stack):
    return len({name.split(".")[2] for name in weights if name.startswith(f"{stack}.layers.")})


def check(settings, vocabularies, weights):
    """That it is the model that tapehead will make of it: no weight more or less, each in its shape."""
    sizes = [len(vocabularies[side]) for side in ("source", "target")]
    made = tapehead.Transformer(settings, *sizes).state_dict()
    for name in made:
        if name not in weights:
            raise Failure(f"there is no {name}")
    for name, weight in weights.items():
        if name not in made:
            raise Failure(
                f"{name} has no place in the model: pass over it with --drop {name}, if it is no weight"
            )
        if weight.shape != made[name].shape:
            raise Failure(f"{name} is {list(weight.shape)}, not {list(made[name].shape)}")


def read_tokens(path):
    return Path(path).read_text(encoding="utf-8").rstrip("\n").split("\n") if path else None


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL.pt", help="a state_dict")
    parser.add_argument("run", help="the directory to make")
    parser.add_argument("--heads", type=int, required=True)
    parser.add_argument(
        "--norm", choices=["pre", "post"], default="post", help="norm_first; default: %(default)s"
    )
    parser.add_argument("--activation", choices=list(tapehead.ACTIVATIONS), default="relu")
    for side in ("source", "target"):
        text = f"the {side}'s tokens in order of their ids, one a line; default: {NUMBERED}"
        parser.add_argument(f"--{side}-tokens", metavar="FILE", help=text)
    parser.add_argument(
        "--specials",
        default=",".join(tapehead.SPECIALS),
        help="the tokens that mean padding, begin, end and unknown; default: %(default)s",
    )
    parser.add_argument("--unit", choices=["word", "character"], default="word", help="what a token is")
    parser.add_argument(
        "--unscaled", action="store_true", help="the model does not multiply embeddings by sqrt(width)"
    )
    parser.add_argument("--max-length", type=int, default=255, help="with sinusoids; default: %(default)s")
    for role in ("source-embedding", "target-embedding", "output"):
        parser.add_argument(f"--{role}", metavar="NAME", help="its name in the state_dict, without .weight")
    for side in ("source", "target"):
        text = "name of the table [longest, width] that is added; default: sinusoids"
        parser.add_argument(f"--{side}-positions", metavar="NAME", help=text)
    parser.add_argument("--drop", metavar="NAME", action="append", default=[], help="pass over this entry")
    options = parser.parse_args()
    state = torch.load(options.model, map_location="cpu")
    names = {}
    for role in ("source_embedding", "target_embedding", "output"):
        name = getattr(options, role)
        if name:
            names[f"{role}.weight"] = f"{name}.weight"
    if options.output and f"{options.output}.bias" in state:
        names["output.bias"] = f"{options.output}.bias"
    for role in ("source_positions", "target_positions"):
        if getattr(options, role):
            names[role] = getattr(options, role)
    try:
        export(
            state,
            options.run,
            options.heads,
            source=read_tokens(options.source_tokens),
            target=read_tokens(options.target_tokens),
            specials=options.specials.split(","),
            unit=options.unit,
            norm=options.norm,
            activation=options.activation,
            max_length=options.max_length,
            unscaled=options.unscaled,
            names=names,
            drop=options.drop,
        )
    except (Failure, OSError) as failure:
        sys.exit(f"export.py: {failure}")


if __name__ == "__main__":
    main()
