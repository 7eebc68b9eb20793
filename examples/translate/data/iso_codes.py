#!/usr/bin/python3
"""Writes pairs `english<TAB>french` from the translated lists of Debian's package iso-codes.

The package is installed with apt-get when it is missing. Only the standard library is used.
"""

import os
import shutil
import subprocess
import sys

import catalogue
import pair_files
from pair_files import Failure

PACKAGE = "iso-codes"
LICENCE = "LGPL-2.1-or-later"
CATALOGUES = "/usr/share/locale/fr/LC_MESSAGES"

# An english name that two lists hold takes its french from the list named first.
USUAL_LISTS = [
    ("3166-1", "countries"),
    ("639-2", "languages"),
    ("639-3", "languages, rarer ones too"),
    ("4217", "currencies"),
]
FURTHER_LISTS = [
    ("3166-3", "countries of the past"),
    ("3166-2", "subdivisions of countries"),
    ("639-5", "language families"),
    ("15924", "scripts"),
]


def main():
    options = parse_options()
    lists = USUAL_LISTS + (FURTHER_LISTS if options.all else [])
    if options.catalogues is None:
        options.catalogues = CATALOGUES
        install_if_missing(lists)
    pairs, rows = collect(lists, options.catalogues, options.longest)
    parts = [(options.out, pairs)]
    if options.test:
        train, test = pair_files.split(pairs, options.test_part, pair_files.plain_words)
        parts = [(options.out, train), (options.test, test)]
    pair_files.report(pair_files.table(rows))
    pair_files.write_pairs(parts)
    pair_files.report(f"source: Debian package {PACKAGE}, licence {LICENCE}")


def parse_options():
    parser = pair_files.Parser(
        description="Writes pairs english<TAB>french from Debian's package iso-codes: the names"
        f" of countries, languages and currencies. The names are under the {LICENCE}."
    )
    parser.add_argument("out", metavar="OUT.tsv", help="the file to write")
    parser.add_argument(
        "--all",
        action="store_true",
        help="also subdivisions, countries of the past, language families and scripts",
    )
    parser.add_argument(
        "--longest",
        metavar="N",
        type=pair_files.positive_integer,
        default=60,
        help="drop pairs with more than N characters on either side (default: %(default)s)",
    )
    pair_files.add_test_part(parser, 10)
    parser.add_argument("--test", metavar="TEST.tsv", help="write that part here, and the rest to OUT.tsv")
    parser.add_argument(
        "--catalogues",
        metavar="DIR",
        help=f"where the files iso_*.mo are; nothing is installed then (default: {CATALOGUES})",
    )
    return parser.parse_args()


def install_if_missing(lists):
    """Leaves with every list of `lists` in CATALOGUES, or raises Failure saying what to do."""
    if not missing_lists(lists):
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", PACKAGE]
    if os.geteuid() != 0:
        command.insert(0, "sudo")
    advice = f"the package {PACKAGE} is missing; install it with: {' '.join(command)}"
    if not all(shutil.which(program) for program in {command[0], "apt-get"}):
        raise Failure(advice)
    if command[0] == "sudo":
        command.insert(1, "--non-interactive")  # without a right to it, fail; do not ask
    print(f"running: {' '.join(command)}", file=sys.stderr)
    if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode != 0:
        raise Failure(f"{advice} (after apt-get update, if the package is not found)")
    missing = missing_lists(lists)
    if missing:
        raise Failure(
            f"{PACKAGE} is installed, but without {missing[0]} (small images leave translations"
            f" out): unpack it with 'apt-get download {PACKAGE}; dpkg-deb -x {PACKAGE}_*.deb DIR'"
            f" and say --catalogues DIR{CATALOGUES}"
        )


def missing_lists(lists):
    paths = [catalogue_path(CATALOGUES, name) for name, _ in lists]
    return [path for path in paths if not os.path.exists(path)]


def catalogue_path(folder, name):
    return os.path.join(folder, f"iso_{name}.mo")


def collect(lists, folder, longest):
    """Returns the pairs, sorted by their bytes, and rows that say what was kept and dropped."""
    french_of = {}
    rows = [("list", "read", "kept", "unfit", "too long", "repeated", "of")]
    for name, subject in lists:
        read = kept = unfit = too_long = repeated = 0
        for english, french in read_catalogue(catalogue_path(folder, name)):
            english, french = pair_files.nfc(english), pair_files.nfc(french)
            read += 1
            if not (pair_files.fits_a_field(english) and pair_files.fits_a_field(french)):
                unfit += 1
            elif max(len(english), len(french)) > longest:
                too_long += 1
            elif english in french_of:
                repeated += 1
            else:
                french_of[english] = french
                kept += 1
        rows.append((name, read, kept, unfit, too_long, repeated, subject))
    return sorted(french_of.items(), key=lambda pair: "\t".join(pair).encode()), rows


def read_catalogue(path):
    with open(path, "rb") as file:
        return list(catalogue.read(file.read(), path))


if __name__ == "__main__":
    pair_files.run(main)
