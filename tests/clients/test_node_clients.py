"""Clients for Node read from a wrapped server and through the gateway what they read without Headwater: `make test-clients`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.clients.expectations import Client, ClientTests, hidden
from tests.clients.houses import ROOT, Document, Houses

FOLDER: Final = Path(__file__).with_name("node")
_AI_CHAT: Final = ("chat", "chat tool", "chat helper asked", "chat helper asked tool")
_AI_RESPONSES: Final = ("responses", "responses tool", "responses helper asked", "responses helper asked tool")
_AI_MESSAGES: Final = ("messages", "messages tool", "messages helper asked", "messages helper asked tool")
_OPENAI_SILENT: Final = frozenset({"chat stream", "chat stream tool", "chat helper", "completions stream"})


CLIENTS: Final = (
    Client(
        "openai",
        "openai",
        {
            "chat": "usage",
            "chat tool": "usage",
            "chat stream": "[-1]",
            "chat stream tool": "[-1]",
            "chat stream asked": "[-1].usage",
            "chat stream asked tool": "[-1].usage",
            "chat helper": "top",
            "chat helper asked": "usage",
            "chat helper asked tool": "usage",
            "completions": "usage",
            "completions stream": "[-1]",
            "completions stream asked": "[-1].usage",
            "embeddings": "usage",
            "responses": "usage",
            "responses tool": "usage",
            "responses stream": "[-1].response.usage",
            "responses stream tool": "[-1].response.usage",
            "responses helper": "usage",
            "responses helper tool": "usage",
        },
        {"event": "raises", "chunk": "raises"},
        _OPENAI_SILENT,
    ),
    Client(
        "anthropic",
        "@anthropic-ai/sdk",
        {
            "messages": "usage",
            "messages tool": "usage",
            "messages stream": "[-2].usage",
            "messages stream tool": "[-2].usage",
            **hidden("messages helper", "messages helper tool"),
        },
    ),
    # Of chat completions the AI SDK keeps the raw usage over @ai-sdk/openai-compatible only.
    Client(
        "ai_openai",
        "@ai-sdk/openai",
        hidden(*_AI_CHAT) | dict.fromkeys(_AI_RESPONSES, "usage.raw"),
        {"event": "result"},
    ),
    Client("ai_compatible", "@ai-sdk/openai-compatible", dict.fromkeys(_AI_CHAT, "usage.raw"), {"event": "result"}),
    Client(
        "ai_anthropic",
        "@ai-sdk/anthropic",
        dict.fromkeys(_AI_MESSAGES, "usage.raw providerMetadata.anthropic.usage"),
    ),
    Client(
        "genai",
        "@google/genai",
        {
            "generate": "usageMetadata",
            "generate tool": "usageMetadata",
            "generate stream": "[-1].usageMetadata",
            "generate stream tool": "[-1].usageMetadata",
        },
        {"repeated": "text"},
    ),
    Client(
        "ollama",
        "ollama",
        {
            "chat": "top",
            "chat tool": "top",
            "chat stream": "[-1]",
            "chat stream tool": "[-1]",
            "generate": "top",
            "generate stream": "[-1]",
            "embed": "top",
        },
        {"event": "raises", "chunk": "raises"},
    ),
)


@pytest.fixture(scope="module")
def document_of(served: Houses, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Client], Document]:
    """What a client printed; each is run once."""
    found: dict[Client, Document] = {}

    def run(client: Client) -> Document:
        node = shutil.which("node")
        if node is None or not (FOLDER / "node_modules" / ".done").exists():
            pytest.skip("the clients for Node are not installed; run: make test-clients")
        if client not in found:
            script = (FOLDER / client.script).with_suffix(".mjs").relative_to(ROOT)
            found[client] = served.document([node, script], tmp_path_factory.mktemp("home"))
        return found[client]

    return run


clients = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.package)


@clients
class TestNodeClients(ClientTests):
    """All that holds of every client."""


@clients
def test_the_client_is_the_version_that_is_pinned(client: Client, document_of: Callable[[Client], Document]) -> None:
    pins = json.loads((FOLDER / "package.json").read_text(encoding="utf-8"))["dependencies"]

    document = document_of(client)

    assert pins[client.package] == document.version
