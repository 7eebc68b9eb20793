#!/usr/bin/python3
"""Writes pairs `english<TAB>french` from the translated lists of Debian's package iso-codes.

The package is installed with apt-get when it is missing. Only the standard library is used.
"""

import argparse
import os
import shutil
import struct
import subprocess
import sys
import unicodedata

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

MO_MAGIC = 0x950412DE


class Failure(Exception):
    """The work cannot be done; the text says why, in one line."""


class Parser(argparse.ArgumentParser):
    """Answers bad usage with one line and status 2."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (-h helps)\n")


def main():
    options = parse_options()
    lists = USUAL_LISTS + (FURTHER_LISTS if options.all else [])
    try:
        if options.catalogues is None:
            options.catalogues = CATALOGUES
            install_if_missing(lists)
        pairs, report = collect(lists, options.catalogues, options.longest)
        if not pairs:
            raise Failure("no pair is left to write")
        write_atomically(options.out, pairs)
    except Failure as failure:
        return fail(failure)
    except OSError as error:
        return fail(f"{error.filename2 or error.filename}: {error.strerror}")
    print(report, file=sys.stderr)
    print(f"{len(pairs)} pairs written to {options.out}", file=sys.stderr)
    print(f"source: Debian package {PACKAGE}, licence {LICENCE}", file=sys.stderr)
    return 0


def fail(reason):
    print(f"{os.path.basename(sys.argv[0])}: {reason}", file=sys.stderr)
    return 1


def parse_options():
    parser = Parser(
        description="Writes pairs english<TAB>french from Debian's package iso-codes: the names"
        " of countries, languages and currencies.",
        epilog=f"The names are under the {LICENCE}. Exit status: 0 done, 1 failed, 2 bad usage.",
        allow_abbrev=False,
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
        type=positive_integer,
        default=60,
        help="drop pairs with more than N characters on either side (default: %(default)s)",
    )
    parser.add_argument(
        "--catalogues",
        metavar="DIR",
        help="where the files iso_*.mo are; nothing is installed then" f" (default: {CATALOGUES})",
    )
    return parser.parse_args()


def positive_integer(text):
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


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
    """Returns the pairs, sorted by their bytes, and a table of what was kept and dropped."""
    french_of = {}
    columns = ("list", "read", "kept", "unfit", "too long", "repeated", "of")
    rows = [columns]
    for name, subject in lists:
        read = kept = unfit = too_long = repeated = 0
        for english, french in read_catalogue(catalogue_path(folder, name)):
            english = unicodedata.normalize("NFC", english)
            french = unicodedata.normalize("NFC", french)
            read += 1
            if not (fits_a_field(english) and fits_a_field(french)):
                unfit += 1
            elif max(len(english), len(french)) > longest:
                too_long += 1
            elif english in french_of:
                repeated += 1
            else:
                french_of[english] = french
                kept += 1
        rows.append((name, read, kept, unfit, too_long, repeated, subject))
    layout = "{:<8}{:>7}{:>7}{:>7}{:>10}{:>10}  {}"
    report = "\n".join(layout.format(*row) for row in rows)
    return sorted(french_of.items(), key=lambda pair: "\t".join(pair).encode()), report


def fits_a_field(text):
    """Whether a line of tab-separated values can hold `text`, and there is something to hold."""
    control = any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text)
    return text.strip() != "" and not control


def read_catalogue(path):
    """Yields (message, translation) from a compiled gettext catalogue, in the file's order.

    The format is in the gettext manual, "The Format of GNU MO Files": a header of 32-bit numbers,
    then two tables of (length, offset), one for the messages and one for their translations.
    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        order = "<" if struct.unpack_from("<I", data)[0] == MO_MAGIC else ">"
        magic, _, count, messages, translations = struct.unpack_from(order + "5I", data)
        if magic != MO_MAGIC:
            raise Failure(f"{path}: not a gettext catalogue")
        for index in range(count):
            message = text_at(data, order, messages + 8 * index)
            translation = text_at(data, order, translations + 8 * index)
            if message != "":  # the empty message's translation describes the catalogue
                yield message, translation
    except (struct.error, UnicodeDecodeError) as error:
        raise Failure(f"{path}: cut short or damaged ({error})") from error


def text_at(data, order, entry):
    length, offset = struct.unpack_from(order + "2I", data, entry)
    if offset + length > len(data):
        raise struct.error(f"a text ends after the file's {len(data)} bytes")
    return data[offset : offset + length].decode("utf-8")


def write_atomically(path, pairs):
    """Writes under a temporary name and renames: `path` is what it was, or complete."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            for english, french in pairs:
                file.write(f"{english}\t{french}\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


if __name__ == "__main__":
    sys.exit(main())
