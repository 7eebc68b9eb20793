#!/usr/bin/python3
"""Writes pairs `english<TAB>french` from the messages of large programs, as Debian 12 packages their translations.

The packages are downloaded with apt-get, but not installed: of each only the catalogues are read. Only the standard
library is used.
"""

import collections
import glob
import os
import re
import subprocess
import tarfile
import tempfile

import catalogue
import pair_files
from pair_files import Failure

# Debian's package, and the licence of the program and its translations as /usr/share/doc/PACKAGE/copyright has it.
# A source that two packages have takes its target from the one named first.
PACKAGES = {
    "gimp-data": "GPL-3+, parts LGPL-3+",
    "libreoffice-l10n-fr": "MPL-2.0",
    "inkscape": "GPL",
    "evolution-common": "LGPL-2 or LGPL-3",
    "gnucash-common": "GPL-2+",
    "gnumeric-common": "GPL-2 or GPL-3",
    "libgtk-3-common": "LGPL-2+",
    "gnome-control-center-data": "GPL-2+, parts GPL-3+ and LGPL-2+",
    "darktable": "GPL-3+",
    "digikam-data": "GPL-2+",
    "krita-l10n": "GPL and LGPL",
    "kdenlive-data": "GPL-2+",
    "blender-data": "GPL-2+",
    "audacity-data": "GPL-2+",
    "vlc-l10n": "GPL-2+",
    "pidgin-data": "GPL-2+",
    "filezilla-common": "GPL-2+",
    "mutt": "GPL-2+",
    "gramps": "GPL-2+",
    "grisbi-common": "GPL-2+ with OpenSSL exception",
    "git": "GPL-2",
    "subversion": "Apache-2.0",
    "gcc-12-locales": "GPL-3+",
    "coreutils": "GPL-3+",
    "util-linux-locales": "GPL-2+",
    "gnupg-l10n": "GPL-3+",
    "network-manager": "GPL-2+",
    "dpkg": "GPL-2+",
    "vim-runtime": "Vim",
}
CATALOGUE = re.compile(r"/fr/LC_MESSAGES/[^/]+\.mo$")

APT_OPTIONS = ["-qq", "-o", "Acquire::http::Timeout=30", "-o", "Acquire::Retries=1"]

# What a program fills in: %s, %5.2f, %1$s, %1, %PRODUCTNAME, %(name)s, {0}, {name}, $1, $name, ${name}, $[name],
# $(name)
DIRECTIVE = re.compile(
    r"%\(\w+\)[a-z]"
    r"|%(?:\d+\$)?[-+#0']*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh|h|ll|l|q|j|z|t|w|L)?[a-zA-Z%]\b"
    r"|%[A-Z_]{2,}\w*%?"
    r"|%<?\d+|%[^\W\d_]\w*|\{\w*(?:[:!][^{}]*)?\}|\$\{\w+\}|\$\[\w+\]|\$\(\w+\)|\$\w+"
)
ACCELERATORS = "_&~"  # of GTK, of Qt and wxWidgets, of LibreOffice
MARKUP = re.compile(r"[<>|\\{}\[\]^`@#=_~]|&\w+;|\w/\w+/|://|--")
LETTER = re.compile(r"[^\W\d_]")
OTHER_SCRIPT = re.compile(r"[^\W\d_\u0000-\u024f]")  # a letter that is not Latin
LETTERS_LEAST = 0.6  # of what is no white space and no directive


class Dropped(Exception):
    """A message that makes no pair; the text is one of REASONS."""


REASONS = ("several lines", "directives", "accelerators", "markup", "letters", "length", "untranslated", "repeated")


def main():
    options = parse_options()
    french_of = {}
    rows = [("package", "read", "contexts", "plurals", "kept", *REASONS, "licence")]
    for package, licence in PACKAGES.items():
        if options.unpacked and not os.path.isdir(os.path.join(options.unpacked, package)):
            continue
        counts = collections.Counter()
        for name, data in catalogues_of(package, options.unpacked):
            for message, translation in catalogue.read(data, name):
                take(message, translation, options, french_of, counts)
        if not counts["read"]:
            raise Failure(f"{package}: the package has no french catalogue")
        rows.append((package, *(counts[name] for name in rows[0][1:-1]), licence))
    if len(rows) == 1:
        raise Failure(f"{options.unpacked}: no package is unpacked in it as DIR/PACKAGE")
    columns = list(zip(*rows))
    rows.append(("in all", *(sum(column[1:]) for column in columns[1:-1]), ""))
    pairs = sorted(french_of.items(), key=lambda pair: pair_files.digest(pair[0]))
    train, test = pair_files.split(pairs, options.test_part, key_of)
    pair_files.report(pair_files.table(rows))
    pair_files.write_pairs([(options.train, train), (options.test, test)])


def parse_options():
    parser = pair_files.Parser(
        description="Writes pairs english<TAB>french from the messages of large programs, as Debian packages them."
        " The packages are downloaded, not installed; their licences stand in the table that is printed."
    )
    parser.add_argument("train", metavar="TRAIN.tsv", help="the file to write of pairs to train on")
    parser.add_argument("test", metavar="TEST.tsv", help="and of pairs to test on")
    parser.add_argument(
        "--unpacked",
        metavar="DIR",
        help="read packages unpacked as DIR/PACKAGE, as many as there are; download nothing",
    )
    number = {"metavar": "N", "type": pair_files.positive_integer}
    parser.add_argument("--fewest", default=2, help="fewest words on either side (default: %(default)s)", **number)
    parser.add_argument("--most", default=20, help="and most (default: %(default)s)", **number)
    parser.add_argument(
        "--longest", default=100, help="most characters on either side (default: %(default)s)", **number
    )
    pair_files.add_test_part(parser, 2)
    return parser.parse_args()


# ---- packages --------------------------------------------------------------------------------


def catalogues_of(package, unpacked):
    """Yields (name, bytes) of each french catalogue in the package, by name."""
    if unpacked:
        found = glob.glob(os.path.join(glob.escape(unpacked), package, "**", "*.mo"), recursive=True)
        for path in sorted(filter(CATALOGUE.search, found)):
            with open(path, "rb") as file:
                yield path, file.read()
        return
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # apt-get downloads as another user, where it can
        command = ["apt-get", "download", *APT_OPTIONS, package]
        pair_files.output_of(command, f"cannot download {package} (after apt-get update?)", cwd=folder)
        archives = glob.glob(os.path.join(glob.escape(folder), "*.deb"))
        if len(archives) != 1:
            raise Failure(f"{package}: apt-get wrote {len(archives)} files, not one")
        yield from sorted(catalogues_in(archives[0]))


def catalogues_in(archive):
    """[(name, bytes)] of the french catalogues in a .deb, which is unpacked nowhere."""
    found = []
    name = os.path.basename(archive)
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as unpacking:
        try:
            with tarfile.open(fileobj=unpacking.stdout, mode="r|") as files:
                for member in files:
                    if member.isfile() and CATALOGUE.search(member.name):
                        found.append((f"{name}: {member.name}", files.extractfile(member).read()))
        except tarfile.TarError as error:
            raise Failure(f"{name}: cannot be unpacked ({error})") from error
    return found


# ---- messages --------------------------------------------------------------------------------


def take(message, translation, options, french_of, counts):
    """Adds the pair that a message and its translation make to `french_of`, or counts why there is none."""
    counts["read"] += 1
    if "\x04" in message:  # what stands before it tells equal messages apart
        counts["contexts"] += 1
        message = message.rpartition("\x04")[2]
    if "\0" in message:
        counts["plurals"] += 1
        message, translation = message.partition("\0")[0], translation.partition("\0")[0]
    try:
        english, french = clean_pair(message, translation, options)
        if english in french_of:
            raise Dropped("repeated")
    except Dropped as reason:
        counts[str(reason)] += 1
    else:
        french_of[english] = french
        counts["kept"] += 1


def clean_pair(message, translation, options):
    """The two sides as one writes them; raises Dropped for what is no pair of short sentences."""
    english, french = message.strip(), translation.strip()
    if not french:
        raise Dropped("untranslated")
    if "\n" in english or "\n" in french:
        raise Dropped("several lines")
    english, french = tidy(english), tidy(french)
    if not (pair_files.fits_a_field(english) and pair_files.fits_a_field(french)):
        raise Dropped("markup")
    if sorted(DIRECTIVE.findall(english)) != sorted(DIRECTIVE.findall(french)):
        raise Dropped("directives")
    english, french = without_accelerators(english, french)
    for side in english, french:
        check_side(side, options)
    if english.casefold() == french.casefold():
        raise Dropped("untranslated")
    return english, french


def tidy(text):
    """Apostrophes are typed in two ways, spaces before french punctuation in three: made one."""
    return re.sub(r"[ \u00a0\u202f\u2009]+", " ", pair_files.nfc(text)).replace("\u2019", "'")


def without_accelerators(english, french):
    """The marks of keys go from both sides, or there are none. A mark inside of a word that both sides have belongs to
    the word, and what has more than one is no text of a menu."""
    marks = [[mark for mark in ACCELERATORS if re.search(mark + r"\w", side)] for side in (english, french)]
    if not marks[0] and not marks[1]:
        return english, french
    if marks[0] != marks[1] or len(marks[0]) > 1:
        raise Dropped("accelerators")
    mark = marks[0][0]
    if english.count(mark) > 1 or french.count(mark) > 1:
        raise Dropped("accelerators")
    words = [next(word for word in side.split() if mark in word) for side in (english, french)]
    if words[0] == words[1] and re.search(r"\w" + mark, words[0]):
        raise Dropped("accelerators")
    return english.replace(mark, ""), french.replace(mark, "")


def check_side(text, options):
    bare = DIRECTIVE.sub(" ", text)
    if MARKUP.search(bare):
        raise Dropped("markup")
    seen = re.sub(r"\s", "", bare)
    if OTHER_SCRIPT.search(seen) or len(LETTER.findall(seen)) < LETTERS_LEAST * max(len(seen), 1):
        raise Dropped("letters")
    words = sum(LETTER.search(word) is not None for word in bare.split())
    if not options.fewest <= words <= options.most or len(text) > options.longest:
        raise Dropped("length")


def key_of(english):
    """Sources that differ in case, punctuation, numbers or directives only have one key, and so lie on one side."""
    return pair_files.plain_words(DIRECTIVE.sub(" ", english))


if __name__ == "__main__":
    pair_files.run(main)
