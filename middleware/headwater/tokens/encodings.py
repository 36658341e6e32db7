"""tiktoken's encodings, loaded from files that are there and whole. Never from the network; never raises."""

from __future__ import annotations

import logging
import os
import threading
from typing import Final

import tiktoken

from headwater.vocab import SHA256, Vocabulary

_log: Final = logging.getLogger(__name__)
_load_lock: Final = threading.Lock()


def load_all(vocab: Vocabulary) -> dict[str, tiktoken.Encoding]:
    """The encodings whose vocabularies are there; about a second."""
    loaded: dict[str, tiktoken.Encoding] = {}
    for name in SHA256:
        try:
            encoding = _load(name, vocab)
        except Exception as error:
            _log.warning("the vocabulary %s cannot be loaded: %s", name, error)
            continue
        if encoding is not None:
            loaded[name] = encoding
    return loaded


def _load(name: str, vocab: Vocabulary) -> tiktoken.Encoding | None:
    """The encoding, if its file is there: tiktoken downloads what it does not find, and must never come to that."""
    folder = vocab.find(name)
    if folder is None:
        return None
    with _load_lock:
        before = os.environ.get("TIKTOKEN_CACHE_DIR")
        os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
        try:
            return tiktoken.get_encoding(name)
        finally:
            if before is None:
                del os.environ["TIKTOKEN_CACHE_DIR"]
            else:
                os.environ["TIKTOKEN_CACHE_DIR"] = before


def encoded_count(encoding: tiktoken.Encoding, segment: str) -> int | None:
    """The tokens of a text, special ones in it as ordinary text; None where the tokenizer dies of it."""
    try:
        return len(encoding.encode_ordinary(segment))
    except Exception:
        return None
    except BaseException as error:
        # A panic in tiktoken's Rust code arrives as pyo3_runtime.PanicException, which is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        return None
