#!/usr/bin/python3
"""Writes the reference files of the tests, tests/data/*.safetensors, with PyTorch in float64.

    /usr/bin/python3 tests/data/make_reference.py [--out FOLDER] [--seed N]

Every number that goes in (parameters, inputs, upstream gradients) is rounded to float32 first, so
that a test in float starts from exactly the same numbers. tests/data/README.md describes the files.
"""

import argparse
import functools
import itertools
import json
import math
import os
import struct

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

WIDTH = 8
HEADS = 2
FEED_FORWARD = 16
PADDING, BEGIN, END = 0, 1, 2  # token ids

SAFETENSORS_NAMES = {"float64": "F64", "float32": "F32", "int32": "I32", "uint8": "U8"}


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description="Writes the reference files of the tests.")
    parser.add_argument("--out", default=here, metavar="FOLDER", help="where to (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="other numbers (default: 0)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    for write, seed in (
        (write_mha_self, 1),
        (write_mha_cross, 2),
        (write_encoder_layer_post, 3),
        (write_encoder_layer_pre, 4),
        (write_decoder_layer_post, 5),
        (write_decoder_layer_pre, 6),
        (write_transformer, 7),
        (write_transformer_adam, 7),  # starts from the file before
        (write_ops, 8),
        (write_heads, 9),
    ):
        write(options.out, options.seed + seed)


# ---- one function a file -------------------------------------------------------------------------


def write_mha_self(folder, seed):
    """Self-attention: a causal mask, and a second sequence with two positions of padding."""
    numbers = Numbers(seed)
    batch, time, lengths = 2, 5, [5, 3]
    attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    numbers.fill_parameters(attention)
    x = numbers.tensor(batch, time, WIDTH)
    upstream = numbers.normal(batch, time, WIDTH)

    output, weights = attention(
        x,
        x,
        x,
        attn_mask=causal_mask(time),
        key_padding_mask=padding_mask(lengths, time),
        average_attn_weights=False,
    )
    (output * upstream).sum().backward()

    tensors = {
        "input.x": x,
        "lengths": ids(lengths),
        "output": output,
        "weights": weights,
        "upstream": upstream,
        "grad.x": x.grad,
        **parameters_and_gradients(attention),
    }
    save(folder, "mha_self", tensors, numbers, heads=HEADS, causal="true")


def write_mha_cross(folder, seed):
    """Attention from one sequence to a longer one, whose second example is padded."""
    numbers = Numbers(seed)
    batch, query_time, memory_time, lengths = 2, 4, 6, [6, 4]
    attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    numbers.fill_parameters(attention)
    query = numbers.tensor(batch, query_time, WIDTH)
    memory = numbers.tensor(batch, memory_time, WIDTH)
    upstream = numbers.normal(batch, query_time, WIDTH)

    output, weights = attention(
        query,
        memory,
        memory,
        key_padding_mask=padding_mask(lengths, memory_time),
        average_attn_weights=False,
    )
    (output * upstream).sum().backward()

    tensors = {
        "input.query": query,
        "input.memory": memory,
        "lengths": ids(lengths),
        "output": output,
        "weights": weights,
        "upstream": upstream,
        "grad.query": query.grad,
        "grad.memory": memory.grad,
        **parameters_and_gradients(attention),
    }
    save(folder, "mha_cross", tensors, numbers, heads=HEADS, causal="false")


def write_encoder_layer_post(folder, seed):
    write_encoder_layer(folder, "encoder_layer_post", seed, norm_first=False, activation="relu")


def write_encoder_layer_pre(folder, seed):
    write_encoder_layer(folder, "encoder_layer_pre", seed, norm_first=True, activation="gelu")


def write_encoder_layer(folder, name, seed, norm_first, activation):
    numbers = Numbers(seed)
    batch, time, lengths = 2, 5, [5, 3]
    layer = nn.TransformerEncoderLayer(
        WIDTH,
        HEADS,
        FEED_FORWARD,
        dropout=0.0,
        activation=activation,
        batch_first=True,
        norm_first=norm_first,
    )
    numbers.fill_parameters(layer)
    x = numbers.tensor(batch, time, WIDTH)
    upstream = without_padding(numbers.normal(batch, time, WIDTH), lengths)

    output = layer(x, src_key_padding_mask=padding_mask(lengths, time))
    (output * upstream).sum().backward()

    tensors = {
        "input.x": x,
        "lengths": ids(lengths),
        "output": output,
        "upstream": upstream,
        "grad.x": x.grad,
        **parameters_and_gradients(layer),
    }
    save(folder, name, tensors, numbers, **layer_settings(norm_first, activation))


def write_decoder_layer_post(folder, seed):
    write_decoder_layer(folder, "decoder_layer_post", seed, norm_first=False, activation="relu")


def write_decoder_layer_pre(folder, seed):
    write_decoder_layer(folder, "decoder_layer_pre", seed, norm_first=True, activation="gelu")


def write_decoder_layer(folder, name, seed, norm_first, activation):
    numbers = Numbers(seed)
    batch, time, lengths = 2, 5, [5, 3]
    memory_time, memory_lengths = 6, [6, 4]
    layer = nn.TransformerDecoderLayer(
        WIDTH,
        HEADS,
        FEED_FORWARD,
        dropout=0.0,
        activation=activation,
        batch_first=True,
        norm_first=norm_first,
    )
    numbers.fill_parameters(layer)
    x = numbers.tensor(batch, time, WIDTH)
    memory = numbers.tensor(batch, memory_time, WIDTH)
    upstream = without_padding(numbers.normal(batch, time, WIDTH), lengths)

    output = layer(
        x,
        memory,
        tgt_mask=causal_mask(time),
        tgt_key_padding_mask=padding_mask(lengths, time),
        memory_key_padding_mask=padding_mask(memory_lengths, memory_time),
    )
    (output * upstream).sum().backward()

    tensors = {
        "input.x": x,
        "input.memory": memory,
        "lengths": ids(lengths),
        "memory_lengths": ids(memory_lengths),
        "output": output,
        "upstream": upstream,
        "grad.x": x.grad,
        "grad.memory": memory.grad,
        **parameters_and_gradients(layer),
    }
    save(folder, name, tensors, numbers, **layer_settings(norm_first, activation))


def write_transformer(folder, seed):
    """A whole encoder-decoder: loss, logits and every gradient."""
    numbers = Numbers(seed)
    model = Translator()
    numbers.fill_parameters(model)
    sentences = Sentences(numbers)

    logits, memory = model(sentences)
    logits.retain_grad()
    memory.retain_grad()
    loss = translation_loss(logits, sentences)
    loss.backward()

    tensors = {
        "source": ids(sentences.source),
        "target_in": ids(sentences.target_in),
        "target_out": ids(sentences.target_out),
        "source_lengths": ids(sentences.source_lengths),
        "target_lengths": ids(sentences.target_lengths),
        "positions": sinusoids(sentences.source.shape[1], WIDTH),
        "memory": memory,
        "logits": logits,
        "loss": loss,
        "grad.memory": memory.grad,
        "grad.logits": logits.grad,
        **parameters_and_gradients(model),
    }
    save(folder, "transformer", tensors, numbers, **TRANSFORMER_SETTINGS)


def write_transformer_adam(folder, seed):
    """The model of write_transformer, trained for ten steps by Adam; again, afresh, by AdamW."""
    tensors = {}
    for name, optimizer_class, weight_decay, clip_norm in (
        ("adam", torch.optim.Adam, 0.0, None),
        ("adamw", torch.optim.AdamW, 0.1, 0.5),
    ):
        numbers = Numbers(seed)  # the same parameters and sentences each time
        model = Translator()
        numbers.fill_parameters(model)
        sentences = Sentences(numbers)
        optimizer = optimizer_class(
            model.parameters(), lr=1e-2, betas=(0.9, 0.98), eps=1e-9, weight_decay=weight_decay
        )
        losses, gradient_norms = [], []
        for _ in range(10):
            optimizer.zero_grad()
            logits, _ = model(sentences)
            loss = translation_loss(logits, sentences)
            loss.backward()
            losses.append(loss.item())
            if clip_norm is not None:
                norm = nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
                gradient_norms.append(norm.item())
            optimizer.step()
        tensors[f"{name}.losses"] = torch.tensor(losses)
        if clip_norm is not None:
            tensors[f"{name}.gradient_norms"] = torch.tensor(gradient_norms)
        for parameter_name, parameter in model.named_parameters():
            tensors[f"{name}.{parameter_name}"] = parameter
    save(
        folder,
        "transformer_adam",
        tensors,
        numbers,
        steps=10,
        learning_rate=1e-2,
        beta1=0.9,
        beta2=0.98,
        epsilon=1e-9,
        adamw_weight_decay=0.1,
        adamw_clip_norm=0.5,
        **TRANSFORMER_SETTINGS,
    )


def write_ops(folder, seed):
    """Single operations, each over the last axis where it has an axis."""
    numbers = Numbers(seed)
    tensors = {}
    record = functools.partial(record_function, tensors, numbers)

    for name, function in (("softmax", F.softmax), ("log_softmax", F.log_softmax)):
        x = numbers.tensor(2, 3, 7, scale=3.0)
        with torch.no_grad():
            x[1, 2] = 1000.0 + torch.arange(7) / 2  # exp() of it overflows
        record(name, lambda x: function(x, dim=-1), x=x)

    weight, bias = numbers.tensor(WIDTH), numbers.tensor(WIDTH)
    record(
        "layer_norm",
        lambda x, weight, bias: F.layer_norm(x, (WIDTH,), weight, bias, eps=1e-5),
        x=numbers.tensor(2, 3, WIDTH),
        weight=weight,
        bias=bias,
    )

    for name, variant in (("gelu_tanh", "tanh"), ("gelu_erf", "none")):
        x = numbers.tensor(4, 9, scale=2.0)
        with torch.no_grad():
            x[0] = torch.tensor([-30.0, -10.0, -5.0, -0.5, 0.0, 0.5, 5.0, 10.0, 30.0])
        record(name, lambda x: F.gelu(x, approximate=variant), x=x)

    record(
        "cross_entropy",
        lambda logits, targets: F.cross_entropy(
            logits, targets, ignore_index=PADDING, label_smoothing=0.1
        ),
        logits=numbers.tensor(6, 7, scale=2.0),
        targets=torch.tensor([3, PADDING, 6, 1, PADDING, 2]),
    )

    x = numbers.tensor(4, 5)
    with torch.no_grad():
        x[1] = torch.tensor([0.5, 2.0, -1.0, 2.0, 1.0])  # two are largest
        x[2] = 0.25  # all are
    record("amax", lambda x: x.amax(dim=-1), x=x)

    save(
        folder,
        "ops",
        tensors,
        numbers,
        layer_norm_epsilon=1e-5,
        cross_entropy_label_smoothing=0.1,
        cross_entropy_ignored_target=PADDING,
        cross_entropy_reduction="mean over the targets that are not ignored",
    )


def write_heads(folder, seed):
    """Hard concrete gates, with the noise of tapehead's first draw, and the disagreement of heads."""
    numbers = Numbers(seed)
    tensors = {}
    record = functools.partial(record_function, tensors, numbers)
    rows, columns = 5, 7
    key = {"seed": 5, "step": 9}
    stream = 1 << 63 | key["step"] << 20  # of dropout, of this step, of its first draw
    noise = torch.tensor([philox_uniform(key["seed"], stream, i) for i in range(rows * columns)])
    noise = noise.reshape(rows, columns)

    def stretched(logits):
        return (logits.sigmoid() * 1.2 - 0.1).clamp(0, 1)

    def noisy(logits):
        return stretched((noise.log() - (1 - noise).log() + logits) / (2 / 3))

    def expected_open(logits):
        return (logits - 2 / 3 * math.log(0.1 / 1.1)).sigmoid().sum()

    for name, function in (("noisy", noisy), ("quiet", stretched), ("expected_open", expected_open)):
        record(name, function, logits=numbers.tensor(rows, columns, scale=2.0))

    def product(x, y, dim):
        return (x * y).sum(dim)

    def disagreement(x, lengths, likeness):
        counted = ~padding_mask(lengths.tolist(), x.shape[2])
        pairs = itertools.permutations(range(x.shape[1]), 2)
        return -torch.stack([likeness(x[:, i], x[:, j], dim=-1)[counted].mean() for i, j in pairs]).mean()

    lengths = torch.tensor([4, 2])
    for name, likeness in (
        ("subspace", F.cosine_similarity),
        ("positions", product),
        ("outputs", F.cosine_similarity),
    ):
        record(
            name,
            functools.partial(disagreement, likeness=likeness),
            x=numbers.tensor(2, 3, 4, 5),
            lengths=lengths,
        )
    save(folder, "heads", tensors, numbers, tape_seed=key["seed"], tape_step=key["step"])


def record_function(tensors, numbers, name, function, **inputs):
    """Runs `function(**inputs)`; stores what went in, what came out and the gradients."""
    output = function(**inputs)
    upstream = numbers.normal(*output.shape)
    (output * upstream).sum().backward()
    tensors[f"{name}.output"] = output
    tensors[f"{name}.upstream"] = upstream
    for input_name, value in inputs.items():
        if value.is_floating_point():
            tensors[f"{name}.input.{input_name}"] = value
            tensors[f"{name}.grad.{input_name}"] = value.grad
        else:
            tensors[f"{name}.input.{input_name}"] = ids(value)


def philox_uniform(seed, stream, position):
    """Philox4x32-10 (Salmon et al. 2011): 53 bits of the block at this position, from 0 to 1."""
    low, words = 0xFFFFFFFF, [position, position >> 32, stream, stream >> 32]
    c, k = [word & 0xFFFFFFFF for word in words], [seed & low, seed >> 32]
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(q >> 32) ^ c[1] ^ k[0], q & low, (p >> 32) ^ c[3] ^ k[1], p & low]
        k = [(k[0] + 0x9E3779B9) & low, (k[1] + 0xBB67AE85) & low]
    return ((c[0] | c[1] << 32) >> 11) * 2.0**-53


# ---- the translation model -----------------------------------------------------------------------

LAYERS = 2
SOURCE_VOCABULARY = 11
TARGET_VOCABULARY = 13
LABEL_SMOOTHING = 0.1
TRANSFORMER_SETTINGS = {
    "width": WIDTH,
    "heads": HEADS,
    "layers": LAYERS,
    "feed_forward": FEED_FORWARD,
    "activation": "relu",
    "norm_first": "false",
    "final_norms": "true",
    "layer_norm_epsilon": 1e-5,
    "embedding_scale": "sqrt(width)",
    "label_smoothing": LABEL_SMOOTHING,
    "padding_id": PADDING,
}


class Translator(nn.Module):
    """Vaswani et al. 2017, with the two norms that nn.Transformer puts after its stacks."""

    def __init__(self):
        super().__init__()
        self.source_embedding = nn.Embedding(SOURCE_VOCABULARY, WIDTH)
        self.target_embedding = nn.Embedding(TARGET_VOCABULARY, WIDTH)
        self.transformer = nn.Transformer(
            WIDTH, HEADS, LAYERS, LAYERS, FEED_FORWARD, dropout=0.0, batch_first=True
        )
        self.output = nn.Linear(WIDTH, TARGET_VOCABULARY)

    def forward(self, sentences):
        source, target = sentences.source, sentences.target_in
        source_padding = padding_mask(sentences.source_lengths, source.shape[1])
        memory = self.transformer.encoder(
            embed(self.source_embedding, source), src_key_padding_mask=source_padding
        )
        decoded = self.transformer.decoder(
            embed(self.target_embedding, target),
            memory,
            tgt_mask=causal_mask(target.shape[1]),
            memory_key_padding_mask=source_padding,
        )
        return self.output(decoded), memory


class Sentences:
    """Three pairs of sentences of random words, padded to the longest."""

    def __init__(self, numbers):
        self.source_lengths = [6, 4, 5]
        self.target_lengths = [5, 5, 3]
        self.source = torch.full((3, 6), PADDING)
        self.target_in = torch.full((3, 5), PADDING)
        self.target_out = torch.full((3, 5), PADDING)
        for row, length in enumerate(self.source_lengths):
            self.source[row, :length] = numbers.words(length, SOURCE_VOCABULARY)
        for row, length in enumerate(self.target_lengths):
            words = numbers.words(length - 1, TARGET_VOCABULARY)
            self.target_in[row, 0] = BEGIN
            self.target_in[row, 1:length] = words
            self.target_out[row, : length - 1] = words
            self.target_out[row, length - 1] = END


def embed(embedding, tokens):
    return embedding(tokens) * math.sqrt(WIDTH) + sinusoids(tokens.shape[1], WIDTH)


def sinusoids(time, width):
    """Vaswani et al. 2017, section 3.5: sines in the even columns, cosines in the odd ones."""
    position = torch.arange(time, dtype=torch.float64).unsqueeze(1)
    even_column = torch.arange(0, width, 2, dtype=torch.float64)
    angle = position / 10000.0 ** (even_column / width)
    table = torch.empty(time, width)
    table[:, 0::2] = torch.sin(angle)
    table[:, 1::2] = torch.cos(angle)
    return table


def translation_loss(logits, sentences):
    return F.cross_entropy(
        logits.flatten(0, 1),
        sentences.target_out.flatten(),
        ignore_index=PADDING,
        label_smoothing=LABEL_SMOOTHING,
    )


# ---- masks and lists -----------------------------------------------------------------------------


def causal_mask(time):
    """[time, time], true where the query (row) may not look at the key (column)."""
    return torch.ones(time, time, dtype=torch.bool).triu(diagonal=1)


def padding_mask(lengths, time):
    """[batch, time], true at the positions after each sequence's end."""
    return torch.arange(time).unsqueeze(0) >= torch.tensor(lengths).unsqueeze(1)


def without_padding(upstream, lengths):
    """Zeroes the gradient that flows into padded positions: their outputs mean nothing."""
    return upstream.masked_fill(padding_mask(lengths, upstream.shape[1]).unsqueeze(-1), 0.0)


def ids(values):
    return torch.as_tensor(values).to(torch.int32)


def parameters_and_gradients(module):
    tensors = {}
    for name, parameter in module.named_parameters():
        tensors[f"param.{name}"] = parameter
        tensors[f"grad.{name}"] = parameter.grad
    return tensors


def layer_settings(norm_first, activation):
    return {
        "heads": HEADS,
        "norm_first": str(norm_first).lower(),
        "activation": "gelu_erf" if activation == "gelu" else activation,
        "layer_norm_epsilon": 1e-5,
    }


# ---- random numbers ------------------------------------------------------------------------------


class Numbers:
    """A stream of random numbers, fixed by its seed.

    It draws from NumPy's RandomState, whose streams are frozen, so that the same numbers go in
    under another release of PyTorch.
    """

    def __init__(self, seed):
        self.seed = seed
        self.state = np.random.RandomState(seed)

    def normal(self, *shape, scale=1.0, mean=0.0):
        values = mean + self.state.standard_normal(shape) * scale
        return torch.from_numpy(np.asarray(values, dtype=np.float32).astype(np.float64))

    def tensor(self, *shape, scale=1.0):
        """An input: normal numbers whose gradient is wanted."""
        return self.normal(*shape, scale=scale).requires_grad_()

    def words(self, count, vocabulary):
        return torch.from_numpy(self.state.randint(END + 1, vocabulary, size=count))

    def fill_parameters(self, module):
        """Leaves no parameter at a value, like a bias of zero, that would hide a mistake."""
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if parameter.dim() > 1:
                    fan_in = parameter.shape[1]
                    parameter.copy_(self.normal(*parameter.shape, scale=fan_in**-0.5))
                elif "norm" in name and name.endswith("weight"):
                    parameter.copy_(self.normal(*parameter.shape, scale=0.25, mean=1.0))
                else:
                    parameter.copy_(self.normal(*parameter.shape, scale=0.25))


# ---- the safetensors format ----------------------------------------------------------------------


def save(folder, name, tensors, numbers, **settings):
    """Writes FOLDER/NAME.safetensors: the header's length, the header in JSON, the numbers."""
    arrays = {key: t.detach().numpy() for key, t in tensors.items()}
    for key, array in arrays.items():
        if not np.isfinite(array).all():
            raise SystemExit(f"{name}: {key} holds a NaN or an infinity")

    metadata = {
        "made_by": "tests/data/make_reference.py",
        "torch": torch.__version__,
        "numpy": np.__version__,
        "seed": numbers.seed,
        **settings,
    }
    header = {"__metadata__": {key: str(value) for key, value in metadata.items()}}
    data = bytearray()
    for key in sorted(arrays, key=lambda key: -arrays[key].itemsize):  # so each starts aligned
        array = arrays[key]
        begin = len(data)
        data += array.astype(array.dtype.newbyteorder("<")).tobytes()
        header[key] = {
            "dtype": SAFETENSORS_NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [begin, len(data)],
        }
    header_text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    header_text += b" " * (-len(header_text) % 8)

    path = os.path.join(folder, f"{name}.safetensors")
    with open(path + ".tmp", "wb") as file:
        file.write(struct.pack("<Q", len(header_text)))
        file.write(header_text)
        file.write(data)
    os.replace(path + ".tmp", path)
    print(f"{path}: {len(arrays)} tensors, {8 + len(header_text) + len(data)} bytes")


if __name__ == "__main__":
    main()
