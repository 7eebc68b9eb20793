"""The scripts that make pairs, on small inputs made here: no network, nothing installed."""

import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import tempfile
import unittest

SCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "examples", "translate", "data")
sys.dont_write_bytecode = True
sys.path.insert(0, SCRIPTS)

import messages  # noqa: E402
import pair_files  # noqa: E402


def catalogue(texts, order="<", charset="UTF-8"):
    """A compiled gettext catalogue of {message: translation}."""
    entries = [("", f"Content-Type: text/plain; charset={charset}\n"), *texts.items()]
    sides = [[side.encode(charset) for side in column] for column in zip(*entries)]
    tables, block, start = b"", b"", 28 + 16 * len(entries)
    for side in sides:
        for text in side:
            tables += struct.pack(order + "2I", len(text), start + len(block))
            block += text + b"\0"
    header = (0x950412DE, 0, len(entries), 28, 28 + 8 * len(entries), 0, 0)
    return struct.pack(order + "7I", *header) + tables + block


class Scripts(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, *names):
        path = os.path.join(self.folder.name, *names)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def put(self, data, *names):
        with open(self.path(*names), "wb") as file:
            file.write(data)

    def pairs(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return [tuple(line.rstrip("\n").split("\t")) for line in file]

    def start(self, script, *arguments, path=None):
        return subprocess.run(
            [sys.executable, "-B", os.path.join(SCRIPTS, script), *arguments],
            cwd=self.folder.name, capture_output=True, text=True, check=False,
            env={**os.environ, **({"PATH": path} if path else {})},
        )

    def works(self, *arguments):
        done = self.start(*arguments)
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)
        return done.stderr

    def complains(self, status, text, *arguments, **keywords):
        before = sorted(os.listdir(self.folder.name))
        done = self.start(*arguments, **keywords)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertIn(text, done.stderr.split("\n")[-2])
        self.assertNotIn("Traceback", done.stderr)
        self.assertEqual(sorted(os.listdir(self.folder.name)), before)


class IsoCodes(Scripts):
    LISTS = {
        "3166-1": {"France": "France", "Spain": "Espagne", "Cote": "Co\u0302te"},
        "639-2": {"French": "français", "Spain": "castillan"},
        "639-3": {"x" * 61: "y", "Two\nlines": "Deux"},
        "4217": {"Euro": "Euro"},
    }

    def setUp(self):
        super().setUp()
        for name, texts in self.LISTS.items():
            self.put(catalogue(texts, ">"), f"iso_{name}.mo")

    def test_names_are_sorted_normal_and_have_one_target(self):
        said = self.works("iso_codes.py", "out.tsv", "--catalogues", ".")
        wanted = [("Cote", "Côte"), ("Euro", "Euro"), ("France", "France"), ("French", "français"),
                  ("Spain", "Espagne")]
        self.assertEqual(self.pairs("out.tsv"), wanted)
        self.assertIn("LGPL-2.1-or-later", said)
        rows = {line.split()[0]: line.split()[1:6] for line in said.split("\n") if line}
        self.assertEqual(rows["639-2"], ["2", "1", "0", "0", "1"])
        self.assertEqual(rows["639-3"], ["2", "0", "1", "1", "0"])

    def test_both_files_together_are_the_whole(self):
        self.works("iso_codes.py", "all.tsv", "--catalogues", ".")
        self.works("iso_codes.py", "train.tsv", "--test", "test.tsv", "--test-part", "50", "--catalogues",
                   ".")
        train, test = self.pairs("train.tsv"), self.pairs("test.tsv")
        self.assertEqual(sorted(train + test), self.pairs("all.tsv"))
        self.assertTrue(all(pair_files.is_test(pair_files.plain_words(english), 50) for english, _ in test))

    def test_a_damaged_catalogue(self):
        whole = catalogue(self.LISTS["4217"])
        for data in (b"", b"no catalogue, but long enough", whole[:40], whole[:-12]):
            self.put(data, "iso_4217.mo")
            self.complains(1, "iso_4217.mo", "iso_codes.py", "out.tsv", "--catalogues", ".")

    def test_a_missing_catalogue_or_a_wrong_argument(self):
        os.unlink(self.path("iso_4217.mo"))
        self.complains(1, "iso_4217.mo: No such file", "iso_codes.py", "out.tsv", "--catalogues", ".")
        self.complains(2, "OUT.tsv", "iso_codes.py")
        self.complains(2, "--longest", "iso_codes.py", "out.tsv", "--longest", "0")
        self.complains(2, "--test-part", "iso_codes.py", "out.tsv", "--test-part", "100")

    def test_what_stood_there_stays_when_it_cannot_be_written(self):
        self.put(b"kept", "out.tsv")
        arguments = "iso_codes.py", "out.tsv", "--catalogues", ".", "--test-part", "50", "--test"
        self.complains(1, "nowhere", *arguments, "nowhere/test.tsv")
        self.complains(1, "named twice", *arguments, "./out.tsv")
        with open(self.path("out.tsv"), "rb") as file:
            self.assertEqual(file.read(), b"kept")


class Cmudict(Scripts):
    ENTRIES = {
        "read": "R EH1 D", "read(2)": "R IY1 D", "o'clock": "AH0 K L AA1 K", "a": "AH0", "a(2)": "AH1",
        "a(3)": "EY1", "a.m.": "EY2 EH1 M", "naïve": "N AY2 IY1 V", "aalborg": "AO1 L # place, danish",
        "zip": "Z IH1 P",
        "'": "K", "quiet": "",
    }

    def package(self, text, name="package/index.js"):
        with tarfile.open(self.path("package.tgz"), "w:gz") as archive:
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))

    def setUp(self):
        super().setUp()
        self.package(f"/** @type {{{{}}}} */\nexport const dictionary = {json.dumps(self.ENTRIES)}\n")

    def test_words_and_their_phonemes(self):
        said = self.works("cmudict.py", "train.tsv", "test.tsv", "--test-part", "40", "--package",
                          "package.tgz")
        train, test = self.pairs("train.tsv"), self.pairs("test.tsv")
        wanted = [("a", "AH"), ("a", "EY"), ("aalborg", "AO L"), ("o'clock", "AH K L AA K"),
                  ("read", "R EH D"), ("read", "R IY D"), ("zip", "Z IH P")]
        self.assertEqual(sorted(train + test), wanted)
        self.assertEqual({word for word, _ in train} & {word for word, _ in test}, set())
        self.assertIn("dropped: 3 with other characters than a-z and ', 1 repeated (without stress), 1 without", said)
        self.assertIn("Carnegie Mellon", said)
        self.assertIn("ISC", said)

    def test_stress_is_kept_where_wanted(self):
        self.works("cmudict.py", "1.tsv", "2.tsv", "--test-part", "40", "--package", "package.tgz",
                   "--stress")
        pairs = self.pairs("1.tsv") + self.pairs("2.tsv")
        self.assertEqual(sorted(sounds for word, sounds in pairs if word == "a"), ["AH0", "AH1", "EY1"])

    def test_a_package_without_a_dictionary(self):
        arguments = "cmudict.py", "train.tsv", "test.tsv", "--package", "package.tgz"
        for text, name in (("{}", "package/other.js"), ("export const dictionary = {", "package/index.js"),
                           ('= {"a": 1}', "package/index.js")):
            self.package(text, name)
            self.complains(1, "package.tgz", *arguments)
        self.put(b"no archive", "package.tgz")
        self.complains(1, "package.tgz", *arguments)

    def test_without_npm_it_says_what_else_would_do(self):
        self.complains(1, "the program npm is not there", "cmudict.py", "1.tsv", "2.tsv", path="/nonexistent")

    def test_a_registry_that_does_not_answer(self):
        self.put(b"#!/bin/sh\necho npm error code ECONNREFUSED >&2\nexit 1\n", "bin", "npm")
        os.chmod(self.path("bin", "npm"), 0o755)
        self.complains(1, "npm error code ECONNREFUSED", "cmudict.py", "1.tsv", "2.tsv",
                       path=self.path("bin") + ":/usr/bin:/bin")


class Split(unittest.TestCase):
    def test_it_is_the_hash_that_the_documents_give(self):
        self.assertEqual(pair_files.digest("read")[:8].hex(), "3316348dbadfb7b1")
        self.assertEqual(0x3316348DBADFB7B1 % 100, 85)
        self.assertFalse(pair_files.is_test("read", 85))
        self.assertTrue(pair_files.is_test("read", 86))

    def test_sources_that_differ_in_case_numbers_or_punctuation_have_one_key(self):
        keys = {messages.key_of(text) for text in ("Cannot open %s", "cannot open {0}:",
                                                   "Cannot open “%1$s”…")}
        self.assertEqual(keys, {"cannot open"})
        self.assertNotEqual(messages.key_of("Cannot open %s"), messages.key_of("Cannot close %s"))


class Messages(Scripts):
    def make(self, texts, *arguments, charset="UTF-8"):
        for package, entries in texts.items():
            self.put(catalogue(entries, charset=charset), package, "usr", "fr", "LC_MESSAGES", "one.mo")
        said = self.works("messages.py", "1.tsv", "2.tsv", "--unpacked", ".", "--test-part", "50", *arguments)
        return dict(self.pairs("1.tsv") + self.pairs("2.tsv")), said

    # One for each file, so that neither is empty.
    FILLER = {"Open the file": "Ouvrir le fichier", "Shut the file": "Fermer le fichier"}

    def kept(self, texts):
        pairs, _ = self.make({"git": {**self.FILLER, **texts}})
        return {english: french for english, french in pairs.items() if english not in self.FILLER}

    def test_the_fillers_fall_on_both_sides(self):
        sides = {pair_files.is_test(messages.key_of(text), 50) for text in self.FILLER}
        self.assertEqual(sides, {False, True})

    def test_contexts_go_and_of_plurals_the_singular_stays(self):
        kept = self.kept({"menu\x04Save the page": "Enregistrer la page",
                          "%d new word\0%d new words": "%d nouveau mot\0%d nouveaux mots"})
        self.assertEqual(kept, {"Save the page": "Enregistrer la page", "%d new word": "%d nouveau mot"})

    def test_marks_of_keys_go_from_both_sides_or_the_pair_goes(self):
        kept = self.kept({"Save _as": "Enregistrer _sous", "&Find next": "Chercher le &suivant",
                          "Cut ~all": "~Tout couper",
                          "_Print it": "Imprimer", "Drag & drop": "Glisser et déposer",
                          "bad max_size here": "mauvais max_size"})
        self.assertEqual(kept, {"Save as": "Enregistrer sous", "Find next": "Chercher le suivant",
                                "Cut all": "Tout couper",
                                "Drag & drop": "Glisser et déposer"})

    def test_directives_are_the_same_on_both_sides(self):
        kept = self.kept({"copy %s to %d now": "copier %s vers %d",
                          "move {0} to {name}": "déplacer {name} en {0}",
                          "lost %s here": "perdu ici", "has %s and %s": "a %1$s et %2$s",
                          "Quit %PRODUCTNAME now": "Quitter %PRODUCTNAME ici"})
        self.assertEqual(set(kept), {"copy %s to %d now", "move {0} to {name}", "Quit %PRODUCTNAME now"})

    def test_what_is_no_short_sentence_is_dropped_and_counted(self):
        texts = {"two\nlines of it": "deux\nlignes", "has <b>bold</b> text": "a du <b>gras</b>",
                 "Word": "Mot",
                 "not translated yet": "Not translated yet", "empty so far": "",
                 "1 + 2 = 3 (a b)": "1 + 2 = 3 (c d)",
                 "say नेपाली here": "dire नेपाली ici", "so " * 40: "tant",
                 "a tab\there it is": "une tabulation\tici"}
        kept, said = self.make({"git": {**self.FILLER, **texts}})
        self.assertEqual(kept, self.FILLER)
        row = next(line.split() for line in said.split("\n") if line.startswith("git "))
        head = said.replace("several lines", "lines").split("\n")[0].split()
        counts = dict(zip(head, row))
        self.assertEqual((counts["read"], counts["kept"], counts["lines"], counts["untranslated"]), ("11",
                                                                                                     "2",
                                                                                                     "1",
                                                                                                     "2"))
        self.assertEqual(sum(int(n) for n in row[4:13]), 11)

    def test_a_source_has_one_target_that_of_the_package_named_first(self):
        kept, said = self.make({"git": {"Open the file": "Ouvrir (git)"}, "gimp-data": {**self.FILLER}})
        self.assertEqual(kept["Open the file"], "Ouvrir le fichier")
        self.assertIn("GPL-2", said)

    def test_spaces_and_apostrophes_are_of_one_kind(self):
        kept = self.kept({"Is the image here?": "L’image est\u202flà\u00a0?"})
        self.assertEqual(kept, {"Is the image here?": "L'image est là ?"})

    def test_catalogues_in_other_encodings_are_read(self):
        kept, _ = self.make({"git": {**self.FILLER, "Go to the end": "Aller à la fin"}}, charset="ISO-8859-1")
        self.assertEqual(kept["Go to the end"], "Aller à la fin")

    def test_the_same_messages_in_another_order_make_the_same_files(self):
        texts = {**self.FILLER, **{f"{word} the page": f"{word} la page" for word in ("Turn", "Print",
                                                                                      "Save", "Read")}}
        self.make({"git": texts})
        first = self.pairs("1.tsv"), self.pairs("2.tsv")
        self.make({"git": dict(reversed(texts.items()))})
        self.assertEqual((self.pairs("1.tsv"), self.pairs("2.tsv")), first)

    def test_nothing_to_read(self):
        self.complains(1, "no package is unpacked in it", "messages.py", "1.tsv", "2.tsv", "--unpacked", ".")
        self.complains(1, "apt-get is not there", "messages.py", "1.tsv", "2.tsv", path="/nonexistent")


if __name__ == "__main__":
    unittest.main()
