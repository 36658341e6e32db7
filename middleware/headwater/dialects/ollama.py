"""Ollama's own API: `POST .../api/chat`, `/api/generate`, `/api/embed` and the older `/api/embeddings`. Sans I/O, no clock.

Counts and times stand at the top level of the reply, or of the last line of its stream, which says `"done":true`. Ollama is
written in Go and leaves out what is zero ("omitempty", `Metrics` in api/types.go), so an absent figure is zero or unknown:
see `usage_of`. Its names of members know no case, as in Go's encoding/json: what passes there must not pass the meter.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Final

from headwater.dialects.base import StreamReader
from headwater.dialects.kit import edits
from headwater.dialects.kit.lenient import count, json_object, objects, seconds, string, within
from headwater.dialects.kit.ndjson import NDJSON, LineFramer
from headwater.dialects.kit.prompts import PromptBuilder
from headwater.dialects.kit.stencil import Stencils
from headwater.dialects.kit.stream import EventStream, Turn
from headwater.dialects.kit.whole import WholeReply
from headwater.errors import DialectError, NotOurs
from headwater.records import ChatRequest, Prompt, Target, Told, Usage
from headwater.units import NS_PER_S

_MARKER: Final = re.compile(rb'"done"\s*:\s*true')
_CREATED: Final = re.compile(rb'"(created_at)"\s*:\s*"')
_TEXT_START: Final = re.compile(rb'"(?:content|response|thinking)"\s*:\s*"')
_TEXTS: Final = ("thinking", "content", "response")
_MODEL_MOVED: Final = frozenset({"load", "unload"})
"""`done_reason` where an empty prompt only brought a model into memory or out of it (GenerateHandler in server/routes.go)."""
_CLOUD: Final = "ollama.com"
_NOTHING_MADE: Final = Usage(input_tokens=0, output_tokens=0, source="upstream")


class _Ollama:
    """What the operations have in common: how a request is known, and the body of one."""

    name: str
    _paths: tuple[str, ...]
    _streams = True

    def matches(self, method: str, path: str) -> bool:
        """Whether the path is this operation's; `read_request` looks whether the body is."""
        return method == "POST" and path.endswith(self._paths)

    def read_request(self, body: bytes, target: Target) -> ChatRequest:
        """Read model, stream (true unless it says false) and pictures.

        Raises:
            NotOurs: there is no model, which Ollama demands: another app with a path of the same name.
            DialectError: the body is no JSON object.
        """
        found = _members(body)
        if found is None:
            raise DialectError(f"request body of {len(body)} bytes is not a JSON object")
        model = string(found.get("model"))
        if not model:
            raise NotOurs("request body names no model")
        holders = [found, *objects(found.get("messages"))]
        return ChatRequest(
            model=model,
            stream=self._streams and found.get("stream") is not False,
            images_count=sum(len(_list(holder.get("images"))) for holder in holders),
            raw=body,
        )

    def ask_for_usage(self, body: bytes) -> bytes:
        """The body as it is: the counts always come."""
        return body


class _OllamaText(_Ollama):
    """An operation that makes text."""

    def read_reply(self, body: bytes, request: ChatRequest) -> WholeReply:
        """Read a whole JSON reply; bad bytes give a failed one."""
        found = json_object(body)
        if found is None:
            return WholeReply(body=body, usage_path=edits.TOP_LEVEL)
        is_reply = isinstance(found.get("message"), dict) or isinstance(found.get("response"), str)
        return WholeReply(
            body=body,
            complete=found.get("done") is True,
            failed=bool(found.get("error")) or not is_reply,
            told=told_of(found, request.model, has_text=bool(_text(found))),
            text=partial(_text, found),
            usage_path=edits.TOP_LEVEL,
        )

    def stream_reader(
        self, request: ChatRequest, content_type: bytes, *, usage_injected: bool = False
    ) -> OllamaStream | None:
        """A reader for one streamed reply."""
        return OllamaStream(request.model) if content_type == NDJSON else None


class OllamaChat(_OllamaText):
    """The dialect of `POST .../api/chat`."""

    name = "ollama-chat"
    _paths = ("/api/chat",)

    def prompt(self, request: ChatRequest) -> Prompt:
        """Messages and tools, for counting. A `format` steers the sampler and is not part of the prompt."""
        found = _members(request.raw) or {}
        prompt = PromptBuilder()
        for message in objects(found.get("messages")):
            prompt.begin_message()
            prompt.add_text(
                message.get("role"), message.get("thinking"), message.get("content"), message.get("tool_name")
            )
            _add_calls(prompt, message)
            _add_pictures(prompt, message)
        prompt.add_tools(found.get("tools"))
        return prompt.done()


class OllamaGenerate(_OllamaText):
    """The dialect of `POST .../api/generate`."""

    name = "ollama-generate"
    _paths = ("/api/generate",)

    def prompt(self, request: ChatRequest) -> Prompt:
        """System, prompt, suffix, and the tokens of an earlier `context`; all but a raw one stand in the form of a chat."""
        found = _members(request.raw) or {}
        prompt = PromptBuilder()
        for text in (found.get("system"), found.get("prompt")):
            if isinstance(text, str) and found.get("raw") is not True:
                prompt.begin_message()
            prompt.add_text(text)
        prompt.add_text(found.get("suffix"))
        prompt.add_tokens(len(_list(found.get("context"))))
        _add_pictures(prompt, found)
        return prompt.done()


class OllamaEmbed(_Ollama):
    """The dialect of `POST .../api/embed`, and of `/api/embeddings`, which counts nothing."""

    name = "ollama-embed"
    _paths = ("/api/embed", "/api/embeddings")
    _streams = False

    def prompt(self, request: ChatRequest) -> Prompt:
        """The texts to embed."""
        found = _members(request.raw) or {}
        prompt = PromptBuilder()
        for given in (found.get("input"), found.get("prompt")):
            prompt.add_text(given, *_list(given))
        return prompt.done()

    def read_reply(self, body: bytes, request: ChatRequest) -> WholeReply:
        """Read a whole JSON reply; bad bytes give a failed one."""
        found = json_object(body) or {}
        vectors = found.get("embeddings", found.get("embedding"))
        is_reply = isinstance(vectors, list) and not found.get("error")
        given = count(found.get("prompt_eval_count"))
        usage = Usage(input_tokens=given, output_tokens=0, source="upstream") if vectors or given else _NOTHING_MADE
        return WholeReply(
            body=body,
            complete=is_reply,
            failed=not is_reply,
            told=Told(usage=usage, remote=_remote(found, request.model)) if is_reply else Told(),
            usage_path=edits.TOP_LEVEL,
        )

    def stream_reader(
        self, request: ChatRequest, content_type: bytes, *, usage_injected: bool = False
    ) -> StreamReader | None:
        """None: embeddings come whole."""
        return None


class OllamaStream(EventStream):
    """The reader of one stream. The footprint goes to the end of the line that says `"done":true`."""

    def __init__(self, model: str | None) -> None:
        stencils = Stencils(_TEXT_START, _lesson, varying=_CREATED)
        super().__init__(LineFramer(), marker=_MARKER, stencils=stencils, usage_path=edits.TOP_LEVEL)
        self._model = model
        self._told = told_of({}, model, has_text=False)

    @property
    def told(self) -> Told:
        """What the lines have said so far: all but the last can only tell who else does the work."""
        return self._told

    def _read(self, data: bytes) -> Turn:
        found = json_object(data) or {}
        text = _text(found)
        if text:
            self._keep(0, text)
        if found.get("error"):
            self.failed = True
        if found.get("done") is True:
            self._told = told_of(found, self._model, has_text=self.events_count > 0)
            self.complete = True
            return Turn.LAST
        if _remote(found, None):
            self._told = Told(remote=_remote(found, None))
        return Turn.ORDINARY


def told_of(found: dict[str, Any], model: str | None, *, has_text: bool) -> Told:
    """What a reply, or the last line of a stream, says of its work."""
    busy_s = _total_s(found.get("prompt_eval_duration"), found.get("eval_duration"))
    return Told(usage=usage_of(found, has_text=has_text), busy_s=busy_s, remote=_remote(found, model))


def _total_s(*durations_ns: Any) -> float | None:
    """The sum of the durations that are there; None where none is, or where they say that no time was spent."""
    return sum(seconds(each, per_s=NS_PER_S) or 0.0 for each in durations_ns) or None


def usage_of(found: dict[str, Any], *, has_text: bool) -> Usage | None:
    """Ollama's counts in canonical shape; None where there are none.

    An absent `prompt_eval_count` is unknown: older versions leave it out where all of the prompt was in their cache. An
    absent `eval_count` is zero where the reply is done, has no text, and gives its other figures. Thinking is inside it.
    """
    given, made = count(found.get("prompt_eval_count")), count(found.get("eval_count"))
    if found.get("done") is True:
        if given is None and made is None and string(found.get("done_reason")) in _MODEL_MOVED and not has_text:
            return _NOTHING_MADE
        if given is not None and "eval_count" not in found and not has_text:
            made = 0
    if given is None and made is None:
        return None
    cached = count(found.get("prompt_eval_cached_count"))
    return Usage(
        input_tokens=given,
        output_tokens=made,
        cached_tokens=None if given is None or cached is None else min(cached, given),
        source="upstream",
    )


def _members(body: bytes) -> dict[str, Any] | None:
    """The members of a request by their names without case, the last of each; None where it is no JSON object."""
    found = json_object(body)
    return None if found is None else {name.casefold(): value for name, value in found.items()}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _remote(found: dict[str, Any], model: str | None) -> str:
    """Who else does the work, "" for nobody: as the reply says it, or by the model's tag. What Ollama passes on to its cloud
    for a tag (ParseRef in internal/modelref) comes back as the cloud sends it, which does not call itself remote."""
    said = string(found.get("remote_host")) or string(found.get("remote_model"))
    tag = (model or "").rpartition(":")[1:]
    is_cloud = tag[0] and (
        tag[1].strip().lower() == "cloud" or ("/" not in tag[1] and tag[1].lower().endswith("-cloud"))
    )
    return said or (_CLOUD if is_cloud else "")


def _parts(found: dict[str, Any]) -> dict[str, Any]:
    """Where the text of a reply stands: in its message, or beside its counts."""
    return within(found, "message") or found


def _text(found: dict[str, Any]) -> str:
    parts = _parts(found)
    text = "".join([string(parts.get(name)) for name in _TEXTS])
    if not parts.get("tool_calls"):
        return text
    calls = PromptBuilder()
    _add_calls(calls, parts)
    return text + "".join(calls.done().texts)


def _lesson(data: bytes) -> tuple[int, str] | None:
    found = json_object(data) or {}
    parts = _parts(found)
    texts = [text for name in _TEXTS if (text := string(parts.get(name)))]
    if found.get("done") is not False or found.get("error") or parts.get("tool_calls") or len(texts) != 1:
        return None
    return 0, texts[0]


def _add_calls(prompt: PromptBuilder, message: dict[str, Any]) -> None:
    for call in objects(message.get("tool_calls")):
        function = within(call, "function")
        prompt.add_text(function.get("name"))
        prompt.add_json(function.get("arguments"))


def _add_pictures(prompt: PromptBuilder, holder: dict[str, Any]) -> None:
    for picture in _list(holder.get("images")):
        prompt.add_picture(picture)
