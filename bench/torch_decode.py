#!/usr/bin/python3
"""Times greedy decoding and beam search in PyTorch, eager mode, on the processor, in float32.

    build/release/decode --json --beam 4 | bench/torch_decode.py --threads 2

Reads the lines of JSON that bench/decode prints, and prints two for each: the tokens per second of

    rerun    what is written first: nn.Transformer's decoder over the whole beginning for every token
    cached   a decoder by hand for the same weights, which keeps the keys and values of earlier tokens

Both get the encoder's time with the rest, and see to it that the end mark never comes.
"""

import argparse
import json
import math
import statistics
import sys
import time

import torch_step

BEGIN, END = 1, 2


def main():
    options = torch_step.begin(__doc__, add_arguments)
    import torch

    with torch.inference_mode():
        for line in sys.stdin:
            case = json.loads(line)
            model = build_model(case)
            source = torch.randint(case["vocabulary"], (case["batch"], case["source"]))
            compare(model, source, min(8, case["longest"]))
            for name in ["cached"] if options.cached else DECODERS:
                seconds = time_decoder(DECODERS[name], model, source, case, options)
                tokens = case["batch"] * case["longest"] / seconds
                print(json.dumps(case | {"way": name, "seconds": seconds, "tokens_per_second": tokens}), flush=True)


def add_arguments(parser):
    parser.add_argument("--runs", type=torch_step.positive_integer, default=5, help="at most; the median counts")
    parser.add_argument("--seconds", type=float, default=0.3, help="after which there is no other run")
    parser.add_argument("--cached", action="store_true", help="that alone: the other is many times slower")


def build_model(case):
    longest = max(case["source"], case["longest"])
    shape = {name: case[name] for name in ("width", "heads", "layers", "ff", "vocabulary")}
    model = torch_step.build_model(argparse.Namespace(**shape, length=longest, dropout=0.0)).eval()
    model.output.bias[END] = -1e6
    return model


# ---- decoders -------------------------------------------------------------------------------------------


class Rerun:
    """For `beam` rows of each source, side by side: reads all tokens so far, and says what follows."""

    def __init__(self, model, source, beam, limit):
        self.model = model
        memory = model.transformer.encoder(model.embed(model.source_embedding, source))
        self.memory = memory.repeat_interleave(beam, 0)

    def logits(self, tokens):
        length = tokens.shape[1]
        decoded = self.model.transformer.decoder(
            self.model.embed(self.model.target_embedding, tokens),
            self.memory,
            tgt_mask=self.model.causal_mask[:length, :length],
        )
        return self.model.output(decoded[:, -1])

    def select(self, rows):
        """Goes on with these rows; the memory of a source's rows is the same."""


class Cached(Rerun):
    """Reads the last token only."""

    def __init__(self, model, source, beam, limit):
        super().__init__(model, source, beam, limit)
        self.layers = model.transformer.decoder.layers
        self.heads = self.layers[0].self_attn.num_heads
        self.width = self.memory.shape[2]
        self.scale = 1 / math.sqrt(self.width // self.heads)
        self.scaled = math.sqrt(self.width)  # of embeddings
        rows = self.memory.shape[0]
        # One tensor for all layers, so that a beam's rows are moved by one call.
        self.kept = self.memory.new_empty(len(self.layers), 2, rows, self.heads, limit, self.width // self.heads)
        self.cross = [self.cross_keys(layer.multihead_attn) for layer in self.layers]
        self.length = 0

    def cross_keys(self, attention):
        from torch.nn import functional as F

        weight, bias = attention.in_proj_weight[self.width :], attention.in_proj_bias[self.width :]
        both = F.linear(self.memory, weight, bias).view(*self.memory.shape[:2], 2, self.heads, -1)
        return both.permute(2, 0, 3, 1, 4).contiguous().unbind()

    def logits(self, tokens):
        embedded = self.model.target_embedding(tokens[:, -1]) * self.scaled
        x = embedded + self.model.positions[self.length]
        self.length += 1
        for kept, cross, layer in zip(self.kept, self.cross, self.layers):
            x = self.layer(layer, kept[..., : self.length, :], cross, x)
        return self.model.output(self.model.transformer.decoder.norm(x))

    def layer(self, layer, kept, cross, x):
        from torch.nn import functional as F

        own, other = layer.self_attn, layer.multihead_attn
        projected = F.linear(x, own.in_proj_weight, own.in_proj_bias).view(len(x), 3, self.heads, -1)
        query, key_and_value = projected[:, 0], projected[:, 1:]
        kept[:, :, :, -1] = key_and_value.transpose(0, 1)
        x = layer.norm1(x + own.out_proj(self.attend(query, *kept)))
        query = F.linear(x, other.in_proj_weight[: self.width], other.in_proj_bias[: self.width])
        x = layer.norm2(x + other.out_proj(self.attend(query.view(len(x), self.heads, -1), *cross)))
        return layer.norm3(x + layer.linear2(F.relu(layer.linear1(x))))

    def attend(self, query, keys, values):
        """Of one query products and sums take less time than matrix products, which PyTorch makes head by head."""
        scores = ((query * self.scale).unsqueeze(2) * keys).sum(-1)
        return (scores.softmax(-1).unsqueeze(3) * values).sum(2).flatten(1)

    def select(self, rows):
        self.kept[..., : self.length, :] = self.kept[..., : self.length, :].index_select(2, rows)


DECODERS = {"rerun": Rerun, "cached": Cached}


def compare(model, source, length):
    """The decoders say the same, or their times mean nothing."""
    import torch

    tokens = torch.randint(model.output.out_features, (len(source), length))
    rerun, cached = (decoder(model, source, 1, length) for decoder in DECODERS.values())
    for i in range(1, length + 1):
        expected, found = rerun.logits(tokens[:, :i]), cached.logits(tokens[:, :i])
        if not torch.allclose(expected, found, rtol=1e-3, atol=1e-3):
            sys.exit(f"torch_decode.py: with its cache the decoder says something else at token {i}")


# ---- search ---------------------------------------------------------------------------------------------


def greedy(decoder, batch, limit):
    import torch

    tokens = torch.full((batch, 1), BEGIN)
    for _ in range(limit):
        tokens = torch.cat((tokens, decoder.logits(tokens).argmax(-1, keepdim=True)), 1)
    return tokens


def beam_search(decoder, batch, beam, limit):
    """The end mark never comes: what is open after the last token is all there is."""
    import torch

    tokens = torch.full((batch * beam, 1), BEGIN)
    first_rows = torch.arange(0, batch * beam, beam).unsqueeze(1)
    scores = torch.full((batch, beam), -math.inf)
    scores[:, 0] = 0  # at first a source's rows are the same
    for _ in range(limit):
        log_p = decoder.logits(tokens).log_softmax(-1).view(batch, beam, -1)
        vocabulary = log_p.shape[2]
        scores, chosen = (scores.unsqueeze(2) + log_p).flatten(1).topk(beam)
        rows = (first_rows + chosen.div(vocabulary, rounding_mode="floor")).flatten()
        tokens = torch.cat((tokens.index_select(0, rows), chosen.remainder(vocabulary).view(-1, 1)), 1)
        decoder.select(rows)
    return tokens.view(batch, beam, -1)[:, 0]


def time_decoder(decoder, model, source, case, options):
    def once(limit):
        begin = time.perf_counter()
        made = decoder(model, source, case["beam"], limit)
        batch = case["batch"]
        tokens = greedy(made, batch, limit) if case["beam"] == 1 else beam_search(made, batch, case["beam"], limit)
        seconds = time.perf_counter() - begin
        if tokens.shape != (batch, limit + 1) or (tokens == END).any():
            sys.exit("torch_decode.py: the output ended before its time: these times mean nothing")
        return seconds

    once(min(4, case["longest"]))  # warms up
    end = time.perf_counter() + options.seconds
    taken = [once(case["longest"])]
    while len(taken) < options.runs and time.perf_counter() < end:
        taken.append(once(case["longest"]))
    return statistics.median(taken)


if __name__ == "__main__":
    main()
