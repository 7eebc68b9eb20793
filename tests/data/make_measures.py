#!/usr/bin/env python3
"""Writes measures.tsv: what sacreBLEU makes of some lines, for tests/test_measure_scores.c to compare with.

    make_measures.py > tests/data/measures.tsv        with sacreBLEU (pip install sacrebleu) on Python's path

Each row begins with its kind:
    made    sacreBLEU's version
    corpus  name
    line    output, references...
    score   measure, its value for the lines of the corpus so far
    counts  measure, the counts of the corpus added up
    tokens  line, its 13a tokens
"""
import random

from sacrebleu import __version__
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

MEASURES = {
    "bleu exp": BLEU(),
    "bleu none": BLEU(smooth_method="none"),
    "bleu floor": BLEU(smooth_method="floor"),
    "bleu floor 0.5": BLEU(smooth_method="floor", smooth_value=0.5),
    "bleu add-k": BLEU(smooth_method="add-k"),
    "bleu add-k 2": BLEU(smooth_method="add-k", smooth_value=2),
    "bleu order 2": BLEU(max_ngram_order=2),
    "chrf": CHRF(),
    "chrf++": CHRF(word_order=2),
    "chrf order 4 beta 1": CHRF(char_order=4, beta=1),
}

# From sacreBLEU's README, which gives 48.53 for it.
README = [
    ["The dog bit the man.", "The dog bit the man.", "The dog had bit the man."],
    ["It wasn't surprising.", "It was not unexpected.", "No one was surprised."],
    ["The man had just bitten him.", "The man bit him first.", "The man had bitten the dog."],
]

LANGUAGES = [
    ["The train leaves at 7.45, from platform 3.", "The train leaves at 7:45 from platform 3."],
    ["Le prix, 1 250,50 €, n'a pas changé.", "Le prix n'a pas changé : 1\u00a0250,50\u00a0€."],
    ["Straßenbahnen fahren im 10-Minuten-Takt.", "Die Straßenbahnen fahren alle 10 Minuten."],
    ["Завтра будет дождь, а потом снег.", "Завтра пойдёт дождь, потом снег."],
    ["明日は雨が降るでしょう。", "明日は雨になるでしょう。"],
    ["他昨天买了三本书。", "他昨天买了 3 本书。"],
    ["ذهب الولد إلى المدرسة.", "ذهب الولد الى المدرسة صباحا."],
    ["Ώρα 12:30-13:00 (περίπου)", "Ώρα: 12:30 - 13:00, περίπου"],
    ["A &lt;b&gt; tag &amp; a &quot;quote&quot;", 'A <b> tag & a "quote"'],
    ["happy 😀😀 family 👩\u200d👩\u200d👧", "happy 😀 family 👩\u200d👩\u200d👧!"],
    ["", "An output that is empty."],
    ["Cafe\u0301 and café are not the same here.", "Café and café are not the same here."],
]

NO_FOUR = [["the cat sat on a mat", "the cat lay on a rug"], ["we saw it there then", "we saw him there"]]
SHORT = [["yes", "yes"], ["no way", "no"], ["one two three", "one two four"], ["x", "y"]]
NOTHING = [["a b c", "d e f"], ["", "g"]]
EMPTY = [["", ""], ["", "a"], ["a", ""]]

PIECES = [
    "a", "b", "the ", "cat ", "é", "日本", "語", "😀", "1", "23", "4.5", "6,7", "-", "--", ".", ",", "...", "&quot;",
    "&amp;", "&lt;", "&gt;", "&amp;lt;", "<skipped>", "<skip<skipped>ped>", "&", "(", ")", "[", "{", "}", "~", "`",
    "^", "_", "@", ":", ";", "/", "\\", "'", '"', "!", "?", "%", "$", "#", "*", "+", "=", "|", " ", "  ", "\u00a0",
    "\u3000", "\u2028", "\u0085", "\u200b", "ß", "e\u0301", "1.", ".1", "1-2", "-3", "a-b", "1,a", "a,1", "x.", ".x",
]  # fmt: skip


def rough(rng, count, references):
    """Lines of odd pieces, and the same lines with some pieces changed."""
    for _ in range(count):
        base = [rng.choice(PIECES) for _ in range(rng.randrange(1, 16))]
        yield [
            "".join(rng.choice(PIECES) if rng.random() < 0.2 else piece for piece in base)
            for _ in range(1 + references)
        ]


def row(*fields):
    assert not any("\t" in field or "\n" in field for field in fields)
    print(*fields, sep="\t")


def corpus(name, lines):
    lines = list(lines)
    outputs, references = [line[0] for line in lines], list(zip(*(line[1:] for line in lines)))
    row("corpus", name)
    for line in lines:
        row("line", *line)
    for measure, metric in MEASURES.items():
        row("score", measure, repr(metric.corpus_score(outputs, references).score))
        counts = [sum(column) for column in zip(*metric._extract_corpus_statistics(outputs, references))]
        row("counts", measure, " ".join(map(str, counts)))


def main():
    rng = random.Random(20020706)
    row("made", "sacreBLEU " + __version__)
    corpus("readme", README)
    corpus("languages", LANGUAGES)
    corpus("no four in a row", NO_FOUR)
    corpus("short", SHORT)
    corpus("nothing right", NOTHING)
    corpus("empty", EMPTY)
    corpus("rough", rough(rng, 60, 1))
    corpus("rough, three references", rough(rng, 40, 3))
    tokenizer = Tokenizer13a()
    for text in [line[0] for line in README + LANGUAGES] + [line[0] for line in rough(rng, 120, 0)]:
        row("tokens", text, tokenizer(text.rstrip()))


main()
