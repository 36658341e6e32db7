"""The system call that keeps the interpreter's lock does what `os.write` does."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.ledger import syscalls


@given(st.binary(max_size=500))
def test_any_bytes_arrive_also_zeros(data: bytes) -> None:
    reading, writing = os.pipe()
    try:
        assert syscalls.write(writing, data) == len(data)
        if data:
            assert os.read(reading, 500) == data
    finally:
        os.close(reading)
        os.close(writing)


def test_a_refused_write_is_an_os_error_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            syscalls.write(descriptor, b"x")
    finally:
        os.close(descriptor)

    assert caught.value.errno == errno.EBADF
