#!/usr/bin/env python3
"""study.py OUT.json [NAME]: a made-up study with heads that look trained, for the tests of the report.

NAME is one of STUDIES below. The document has the form of docs/report.md.
"""

import base64
import json
import math
import random
import sys

LOOKS = ["entropy", "spread", "confidence", "distance", "back", "diagonal", "anti_diagonal", "previous", "next",
         "first", "last", "offset", "same", "prefix", "end", "begin", "padding"]
SHARES = LOOKS[5:]
KINDS = [("encoder_self", "enc", "encoder self-attention"), ("decoder_self", "dec", "decoder self-attention"),
         ("cross", "cross", "cross-attention")]
# What a head does, and the look that earns it the name.
JOBS = {"diagonal": "diagonal", "reverse": "anti_diagonal", "previous token": "previous", "next token": "next",
        "first token": "first", "last token": "last", "sink": "end", "broad": "spread", "fixed offset": "offset"}
LETTERS = "abcdefghij"
HOSTILE = ["</script>", "<!--", "\"'`&amp;", "\u0001\n\t", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "שלום",
           "مرحبا", "<b>x", "\\u003c", "a" * 40, "e\u0301", " ", "", "{{page.js}}", "&lt;", "\u2028"]


def wanted(job, i, j, n):
    """How much a head of this job wants query i to see key j of n, 0 to 1."""
    if job == "broad":
        return 0
    key = {"diagonal": i, "reverse": n - 2 - i, "previous token": i - 1, "next token": i + 1, "first token": 0,
           "last token": n - 2, "sink": n - 1, "fixed offset": i - 2}[job]
    return 1 if j == min(max(key, 0), n - 1) else 0


def matrix(job, kind, rows, columns, strength, noise):
    """Weights, row by row: softmax of what the job wants."""
    made = []
    for i in range(rows):
        sight = i + 1 if kind == "decoder_self" else columns
        score = [math.exp(strength * wanted(job, i, j, sight if job == "sink" else columns) + noise.gauss(0, 0.35))
                 if j < sight else 0 for j in range(columns)]
        total = sum(score)
        made.append([s / total for s in score])
    return made


def packed(matrices):
    return base64.b64encode(bytes(round(255 * w) for m in matrices for row in m for w in row)).decode()


def looks_of(m, kind):
    """The measures of one matrix that are easily had; the others are made up of them."""
    n = len(m[0])
    mean = lambda f: sum(f(i, row) for i, row in enumerate(m)) / len(m)  # noqa: E731
    at = lambda row, j: row[j] if 0 <= j < n else 0  # noqa: E731
    entropy = mean(lambda i, row: -sum(w * math.log(w) for w in row if w > 0))
    return {
        "entropy": entropy, "spread": min(1, entropy / math.log(max(2, n if kind != "decoder_self" else (n + 1) / 2))),
        "confidence": mean(lambda i, row: max(row)),
        "distance": mean(lambda i, row: sum(w * abs(i - j) for j, w in enumerate(row))),
        "back": mean(lambda i, row: sum(w * (i - j) for j, w in enumerate(row))),
        "diagonal": mean(lambda i, row: at(row, i)), "anti_diagonal": mean(lambda i, row: at(row, n - 2 - i)),
        "previous": mean(lambda i, row: at(row, i - 1)), "next": mean(lambda i, row: at(row, i + 1)),
        "first": mean(lambda i, row: row[0]), "last": mean(lambda i, row: at(row, n - 2)),
        "offset": mean(lambda i, row: at(row, i - 2)), "same": 0.1 * mean(lambda i, row: max(row)),
        "prefix": None if kind == "cross" else 0.07, "end": mean(lambda i, row: row[-1]),
        "begin": None if kind == "encoder_self" else mean(lambda i, row: row[0]), "padding": 0.0,
    }


def clusters(distance):
    """Average linkage, as SciPy numbers it."""
    groups = {i: [i] for i in range(len(distance))}
    merges = []
    apart = lambda a, b: sum(distance[i][j] for i in groups[a] for j in groups[b]) / len(groups[a]) / len(groups[b])  # noqa: E731
    while len(groups) > 1:
        height, a, b = min((apart(a, b), a, b) for a in groups for b in groups if a < b)
        groups[len(distance) + len(merges)] = groups.pop(a) + groups.pop(b)
        merges.append([a, b, height, len(groups[len(distance) + len(merges)])])
    return merges


class Study:
    def __init__(self, title, layers, heads, lengths, steps, sentences=None, shape="encoder-decoder"):
        self.noise = random.Random(7)
        self.steps = [round(2500 * i / max(1, steps - 1)) for i in range(steps)] if steps > 1 else [2500]
        kinds = {"encoder-decoder": KINDS, "decoder-only": KINDS[1:2], "encoder-only": KINDS[:1]}[shape]
        self.heads = []
        for kind, short, _ in kinds:
            for layer in range(layers):
                for head in range(heads):
                    self.heads.append(self.head(kind, short, layer, head, layers))
        self.sentences = [self.sentence(n, shape) for n in lengths] + (sentences or [])
        self.document = {
            "title": title, "run": f"runs/{title}",
            "model": {"parameters": 79134, "width": 64, "heads": heads,
                      "encoder_layers": layers if shape != "decoder-only" else 0,
                      "decoder_layers": layers if shape != "encoder-only" else 0},
            "data": {"sequences": 1000, "tokens": 11034},
            "whole": {"loss": 0.0123, "token_accuracy": 0.9991, "exact_match": 0.995},
            "looks": [{"name": name, "about": f"The {name.replace('_', ' ')} of a row of weights, in a sentence."}
                      for name in LOOKS],
            "sentences": self.sentences, "steps": self.steps,
        }
        self.fill(kinds)

    def head(self, kind, short, layer, head, layers):
        choice = {"encoder_self": ["diagonal", "previous token", "next token", "sink", "broad"],
                  "decoder_self": ["first token", "previous token", "diagonal", "fixed offset", "broad"],
                  "cross": ["reverse", "reverse", "last token", "broad", "first token"]}[kind]
        job = choice[(head + 2 * layer) % len(choice)]
        return {"label": f"{short}{layer}.{head}", "kind": kind, "layer": layer, "head": head, "job": job,
                "offset": -2 if job == "fixed offset" else 0, "strength": self.noise.uniform(3.5, 8),
                "onset": self.noise.uniform(0.15, 0.6) + 0.1 * layer / layers,
                "worth": 3 * self.noise.random() ** 3 if job != "broad" else 0.002}

    def sentence(self, n, shape):
        tokens = [self.noise.choice(LETTERS) for _ in range(n)]
        back = tokens[::-1]
        return {"source": tokens + ["</s>"] if shape != "decoder-only" else [],
                "input": ["<s>"] + back if shape != "encoder-only" else [],
                "output": back + ["</s>"] if shape != "encoder-only" else []}

    def sizes(self, kind, sentence):
        s, t = len(sentence["source"]), len(sentence["input"])
        return {"encoder_self": (s, s), "decoder_self": (t, t), "cross": (t, s)}[kind]

    def matrices(self, sentence, part):
        """All heads' weights when this part of the training (0 to 1) is done."""
        made = []
        for head in self.heads:
            grown = 1 / (1 + math.exp(-18 * (part - head["onset"])))
            noise = random.Random(head["label"])
            made.append(matrix(head["job"], head["kind"], *self.sizes(head["kind"], sentence),
                               head["strength"] * grown, noise))
        return made

    def fill(self, kinds):
        last = len(self.steps) - 1
        parts = [i / last if last else 1 for i in range(last + 1)]
        by_step = [[self.matrices(s, p) for p in parts] for s in self.sentences]
        looks = [[looks_of(m, h["kind"]) for m, h in zip(step, self.heads)] for step in by_step[0]]
        d = self.document
        d["weights"] = [[packed(step) for step in sentence] for sentence in by_step]
        d["norms"] = [packed([self.weighted(m) for m in sentence[-1]]) for sentence in by_step]
        d["heads"] = [self.described(h, looks[-1][i]) for i, h in enumerate(self.heads)]
        d["kinds"] = [self.kind(kind, title, by_step[0][-1]) for kind, _, title in kinds]
        d["redundancy"] = [self.redundancy(k, layer) for k in d["kinds"]
                           for layer in sorted({self.heads[i]["layer"] for i in k["heads"]})]
        d["subspaces"] = self.subspaces()
        d["removal"] = self.removals()
        d["emergence"] = self.emergence(parts, looks)
        for sentence in self.sentences:
            self.roll(sentence)

    @staticmethod
    def weighted(m):
        scaled = [[w * (1.5 if j % 3 else 0.4) for j, w in enumerate(row)] for row in m]
        return [[w / sum(row) for w in row] for row in scaled]

    def named(self, head, looks):
        score = looks[JOBS[head["job"]]]
        if head["job"] != "broad" and score < 0.4:
            return ("broad", looks["spread"]) if looks["spread"] > 0.8 else ("mixed", looks["confidence"])
        return head["job"], score

    def described(self, head, looks):
        job, score = self.named(head, looks)
        chance = {name: 0.15 if name in SHARES and looks[name] is not None else None for name in LOOKS}
        worth, whole = head["worth"], self.document["whole"]
        after = lambda part: {"loss": whole["loss"] + worth * part,  # noqa: E731
                              "token_accuracy": whole["token_accuracy"] * math.exp(-worth * part),
                              "exact_match": whole["exact_match"] * math.exp(-3 * worth * part)}
        decoder = head["kind"] != "encoder_self"
        return {"label": head["label"], "kind": head["kind"], "layer": head["layer"], "head": head["head"],
                "job": job, "score": score, "offset": head["offset"],
                "looks": {name: {"mean": looks[name], "deviation": 0.03 if looks[name] is not None else None,
                                 "chance": chance[name]} for name in LOOKS},
                "worth": {"off": after(1), "mean": after(0.8), "uniform": after(0.7), "gradient": -worth / 9,
                          "importance": worth / 5, "attribution": worth * 2 if decoder else None,
                          "copying": 0.3 if head["kind"] == "cross" else None}}

    def kind(self, kind, title, matrices):
        indices = [i for i, h in enumerate(self.heads) if h["kind"] == kind]
        distance = [[self.distance(matrices[a], matrices[b]) for b in indices] for a in indices]
        place = [[2 * row[0] - row[-1], row[len(row) // 2] - 0.5 * row[-1]] for row in distance]
        return {"kind": kind, "title": title, "heads": indices, "distance": distance, "place": place, "kept": 0.87,
                "merges": clusters(distance)}

    @staticmethod
    def distance(a, b):
        """The mean over some rows of the square root of the Jensen-Shannon divergence in bits."""
        total, rows = 0, range(0, len(a), max(1, len(a) // 6))
        for row in rows:
            p, q, bits = a[row], b[row], 0
            for x, y in zip(p, q):
                m = (x + y) / 2
                bits += sum(z / 2 * math.log2(z / m) for z in (x, y) if z > 0)
            total += math.sqrt(max(0, bits))
        return total / len(rows)

    def redundancy(self, kind, layer):
        own = [k for k, i in enumerate(kind["heads"]) if self.heads[i]["layer"] == layer]
        pairs = [kind["distance"][a][b] for a in own for b in own if a != b]
        return {"kind": kind["kind"], "layer": layer, "value": 1 - sum(pairs) / len(pairs) if pairs else None}

    def subspaces(self):
        n = len(self.heads)
        square = [[1.0 if a == b else 0.2 + 0.5 * ((a * 31 + b * 31 + a * b) % 17) / 17 for b in range(n)]
                  for a in range(n)]
        return {"query": square, "key": square, "own": [0.3 + 0.4 * (a % 3) / 3 for a in range(n)]}

    def removals(self):
        n, whole = len(self.heads), self.document["whole"]
        by_worth = sorted(range(n), key=lambda i: self.heads[i]["worth"])
        shuffled = sorted(by_worth, key=lambda i: self.heads[i]["worth"] + 0.3 * (i * 7 % 5))
        made = {}
        for name, order, ease in (("single", by_worth, 1.3), ("importance", shuffled, 1.6), ("greedy", by_worth, 1)):
            lost, after = 0, []
            for i in order:
                lost += self.heads[i]["worth"] * ease
                after.append({"loss": whole["loss"] + lost, "token_accuracy": whole["token_accuracy"] * math.exp(-lost / 3),
                              "exact_match": whole["exact_match"] * math.exp(-2 * lost)})
            made[name] = {"order": order, "after": after}
        return made

    def emergence(self, parts, looks):
        done = [1 / (1 + math.exp(-14 * (p - 0.5))) for p in parts]
        heads = []
        for i, head in enumerate(self.heads):
            named = [self.named(head, step[i]) for step in looks]
            heads.append({"job": [job for job, _ in named], "score": [score for _, score in named],
                          "looks": {name: [step[i][name] for step in looks] for name in LOOKS}})
        return {"loss": [2.3 - 2.2877 * x for x in done], "exact_match": [0.995 * x ** 3 for x in done],
                "token_accuracy": [0.1 + 0.899 * x for x in done], "heads": heads}

    def roll(self, sentence):
        """Not the true rollout: half of itself, half of one head's."""
        made = {}
        for name, kind in (("encoder", "encoder_self"), ("target", "decoder_self"), ("source", "cross")):
            rows, columns = self.sizes(kind, sentence)
            if rows and columns:
                m = matrix("diagonal" if name != "source" else "reverse", kind, rows, columns, 3, random.Random(3))
                made[name] = packed([[[w / (2 if name != "encoder" else 1) for w in row] for row in m]])
        sentence["rollout"] = made


def hostile():
    """A study whose every text is out to break the page."""
    tokens = HOSTILE + ["</s>"]
    made = Study("</title><script>alert(1)</script>", 1, 2, [], 3,
                 [{"source": tokens, "input": ["<s>"] + HOSTILE, "output": tokens}]).document
    made["run"] = "runs/\"><img src=x onerror=alert(1)>"
    return made


def missing():
    """A study in which everything that may be null is, without snapshots and with one head a layer."""
    made = Study("bare", 2, 1, [4], 1).document
    for head in made["heads"]:
        for look in head["looks"].values():
            look.update(mean=None, deviation=None, chance=None)
        head["worth"] = {name: None if not isinstance(value, dict) else dict.fromkeys(value)
                         for name, value in head["worth"].items()}
        head["score"] = None
    made["whole"] = dict.fromkeys(made["whole"])
    for removal in made["removal"].values():
        removal["after"] = [dict.fromkeys(after) for after in removal["after"]]
    for series in ("loss", "exact_match", "token_accuracy"):
        made["emergence"][series] = [None]
    for kind in made["kinds"]:
        kind["distance"] = [[None if a != b else 0 for b in range(2)] for a in range(2)]
        kind["kept"] = None
    n = len(made["heads"])
    made["subspaces"] = {"query": [[None] * n] * n, "key": [[None] * n] * n, "own": [None] * n}
    return made


def signed():
    """Weights that may be below 0: a byte is 128 and 127 times the weight's part of 1.5."""
    made = Study("talking", 1, 2, [6], 2).document
    made["largest"] = [[1.5] * len(made["steps"]) for _ in made["sentences"]]
    return made


STUDIES = {
    "signed": signed,
    "small": lambda: Study("reverse", 2, 4, [7, 9, 5], 21).document,
    "hostile": hostile,
    "missing": missing,
    "large": lambda: Study("language", 12, 12, [63], 2, shape="decoder-only").document,
    "long": lambda: Study("long", 3, 4, [63, 6], 4).document,
    "classifier": lambda: Study("classifier", 2, 4, [8], 5, shape="encoder-only").document,
}

if __name__ == "__main__":
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(STUDIES[sys.argv[2] if len(sys.argv) > 2 else "small"](), file)
