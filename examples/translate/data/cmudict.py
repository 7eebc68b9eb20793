#!/usr/bin/python3
"""Writes pairs `spelling<TAB>phonemes` from the CMU Pronouncing Dictionary."""

import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile

PACKAGE = "cmu-pronouncing-dictionary@3.0.0"
WORD = re.compile(r"(?=.*[a-z])[a-z']+")
TEST_PART = 10


def main():
    train, test = sys.argv[1:3]
    with tempfile.TemporaryDirectory() as folder:
        name = subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, capture_output=True, text=True).stdout.split()[-1]
        with tarfile.open(f"{folder}/{name}") as archive:
            text = archive.extractfile("package/index.js").read().decode("utf-8")
    entries = json.loads(text[text.index("= {") + 2 : text.rindex("}") + 1])
    pairs = set()
    for entry, sounds in entries.items():
        sounds = sounds.partition(" #")[0]
        word = re.sub(r"\(\d+\)$", "", entry)
        if WORD.fullmatch(word):
            pairs.add((word, re.sub(r"\d", "", sounds)))
    parts = {True: [], False: []}
    for pair in sorted(pairs):
        digest = hashlib.sha256(pair[0].encode()).digest()
        parts[int.from_bytes(digest[:8], "big") % 100 < TEST_PART].append(pair)
    for path, part in ((train, parts[False]), (test, parts[True])):
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{word}\t{sounds}\n" for word, sounds in part)
        print(len(part), "pairs,", len({w for w, _ in part}), "words in", path)


main()
