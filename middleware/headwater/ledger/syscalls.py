"""`write` without giving up the interpreter's lock. Knows file descriptors and nothing else.

`os.write` releases the lock around the system call, which here takes half a microsecond. While the shipper's thread is at
work it then takes the lock, and the event loop waits for it: measured, 30 microseconds of loop CPU per exchange under load,
and now and then the interpreter's whole switch interval of 5 ms. A call that keeps the lock has none of this.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

# No argument types: converting to them costs half a microsecond a call. Without them a number is passed as a C int.
_write = ctypes.PyDLL(None).write
_write.restype = ctypes.c_ssize_t
_MOST_BYTES: Final = 1 << 20


def write(descriptor: int, data: bytes) -> int:
    """Like `os.write`: the number of bytes written, which may be fewer than given.

    Raises:
        OSError: as `os.write` does.
    """
    if len(data) <= _MOST_BYTES:  # with more, the lock may as well go to others meanwhile
        written: int = _write(descriptor, data, len(data))
        if written >= 0:
            return written
    # What failed is tried again, by the one that can say why.
    return os.write(descriptor, data)
