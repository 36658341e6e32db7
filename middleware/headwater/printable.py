"""Text from outside, made fit to be shown: on a terminal, in a plot, in an error. Knows characters; no files, no formats."""

from __future__ import annotations

import re
from typing import Final

_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_REPLACEMENT: Final = "\ufffd"


def printable(text: str) -> str:
    """The text with everything that is no visible character (control characters, line ends, marks of direction) as a
    backslash escape, so that no name can move the cursor, forge a line, or be illegal in XML."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode() for letter in text
    )


def encodable(text: str) -> str:
    """The text without lone surrogates, which no encoding can write: each becomes a replacement character."""
    return text if text.isascii() else _SURROGATES.sub(_REPLACEMENT, text)
