#!/usr/bin/python3
"""Writes study.safetensors: what NumPy, SciPy, scikit-learn and PyTorch make of the heads of the model in
transformer.safetensors, for tests/test_study_peers.c to compare with. tests/data/README.md describes the file.

    /usr/bin/python3 tests/data/make_study.py [FILE]
"""

import importlib.util
import math
import os
import sys

import numpy as np
import scipy.stats
import torch
from scipy.spatial.distance import jensenshannon
from sklearn.manifold import MDS
from torch.nn import functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
spec = importlib.util.spec_from_file_location("make_reference", os.path.join(HERE, "make_reference.py"))
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)

HEADS, WIDTH, LAYERS = reference.HEADS, reference.WIDTH, reference.LAYERS
SEED = 7  # of make_reference.py's write_transformer: the same parameters and sentences


class Gated:
    """The Translator's forward pass written out, with a gate at each head; notes weights, values and lengths."""

    def __init__(self, model):
        self.model, self.seen = model, {}
        kinds = ("encoder", "decoder", "cross")
        self.gates = {(k, i): torch.ones(HEADS, requires_grad=True) for k in kinds for i in range(LAYERS)}

    def attend(self, kind, layer, module, x, y, mask):
        q, k, v = F.linear(x, module.in_proj_weight[:WIDTH], module.in_proj_bias[:WIDTH]), *(
            F.linear(y, module.in_proj_weight[i * WIDTH : (i + 1) * WIDTH], module.in_proj_bias[i * WIDTH : (i + 1) * WIDTH])
            for i in (1, 2)
        )
        split = lambda t: t.unflatten(-1, (HEADS, WIDTH // HEADS)).transpose(1, 2)  # noqa: E731
        q, k, v = split(q), split(k), split(v)
        scores = (q @ k.transpose(-1, -2)) / math.sqrt(WIDTH // HEADS)
        weights = scores.masked_fill(mask, -math.inf).softmax(-1)
        self.seen[kind, layer] = weights.detach(), v.detach(), module.out_proj.weight.detach()
        said = (weights @ v) * self.gates[kind, layer].view(1, HEADS, 1, 1)
        return module.out_proj(said.transpose(1, 2).flatten(2))

    def __call__(self, s):
        t = self.model.transformer
        padding = reference.padding_mask(s.source_lengths, s.source.shape[1])[:, None, None, :]
        causal = reference.causal_mask(s.target_in.shape[1])
        x = reference.embed(self.model.source_embedding, s.source)
        for i, layer in enumerate(t.encoder.layers):
            x = layer.norm1(x + self.attend("encoder", i, layer.self_attn, x, x, padding))
            x = layer.norm2(x + layer.linear2(layer.linear1(x).relu()))
        memory = t.encoder.norm(x)
        x = reference.embed(self.model.target_embedding, s.target_in)
        for i, layer in enumerate(t.decoder.layers):
            x = layer.norm1(x + self.attend("decoder", i, layer.self_attn, x, x, causal))
            x = layer.norm2(x + self.attend("cross", i, layer.multihead_attn, x, memory, padding))
            x = layer.norm3(x + layer.linear2(layer.linear1(x).relu()))
        return self.model.output(t.decoder.norm(x))

    def losses(self, s):
        """Of each sentence the sum over its tokens."""
        logits = self(s)
        each = F.cross_entropy(logits.transpose(1, 2), s.target_out, ignore_index=reference.PADDING, reduction="none")
        return each.sum(1)


def lengths_of(kind, s):
    return (s.source_lengths if kind == "encoder" else s.target_lengths), (
        s.target_lengths if kind == "decoder" else s.source_lengths
    )


def rows_of(seen, kind, head, s):
    """Each sentence's rows of weights that count, with the keys in sight and their place."""
    rows, keys = lengths_of(kind, s)
    weights = seen[0][:, head].numpy()
    for b, (n, m) in enumerate(zip(rows, keys)):
        yield [(i, weights[b, i, : (i + 1 if kind == "decoder" else m)]) for i in range(n)]


def looks(gated, s):
    """Entropy, its part of the largest, largest weight, distance: by sentence, then their mean and deviation."""
    made = []
    for (kind, layer), seen in sorted(gated.seen.items(), key=order):
        for head in range(HEADS):
            each = []
            for rows in rows_of(seen, kind, head, s):
                free = [(i, w) for i, w in rows if len(w) > 1]
                if not free:
                    continue
                entropy = [scipy.stats.entropy(w) for _, w in free]
                each.append([
                    np.mean(entropy),
                    np.mean([e / np.log(len(w)) for e, (_, w) in zip(entropy, free)]),
                    np.mean([w.max() for _, w in free]),
                    np.mean([np.average(np.abs(np.arange(len(w)) - i), weights=w) for i, w in free]),
                ])
            made.append([np.mean(each, 0), np.std(each, 0)])
    return np.array(made)  # [heads, 2, looks]


def order(item):
    (kind, layer), _ = item
    return ("encoder", "decoder", "cross").index(kind), layer


def distances(gated, s):
    """Mean Jensen-Shannon distance of rows, between heads of a kind; -1 between kinds."""
    heads = [(kind, [w for rows in rows_of(seen, kind, h, s) for _, w in rows])
             for (kind, _), seen in sorted(gated.seen.items(), key=order) for h in range(HEADS)]
    made = np.full((len(heads), len(heads)), -1.0)
    for i, (kind, a) in enumerate(heads):
        for j, (other, b) in enumerate(heads):
            if kind == other:
                made[i, j] = 0 if i == j else np.mean([jensenshannon(p, q, base=2) for p, q in zip(a, b)])
    return made


def norms(gated):
    """|weight times value times the head's output projection|, [B,H,T,S]."""
    made = {}
    for (kind, layer), (weights, value, out) in gated.seen.items():
        parts = out.unflatten(1, (HEADS, WIDTH // HEADS))
        vectors = torch.einsum("bhts,bhsv,ehv->bhtse", weights, value, parts)
        made[f"norms.{kind}.{layer}"] = vectors.norm(dim=-1).numpy()
    return made


def rollout(gated, s):
    """Abnar & Zuidema's product, sentence by sentence; across, half of a decoder's row comes from the encoder's rollout."""
    n, t = s.source.shape[1], s.target_in.shape[1]
    made = {f"rollout.{k}": np.zeros(shape) for k, shape in (("encoder", (3, n, n)), ("target", (3, t, t)), ("source", (3, t, n)))}
    mean = lambda kind, i, b, r, c: gated.seen[kind, i][0][b].mean(0).numpy()[:r, :c]  # noqa: E731
    for b, (m, r) in enumerate(zip(s.source_lengths, s.target_lengths)):
        encoder, joint = np.eye(m), np.hstack([np.eye(r), np.zeros((r, m))])
        for i in range(LAYERS):
            encoder = (np.eye(m) + mean("encoder", i, b, m, m)) / 2 @ encoder
        below = np.hstack([np.zeros((m, r)), encoder])
        for i in range(LAYERS):
            joint = (np.eye(r) + mean("decoder", i, b, r, r)) / 2 @ joint
            joint = (joint + mean("cross", i, b, r, m) @ below) / 2
        made["rollout.encoder"][b, :m, :m] = encoder
        made["rollout.target"][b, :r, :r], made["rollout.source"][b, :r, :m] = joint[:, :r], joint[:, r:]
    return made


def worth(gated, s):
    """By autograd: d loss / d gate, the mean size of it over sentences; and the loss with each gate at 0."""
    keys, tokens = [k for k, _ in sorted(gated.seen.items(), key=order)], sum(s.target_lengths)
    gates = [gated.gates[k] for k in keys]
    total = gated.losses(s)
    each = [torch.cat(torch.autograd.grad(loss, gates, retain_graph=True)) for loss in total]
    off = []
    for gate in gates:
        for head in range(HEADS):
            with torch.no_grad():
                gate[head] = 0
                off.append(gated.losses(s).sum().item() / tokens)
                gate[head] = 1
    by_token = [g / n for g, n in zip(each, s.target_lengths)]
    return {
        "worth.loss": [total.sum().item() / tokens],
        "worth.off": off,
        "worth.gradient": sum(each) / tokens,
        "worth.importance": torch.stack(by_token).abs().mean(0),
        "worth.importance_rank": [scipy.stats.spearmanr(torch.stack(by_token).abs().mean(0), off)[0]],
    }


def ranks(rng):
    """Spearman's correlation: without ties, with many, with few values."""
    made = {}
    for i, (n, values) in enumerate([(7, None), (40, None), (60, 4), (25, 2)]):
        a = rng.normal(size=n) if values is None else rng.integers(values, size=n)
        b = a + rng.normal(size=n) if values is None else rng.integers(values, size=n)
        made |= {f"ranks.{i}.a": a, f"ranks.{i}.b": b, f"ranks.{i}.correlation": [scipy.stats.spearmanr(a, b)[0]]}
    return made


def plane(rng):
    """Points of the plane: a map that scikit-learn's SMACOF, started there, does not leave has no stress."""
    points = rng.normal(size=(9, 2)) * [3, 1]
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    found = MDS(2, normalized_stress=False, dissimilarity="precomputed", n_init=1, max_iter=500, eps=1e-14).fit(distance, init=points)
    assert found.stress_ < 1e-20, found.stress_
    return {"plane.distance": distance, "plane.points": found.embedding_}


def main():
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    numbers = reference.Numbers(SEED)
    model = reference.Translator()
    numbers.fill_parameters(model)
    sentences = reference.Sentences(numbers)
    gated = Gated(model)
    with torch.no_grad():
        theirs = model.eval()(sentences)[0]
        assert torch.allclose(gated(sentences)[:, :3], theirs[:, :3], atol=1e-12), "the pass is nn.Transformer's"
    rng = np.random.default_rng(SEED)
    made = {"looks": looks(gated, sentences), "distances": distances(gated, sentences), **norms(gated),
            **rollout(gated, sentences), **worth(gated, sentences), **ranks(rng), **plane(rng)}
    tensors = {key: torch.as_tensor(np.asarray(value, dtype=np.float64)) for key, value in made.items()}
    path = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "study.safetensors")
    reference.save(os.path.dirname(path) or ".", os.path.basename(path).removesuffix(".safetensors"), tensors, numbers,
                   made_from="transformer.safetensors", made_by="tests/data/make_study.py",
                   scipy=scipy.__version__)


main()
