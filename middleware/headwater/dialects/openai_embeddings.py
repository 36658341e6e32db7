"""OpenAI's embeddings, `POST .../embeddings`. Nothing is generated: all tokens are input.

Knows request and reply; a reply's vectors, which may be megabytes, are skipped and never become objects. No I/O, no clock.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headwater.dialects import openai_family
from headwater.dialects.base import StreamReader
from headwater.dialects.kit.lenient import count, json_object, objects, within
from headwater.dialects.kit.prompts import PromptBuilder
from headwater.dialects.kit.whole import WholeReply
from headwater.dialects.openai_completions import add_prompts
from headwater.dialects.openai_shapes import Shape
from headwater.errors import NotOurs
from headwater.records import ChatRequest, Prompt, Target, Told, Usage


class EmbeddingsBody(msgspec.Struct):
    """A whole reply without its vectors, which stay the bytes that they are."""

    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    usage: Any = None
    error: Any = None
    object: Any = None


_replies: Final = Shape(EmbeddingsBody)


class OpenAIEmbeddings:
    """The dialect of `POST .../embeddings`."""

    name = "openai-embeddings"

    def matches(self, method: str, path: str) -> bool:
        """Whether texts are to be embedded; Ollama's older `/api/embeddings` has another shape."""
        return method == "POST" and path.endswith("/embeddings") and not path.endswith("/api/embeddings")

    def read_request(self, body: bytes, target: Target) -> ChatRequest:
        """Read the model; there is no stream.

        Raises:
            NotOurs: neither a model nor an input: another app with a path of the same name.
            DialectError: the body is no JSON object.
        """
        found = openai_family.read_request(body)
        model = openai_family.model_of(found, target)
        if model is None and b'"input"' not in body:
            raise NotOurs("request body has neither a model nor an input")
        return ChatRequest(model=model, raw=body)

    def prompt(self, request: ChatRequest) -> Prompt:
        """The texts, for counting; token ids count as they are."""
        given = (json_object(request.raw) or {}).get("input")
        prompt = PromptBuilder()
        add_prompts(prompt, given)
        for part in objects(given):  # Jina and others embed pictures too
            prompt.add_text(part.get("text"))
            if part.get("image") is not None:
                prompt.add_picture(part["image"])
        return prompt.done()

    def read_reply(self, body: bytes, request: ChatRequest) -> WholeReply:
        """Read a whole JSON reply; bad bytes give a failed one."""
        found = _replies.read(body)
        if found is None:
            return WholeReply(body=body)
        is_failed = bool(found.error) or found.object == "error" or found.data is msgspec.UNSET
        return WholeReply(
            body=body, complete=not is_failed, failed=is_failed, told=Told(usage=_usage_of(within(found.usage)))
        )

    def stream_reader(
        self, request: ChatRequest, content_type: bytes, *, usage_injected: bool = False
    ) -> StreamReader | None:
        """There are no streams."""
        return None

    def ask_for_usage(self, body: bytes) -> bytes:
        """The body as it is: usage always comes."""
        return body


def _usage_of(usage: dict[str, Any]) -> Usage | None:
    given = count(usage.get("prompt_tokens"))
    if given is None:
        given = count(usage.get("total_tokens"))  # Voyage says no more
    return None if given is None else Usage(input_tokens=given, output_tokens=0, source="upstream")
