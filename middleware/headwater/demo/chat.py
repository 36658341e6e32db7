"""Two users of the demo chat through the real openai SDK, streaming and not. Prints each answer with its footprint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from headwater.demo.model import MODEL

KEYS: Final = {"ada": "demo-key-of-ada", "grace": "demo-key-of-grace"}
_QUESTIONS: Final = (
    ("ada", "What is the capital of France?", "whole"),
    ("grace", "How many legs does a spider have?", "stream"),
    ("ada", "What do bees make?", "stream-with-usage"),
    ("grace", "Why do leaves fall in autumn?", "whole"),
    ("ada", "What is water made of?", "stream"),
)
_MAX_TOKENS: Final = 64
_OURS: Final = ("headwater-id", "headwater-footprint", "headwater-period", "link")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One question with its answer, as the client saw them."""

    user: str
    key: str
    question: str
    answer: str
    finish_reason: str | None
    request_id: str
    headers: tuple[tuple[str, str], ...]
    footprint: dict[str, Any]
    usage: tuple[int, int] | None


def chat(base_url: str, say: Callable[[str], None]) -> Iterator[Turn]:
    """Ask all questions, one after another; yields what came back."""
    clients = {name: OpenAI(api_key=key, base_url=base_url, max_retries=0) for name, key in KEYS.items()}
    try:
        for user, question, manner in _QUESTIONS:
            turn = (
                _whole(clients[user], user, question)
                if manner == "whole"
                else _stream(clients[user], user, question, manner)
            )
            for line in lines(turn, manner):
                say(line)
            yield turn
    finally:
        for client in clients.values():
            client.close()


def _messages(question: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": question}]


def _whole(client: OpenAI, user: str, question: str) -> Turn:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=_messages(question), stop=["\n"], max_tokens=_MAX_TOKENS, temperature=0, seed=1
    )
    reply = raw.parse()
    usage = reply.usage
    assert usage is not None  # noqa: S101 - llama.cpp always gives it
    return Turn(
        user=user,
        key=KEYS[user],
        question=question,
        answer=(reply.choices[0].message.content or "").strip(),
        finish_reason=reply.choices[0].finish_reason,
        request_id=raw.headers["headwater-id"],
        headers=tuple((name, raw.headers[name]) for name in _OURS if name in raw.headers),
        footprint=(usage.model_extra or {})["footprint"],
        usage=(usage.prompt_tokens, usage.completion_tokens),
    )


def _stream(client: OpenAI, user: str, question: str, manner: str) -> Turn:
    options: Any = {"stream_options": {"include_usage": True}} if manner == "stream-with-usage" else {}
    answer, finish_reason, usage = "", None, None
    footprint: dict[str, Any] = {}
    with client.chat.completions.create(
        model=MODEL,
        messages=_messages(question),
        stop=["\n"],
        max_tokens=_MAX_TOKENS,
        temperature=0,
        seed=1,
        stream=True,
        **options,
    ) as stream:
        for chunk in stream:
            for choice in chunk.choices:
                answer += choice.delta.content or ""
                finish_reason = choice.finish_reason or finish_reason
            if chunk.usage is not None:
                usage = (chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
                footprint = (chunk.usage.model_extra or {}).get("footprint", footprint)
            footprint = (chunk.model_extra or {}).get("footprint", footprint)
        request_id = stream.response.headers["headwater-id"]
    return Turn(
        user=user,
        key=KEYS[user],
        question=question,
        answer=answer.strip(),
        finish_reason=finish_reason,
        request_id=request_id,
        headers=(),
        footprint=footprint,
        usage=usage,
    )


def lines(turn: Turn, manner: str) -> Iterator[str]:
    """A turn as the demo prints it."""
    yield f"{turn.user} asks: {turn.question}   [{manner.replace('-', ' ')}]"
    yield f"  answer:    {turn.answer}   (finish_reason={turn.finish_reason})"
    footprint = turn.footprint
    if "energy_j" not in footprint:
        yield f"  footprint: unknown ({footprint.get('reason', 'not disclosed')})"
    else:
        energy_low, energy_high = footprint["energy_j_range"]
        water_low, water_high = footprint["water_ul_range"]
        tokens = footprint["tokens"]
        yield (
            f"  footprint: {footprint['energy_j']} J ({energy_low} to {energy_high}), {footprint['water_ul']} uL of water "
            f"({water_low} to {water_high}); {tokens['input']} tokens in, {tokens['output']} out ({tokens['source']}); {footprint['method']}"
        )
    yield ""
