"""Python clients, old and new, read from a wrapped server and through the gateway what they read without Headwater."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.clients.expectations import HIDDEN, Client, ClientTests, Harm, Places, hidden
from tests.clients.houses import ROOT, Document, Houses

FOLDERS: Final = ROOT / ".venv" / "clients"

CHAT: Final[Places] = {
    "chat": "usage",
    "chat tool": "usage",
    "chat stream": "[-1]",
    "chat stream tool": "[-1]",
    "chat stream asked": "[-1].usage",
    "chat stream asked tool": "[-1].usage",
    # The accumulator keeps the usage, and of what it does not know at the top level nothing.
    "chat helper": HIDDEN,
    "chat helper asked": "usage",
    "chat helper asked tool": "usage",
    "azure chat": "usage",
    "azure chat stream asked": "[-1].usage",
    "completions": "usage",
    "completions stream": "[-1]",
    "completions stream asked": "[-1].usage",
    "embeddings": "usage",
}
RESPONSES: Final[Places] = {
    "responses": "usage",
    "responses tool": "usage",
    "responses stream": "[-1].response.usage",
    "responses stream tool": "[-1].response.usage",
    "responses helper": "usage",
    "responses helper tool": "usage",
}
# The accumulator loses the usage to a chunk behind it that has none.
OPENAI_HARM: Final[Harm] = {"event": "raises", "chunk": "result"}
OPENAI_SILENT: Final = frozenset({"chat stream", "chat stream tool", "chat helper", "completions stream"})
MESSAGES: Final[Places] = {
    "messages": "usage",
    "messages tool": "usage",
    "messages stream": "[-2].usage",
    "messages stream tool": "[-2].usage",
    # The accumulator copies the counts it knows out of `message_delta`.
    "messages helper": HIDDEN,
    "messages helper tool": HIDDEN,
}


@dataclass(frozen=True, eq=False)
class PythonClient(Client):
    """A client in its folder of packages."""

    folder: str = "current"


CLIENTS: Final = (
    PythonClient("openai_sdk", "openai", CHAT, OPENAI_HARM, OPENAI_SILENT, folder="openai-1.40"),
    PythonClient("openai_sdk", "openai", CHAT | RESPONSES, OPENAI_HARM, OPENAI_SILENT, folder="openai-2.0"),
    PythonClient("openai_sdk", "openai", CHAT | RESPONSES, OPENAI_HARM, OPENAI_SILENT),
    PythonClient("anthropic_sdk", "anthropic", MESSAGES, folder="anthropic-0.40"),
    PythonClient("anthropic_sdk", "anthropic", MESSAGES, folder="anthropic-0.100"),
    PythonClient("anthropic_sdk", "anthropic", MESSAGES),
    PythonClient(
        "genai_sdk",
        "google-genai",
        hidden("generate", "generate tool", "generate stream", "generate stream tool"),
        {"comment": "raises", "event": "raises", "repeated": "text"},
    ),
    PythonClient(
        "ollama_sdk",
        "ollama",
        hidden("chat", "chat tool", "chat stream", "chat stream tool", "generate", "generate stream", "embed"),
        {"comment": "raises", "event": "raises", "chunk": "raises"},
    ),
    PythonClient(
        "mistral_sdk",
        "mistralai",
        {
            "chat": "usage",
            "chat tool": "usage",
            "chat stream": "[-1].usage",
            "chat stream tool": "[-1].usage",
            "embeddings": "usage",
        },
        {"event": "raises"},
    ),
    PythonClient(
        "cohere_sdk",
        "cohere",
        {
            "chat": "usage",
            "chat tool": "usage",
            "chat stream": "[-1].delta.usage",
            "chat stream tool": "[-1].delta.usage",
        },
    ),
    PythonClient(
        "langchain_openai_client",
        "langchain-openai",
        {
            "chat": "response_metadata.token_usage",
            "chat tool": "response_metadata.token_usage",
            **hidden("chat stream asked", "chat stream asked tool"),
            **hidden("responses", "responses tool", "responses stream asked", "responses stream asked tool"),
        },
        {"repeated": "result"},  # it adds up every usage that comes
    ),
    PythonClient(
        "langchain_anthropic_client",
        "langchain-anthropic",
        {
            "messages": "response_metadata.usage",
            "messages tool": "response_metadata.usage",
            **hidden("messages stream asked", "messages stream asked tool"),
        },
        {"repeated": "result"},
    ),
    PythonClient(
        "litellm_client",
        "litellm",
        {
            "chat": "usage",
            "chat tool": "usage",
            "chat stream": "[-1]",
            **hidden("chat stream asked", "chat stream asked tool"),
            **hidden("messages", "messages tool", "messages stream asked", "messages stream asked tool"),
        },
        silent=frozenset({"chat stream"}),
    ),
)


@pytest.fixture(scope="module")
def document_of(served: Houses, tmp_path_factory: pytest.TempPathFactory) -> Callable[[PythonClient], Document]:
    """What a client printed; each is run once."""
    found: dict[PythonClient, Document] = {}

    def run(client: PythonClient) -> Document:
        folder = FOLDERS / client.folder
        if not folder.with_name(f"{folder.name}.done").exists():
            pytest.skip(f"{folder.relative_to(ROOT)} is not installed; run: make .venv/clients.done")
        if client not in found:
            # Without the packages of the tests: a client's folder must hold all it needs.
            command = [sys.executable, "-S", "-m", f"tests.clients.python.{client.script}"]
            found[client] = served.document(
                command,
                tmp_path_factory.mktemp("home"),
                PYTHONPATH=f"{folder}:{ROOT}",
                LITELLM_LOCAL_MODEL_COST_MAP="True",
            )
        return found[client]

    return run


clients = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: f"{client.package}:{client.folder}")


@clients
class TestPythonClients(ClientTests):
    """All that holds of every client."""


@clients
def test_the_client_is_the_version_that_is_pinned(
    client: PythonClient, document_of: Callable[[PythonClient], Document]
) -> None:
    pins = Path(__file__).with_name("requirements").joinpath(f"{client.folder}.txt").read_text(encoding="utf-8")

    document = document_of(client)

    assert f"{client.package}=={document.version}" in pins.splitlines()
