"""Compiled gettext catalogues.

The format is in the gettext manual, "The Format of GNU MO Files": a header of 32-bit numbers, then two
tables of (length, offset), one for the messages and one for their translations.
"""

import re
import struct

from pair_files import Failure

MAGIC = 0x950412DE


def read(data, name):
    """Yields (message, translation) from the bytes of a catalogue, in its order; Failure says `name`."""
    try:
        order = "<" if struct.unpack_from("<I", data)[0] == MAGIC else ">"
        magic, _, count, messages, translations = struct.unpack_from(order + "5I", data)
        if magic != MAGIC:
            raise Failure(f"{name}: not a gettext catalogue")
        charset = "utf-8"
        for index in range(count):
            message = text_at(data, order, messages + 8 * index)
            translation = text_at(data, order, translations + 8 * index)
            if message == b"":  # its translation describes the catalogue
                said = re.search(rb"charset=([-\w]+)", translation)
                charset = said.group(1).decode() if said else charset
            else:
                yield message.decode(charset), translation.decode(charset)
    except (struct.error, UnicodeDecodeError, LookupError) as error:
        raise Failure(f"{name}: cut short or damaged ({error})") from error


def text_at(data, order, entry):
    length, offset = struct.unpack_from(order + "2I", data, entry)
    if offset + length > len(data):
        raise struct.error(f"a text ends after the file's {len(data)} bytes")
    return data[offset : offset + length]
