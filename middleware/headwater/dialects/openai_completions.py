"""OpenAI's legacy completions, `POST .../completions`, and Mistral's `/fim/completions` and `/agents/completions`.

Knows the request; the reply, whole or streamed, is that of chat but for `text` in place of a message (Mistral's are
messages). Several prompts make n answers each, whose indices run on. Sans I/O, no clock.
"""

from __future__ import annotations

from typing import Any

from headwater.dialects import openai_family
from headwater.dialects.kit.lenient import count, json_object, objects
from headwater.dialects.kit.prompts import PromptBuilder
from headwater.dialects.kit.whole import WholeReply
from headwater.dialects.openai_chat import add_message
from headwater.dialects.openai_stream import OpenAIStream
from headwater.errors import NotOurs
from headwater.records import ChatRequest, Prompt, Target


class OpenAICompletions:
    """The dialect of `POST .../completions`."""

    name = "openai-completions"

    def matches(self, method: str, path: str) -> bool:
        """Whether this is a completion of text; one of chat is not."""
        return method == "POST" and path.endswith("/completions") and not path.endswith("/chat/completions")

    def read_request(self, body: bytes, target: Target) -> ChatRequest:
        """Read model, stream, how many answers were asked for, and how many more will be drafted and thrown away.

        Raises:
            NotOurs: neither a model nor a prompt nor messages: another app with a path of the same name.
            DialectError: the body is no JSON object.
        """
        found = openai_family.read_request(body)
        model = openai_family.model_of(found, target)
        if model is None and b'"prompt"' not in body and b'"messages"' not in body:
            raise NotOurs("request body has neither a model nor a prompt")
        each = max(1, count(found.n) or 1)
        return ChatRequest(
            model=model,
            stream=found.stream is True,
            usage_asked=openai_family.asks_for_usage(found),
            choices_count=each * _prompts_count(found.prompt),
            drafts_ratio=max(1.0, (count(found.best_of) or 1) / each),
            raw=body,
        )

    def prompt(self, request: ChatRequest) -> Prompt:
        """Prompt and suffix, or the messages that Mistral's agents take, for counting. Token ids count as they are."""
        body = json_object(request.raw) or {}
        prompt = PromptBuilder()
        add_prompts(prompt, body.get("prompt"))
        prompt.add_text(body.get("suffix"))
        for message in objects(body.get("messages")):
            add_message(prompt, message)
        prompt.add_tools(body.get("tools"))
        return prompt.done()

    def read_reply(self, body: bytes, request: ChatRequest) -> WholeReply:
        """Read a whole JSON reply; bad bytes give a failed one."""
        return openai_family.read_reply(body)

    def stream_reader(
        self, request: ChatRequest, content_type: bytes, *, usage_injected: bool = False
    ) -> OpenAIStream | None:
        """A reader for one streamed reply."""
        return openai_family.stream_reader(request, content_type, usage_injected=usage_injected)

    def ask_for_usage(self, body: bytes) -> bytes:
        """The body with usage on its stream asked for.

        Raises:
            DialectError: the body is no JSON object.
        """
        return openai_family.with_usage_asked(body)


def add_prompts(prompt: PromptBuilder, given: Any) -> None:
    """A text, several texts, token ids, or several lists of them."""
    if isinstance(given, str):
        prompt.add_text(given)
    elif isinstance(given, list):
        prompt.add_text(*given)
        prompt.add_tokens(sum(count(each) is not None for each in given))
        for each in given:
            if isinstance(each, list):
                prompt.add_tokens(len(each))


def _prompts_count(given: Any) -> int:
    """How many prompts there are; a list of token ids is one."""
    if not isinstance(given, list):
        return 1
    return max(1, sum(isinstance(each, (str, list)) for each in given))
