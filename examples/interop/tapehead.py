"""tapehead's runs in PyTorch: the same model, weights and tokens. Needs numpy and torch.

    model, source, target = open_run("runs/names")
    model.decode_lines(source, target, ["Iceland"])

The files are described in docs/run-directory.md.
"""

import json
import math
import os
import re
import struct
import sys
import unicodedata
from pathlib import Path

try:
    import numpy
    import torch
    from torch import nn
    from torch.nn import functional as F
except ImportError as error:
    sys.exit(
        f"{os.path.basename(sys.argv[0])}: {error.name} is missing:"
        " apt-get install python3-torch, and run this with /usr/bin/python3"
    )

SPECIALS = ["<pad>", "<bos>", "<eos>", "<unk>"]
PAD, BOS, EOS, UNK = range(4)
IGNORED = -100  # what nn.CrossEntropyLoss passes over

# ---- safetensors: eight bytes of header length, a JSON header, the elements ------------------------

DTYPES = {"F64": "<f8", "F32": "<f4", "I32": "<i4", "U8": "|u1", "BOOL": "|b1"}


def read_safetensors(path):
    """The tensors by name, as numpy arrays."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        array = numpy.frombuffer(data[begin:end], DTYPES[entry["dtype"]])
        tensors[name] = array.reshape(entry["shape"]).copy()
    return tensors


def write_safetensors(path, tensors, metadata=None):
    """Atomically: under another name first."""
    names = {numpy.dtype(text): name for name, text in DTYPES.items()}
    header, offset = {"__metadata__": metadata} if metadata else {}, 0
    for name, array in tensors.items():
        header[name] = {
            "dtype": names[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(f"{path}.new", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in tensors.values():
            file.write(array.tobytes())
    os.replace(f"{path}.new", path)


# ---- vocabularies ----------------------------------------------------------------------------------

# Unicode's property White_Space; Python's str.split also takes U+001C to U+001F.
SPACE = re.compile("[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")


def words_of(text):
    return [word for word in SPACE.split(unicodedata.normalize("NFC", text)) if word]


def plain(unit, text):
    """The text that its tokens give back: in normal form C, and where words count, one space between them."""
    return unicodedata.normalize("NFC", text) if unit == "character" else " ".join(words_of(text))


class Vocabulary:
    """Tokens and their ids: characters, words, or pieces of words (byte-pair encoding)."""

    def __init__(self, unit, tokens, merges=()):
        self.unit, self.tokens = unit, tokens
        self.ids = {token: i for i, token in enumerate(tokens) if i >= len(SPECIALS)}
        self.ranks = {tuple(merge.split(" ", 1)): rank for rank, merge in enumerate(merges)}
        self.pieces = {}  # of each word met so far

    def __len__(self):
        return len(self.tokens)

    def cut(self, text):
        """The text's tokens, whether the vocabulary has them or not."""
        if self.unit == "character":
            return list(plain(self.unit, text))
        words = words_of(text)
        return words if self.unit == "word" else [piece for word in words for piece in self.pieces_of(word)]

    def pieces_of(self, word):
        """Byte-pair encoding: the merge learned first is applied first. A space marks the word's end."""
        if word not in self.pieces:
            row = [*word, " "]
            while pairs := self.ranks.keys() & zip(row, row[1:]):
                merge, joined, i = min(pairs, key=self.ranks.get), [], 0
                while i < len(row):
                    step = 2 if tuple(row[i : i + 2]) == merge else 1
                    joined.append("".join(row[i : i + step]))
                    i += step
                row = joined
            self.pieces[word] = row
        return self.pieces[word]

    def encode_lines(self, lines):
        return [[self.ids.get(token, UNK) for token in self.cut(line)] for line in lines]

    def decode(self, ids):
        """The ids' text up to the first <eos>; other special tokens are left out."""
        ids = ids[: ids.index(EOS)] if EOS in ids else ids
        text = (" " if self.unit == "word" else "").join([self.tokens[i] for i in ids if i >= len(SPECIALS)])
        return " ".join(word for word in text.split(" ") if word) if self.unit == "bpe" else text

    def save(self, path):
        kept = {"format": "tapehead vocabulary", "version": 1, "unit": self.unit, "tokens": self.tokens}
        Path(path).write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")


def open_vocabulary(run, side):
    """side: "source" or "target"."""
    kept = json.loads((Path(run) / f"vocab.{side}.json").read_text(encoding="utf-8"))
    return Vocabulary(kept["unit"], kept["tokens"], kept.get("merges", ()))


# ---- the model -------------------------------------------------------------------------------------

ACTIVATIONS = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu-tanh": lambda x: F.gelu(x, approximate="tanh"),
}


def sinusoids(length, width):
    """[length, width]: Vaswani et al. 2017, section 3.5."""
    column = torch.arange(width)
    wavelength = 10000.0 ** ((column - column % 2).double() / width)
    angle = torch.arange(length).double().unsqueeze(1) / wavelength
    return torch.where(column % 2 == 1, angle.cos(), angle.sin())


# What PyTorch's layers have no place for, and the settings of a run without it.
PLAIN = {"attention": ["full"], "cross-attention": ["auto", "full"], "reversible": ["no"], "pruned": [""]}


def check_plain(settings, plain=PLAIN):
    for name, values in plain.items():
        found = settings.get(name, values[0])
        if found not in values:
            raise ValueError(f"{name} {found}: PyTorch's layers have no place for it")


class Transformer(nn.Module):
    """What `settings` (config.json) say, of PyTorch's own layers. Its parameters have tapehead's names."""

    def __init__(self, settings, source_vocabulary, target_vocabulary):
        super().__init__()
        width, positions = settings["width"], settings["positions"]
        check_plain(settings)
        self.longest = settings["max-length"] + 1  # with <eos> or <bos>
        self.scale = math.sqrt(width)
        pre = settings["norm"] == "pre"
        final_norm = settings.get("final-norm", "auto")
        layer = dict(
            d_model=width,
            nhead=settings["heads"],
            dim_feedforward=settings["feed-forward"],
            dropout=settings["dropout"],
            activation=ACTIVATIONS[settings["activation"]],
            norm_first=pre,
            batch_first=True,
        )

        def norm():
            return nn.LayerNorm(width) if final_norm == "yes" or (pre and final_norm == "auto") else None

        # Of two names of one parameter, as with tied embeddings, the file has the one that comes first here.
        tie = settings.get("tie", "none")
        self.target_embedding = nn.Embedding(target_vocabulary, width)
        tied_source = tie in ("source", "all")
        self.source_embedding = (
            self.target_embedding if tied_source else nn.Embedding(source_vocabulary, width)
        )
        encoder_layer = nn.TransformerEncoderLayer(**layer)
        decoder_layer = nn.TransformerDecoderLayer(**layer)
        self.encoder = nn.TransformerEncoder(
            encoder_layer, settings["encoder-layers"], norm(), enable_nested_tensor=False
        )
        self.decoder = nn.TransformerDecoder(decoder_layer, settings["decoder-layers"], norm())
        self.output = nn.Linear(width, target_vocabulary)
        if tie in ("output", "all"):
            self.output.weight = self.target_embedding.weight
        self.dropout = nn.Dropout(settings["dropout"])
        for side in ("source_positions", "target_positions"):
            if positions == "learned":
                self.register_parameter(side, nn.Parameter(torch.zeros(self.longest, width)))
            elif positions in ("sinusoidal", "none"):
                table = sinusoids(self.longest, width) * (positions == "sinusoidal")
                self.register_buffer(side, table, persistent=False)
            else:
                raise ValueError(f"positions {positions}: want sinusoidal, learned or none")
        self.to(torch.get_default_dtype())

    def embed(self, embedding, positions, ids):
        return self.dropout(embedding(ids) * self.scale + positions[: ids.shape[1]])

    def encode(self, source):
        """source [B,S], padded with PAD: the memory [B,S,E] and where it is padding."""
        padding = source == PAD
        x = self.embed(self.source_embedding, self.source_positions, source)
        return self.encoder(x, src_key_padding_mask=padding), padding

    def decode(self, memory, padding, target):
        """target [B,T], what stands before each wanted token: what the output layer reads, [B,T,E]."""
        length = target.shape[1]
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        x = self.embed(self.target_embedding, self.target_positions, target)
        return self.decoder(x, memory, tgt_mask=later, memory_key_padding_mask=padding)

    def forward(self, source, target):
        """Logits [B,T,V]."""
        return self.output(self.decode(*self.encode(source), target))

    @torch.no_grad()
    def greedy(self, source):
        """The most likely token each time, until <eos> or no place is left: ids [B,longest], then <eos>.

        Nothing is kept from token to token: `translate decode` is for more than a few lines."""
        memory, padding = self.encode(source)
        tokens = torch.full((len(source), self.longest + 1), EOS)
        tokens[:, 0] = BOS
        going = torch.arange(len(source))
        for length in range(1, self.longest + 1):
            last = self.decode(memory[going], padding[going], tokens[going, :length])[:, -1]
            tokens[going, length] = self.output(last).argmax(-1)
            going = going[tokens[going, length] != EOS]
            if not len(going):
                break
        return tokens[:, 1:]

    def decode_lines(self, source, target, lines, at_once=64):
        """Greedy outputs for lines of text; an empty line gives an empty one."""
        self.eval()
        ids = source.encode_lines(lines)
        made = [""] * len(lines)
        order = sorted((i for i in range(len(ids)) if ids[i]), key=lambda i: len(ids[i]))
        for begin in range(0, len(order), at_once):
            some = order[begin : begin + at_once]
            for i, row in zip(some, self.greedy(source_batch([ids[i] for i in some])).tolist()):
                made[i] = target.decode(row)
        return made

    def logits_of(self, pairs, at_once=32):
        """pairs of ids: [pairs, longest target + 1, V] as `translate logits` writes it, NaN after <eos>."""
        self.eval()
        length = max(len(target) for _, target in pairs) + 1
        dtype = self.output.weight.dtype
        out = torch.full((len(pairs), length, self.output.out_features), math.nan, dtype=dtype)
        for begin in range(0, len(pairs), at_once):
            some = pairs[begin : begin + at_once]
            with torch.no_grad():
                logits = self(*batch(some)[:2])
            for i, (_, target) in enumerate(some):
                out[begin + i, : len(target) + 1] = logits[i, : len(target) + 1]
        return out.numpy()


def pad(rows, value):
    length = max(map(len, rows))
    return torch.tensor([row + [value] * (length - len(row)) for row in rows])


def source_batch(sources):
    return pad([source + [EOS] for source in sources], PAD)


def batch(pairs):
    """Source [B,S], what the decoder reads [B,T], what it should say [B,T] with IGNORED as padding."""
    return (
        source_batch([source for source, _ in pairs]),
        pad([[BOS] + target for _, target in pairs], PAD),
        pad([target + [EOS] for _, target in pairs], IGNORED),
    )


# ---- a run -----------------------------------------------------------------------------------------


def read_settings(run):
    return json.loads((Path(run) / "config.json").read_text(encoding="utf-8"))


def read_pairs(path):
    """Lines of source<TAB>target."""
    text = Path(path).read_text(encoding="utf-8-sig")
    return [tuple(line.rstrip("\r").split("\t")) for line in text.rstrip("\n").split("\n")]


def encode_pairs(pairs, source, target):
    sources = source.encode_lines([pair[0] for pair in pairs])
    return list(zip(sources, target.encode_lines([pair[1] for pair in pairs])))


def save_weights(model, path, step):
    arrays = {name: weight.detach().contiguous().numpy() for name, weight in model.named_parameters()}
    write_safetensors(path, arrays, {"format": "tapehead model", "step": str(step)})


def shut_heads(weights):
    """Gates of heads go into the columns of the output projection that read them.

    At evaluation a gate is min(1, max(0, 1.2 sigmoid(logit) - 0.1)): Louizos et al. 2018, equation 13."""
    ending = "gate_logits"
    for name in [name for name in weights if name.endswith(ending)]:
        gates = (1.2 * weights.pop(name).double().sigmoid() - 0.1).clamp(0, 1)
        projection = name[: -len(ending)] + "out_proj.weight"
        columns = weights[projection].shape[1] // len(gates)
        weights[projection] = weights[projection] * gates.repeat_interleave(columns)
    return weights


def load_weights(model, path):
    """Also across types: a model in double takes the floats as they are."""
    weights = shut_heads({name: torch.from_numpy(array) for name, array in read_safetensors(path).items()})
    named = dict(model.named_parameters())
    tied = {name: weights["target_embedding.weight"] for name in model.state_dict() if name not in named}
    model.load_state_dict(weights | tied)


def open_run(run, weights="model.safetensors"):
    """The model, to evaluate, and its vocabularies.

    In double after torch.set_default_dtype(torch.float64)."""
    source, target = open_vocabulary(run, "source"), open_vocabulary(run, "target")
    model = Transformer(read_settings(run), len(source), len(target))
    load_weights(model, Path(run) / weights)
    return model.eval(), source, target
