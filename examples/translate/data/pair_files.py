"""What the scripts that make pairs share: failure in one line, the split, tables of counts, writing whole files."""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import unicodedata

PATIENCE = 900  # seconds for one program that downloads


class Failure(Exception):
    """The work cannot be done; the text says why, in one line."""


class Parser(argparse.ArgumentParser):
    """Answers bad usage with one line and status 2."""

    def __init__(self, **keywords):
        super().__init__(epilog="Exit status: 0 done, 1 failed, 2 bad usage.", allow_abbrev=False, **keywords)

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (-h helps)\n")


def run(work):
    """Exits with what a script's whole work comes to; a failure is one line on standard error."""
    try:
        work()
    except Failure as failure:
        reason = str(failure)
    except OSError as error:
        reason = f"{error.filename2 or error.filename}: {error.strerror}"
    except KeyboardInterrupt:
        reason = "stopped; nothing was written"
    else:
        sys.exit(0)
    print(f"{os.path.basename(sys.argv[0])}: {' '.join(reason.split())}", file=sys.stderr)
    sys.exit(1)


def positive_integer(text):
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def percentage(text):
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 100):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1 to 99")
    return int(text)


def add_test_part(parser, percent):
    parser.add_argument(
        "--test-part",
        metavar="N",
        type=percentage,
        default=percent,
        help="percentage of sources to test on, chosen by their hashes (default: %(default)s)",
    )


# ---- text ------------------------------------------------------------------------------------


def nfc(text):
    return unicodedata.normalize("NFC", text)


def fits_a_field(text):
    """Whether a line of tab-separated values can hold `text`, and there is something to hold."""
    control = any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text)
    return text.strip() != "" and not control


# ---- the split -------------------------------------------------------------------------------


def digest(text):
    return hashlib.sha256(text.encode()).digest()


def is_test(key, percent):
    """Whether what `key` names is tested on: a function of the key alone, about `percent` of all keys."""
    return int.from_bytes(digest(key)[:8], "big") % 100 < percent


def plain_words(text):
    """The letters of `text`, small, other characters between words as one space: the key of sources that
    differ in case, numbers or punctuation only, so that none of them is tested on and another trained on."""
    return " ".join(re.findall(r"[^\W\d_]+", text.casefold())) or text


def split(pairs, percent, key_of):
    """(train, test): `pairs` in their order, by the key of each source."""
    parts = [], []
    for pair in pairs:
        parts[is_test(key_of(pair[0]), percent)].append(pair)
    return parts


# ---- output ----------------------------------------------------------------------------------


def table(rows):
    """Lines of text, each column as wide as its widest value: first and last to the left, numbers to the right."""
    rows = [[str(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    last = len(widths) - 1
    return "\n".join(
        "  ".join(
            text.ljust(width) if column in (0, last) else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    )


def report(text):
    print(text, file=sys.stderr)


def write_pairs(parts):
    """Writes [(path, pairs)] under temporary names and then renames: a failure leaves every path as it was."""
    if len({os.path.realpath(path) for path, _ in parts}) < len(parts):
        raise Failure(f"{parts[0][0]}: the same file is named twice")
    temporary = [f"{path}.{os.getpid()}.tmp" for path, _ in parts]
    try:
        for name, (path, pairs) in zip(temporary, parts):
            if not pairs:
                raise Failure(f"{path}: no pair is left to write")
            with open(name, "w", encoding="utf-8", newline="\n") as file:
                file.writelines(f"{source}\t{target}\n" for source, target in pairs)
                file.flush()
                os.fsync(file.fileno())
        for name, (path, pairs) in zip(temporary, parts):
            os.replace(name, path)
            report(f"{len(pairs)} pairs written to {path}")
    finally:
        for name in temporary:
            if os.path.exists(name):
                os.unlink(name)


# ---- other programs --------------------------------------------------------------------------


def output_of(command, why, **keywords):
    """Standard output of a program; Failure beginning with `why` if it is missing, fails, or takes too long."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False, **keywords
        )
    except FileNotFoundError as error:
        raise Failure(f"{why}: the program {command[0]} is not there") from error
    except subprocess.TimeoutExpired as error:
        raise Failure(f"{why}: {command[0]} took longer than {PATIENCE} s") from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if re.match(r"E: |npm ERR!|npm error|dpkg-deb: error", line)]
        raise Failure(f"{why}: {(said or [f'{command[0]} failed'])[0]}")
    return done.stdout
