"""What a chat format puts around the texts, and how it writes tools down: the rules of OpenAI's cookbook. Pure; counts no
text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from headwater.records import ChatFormat, Prompt, Tool
from headwater.tokens.amount import Amount, exactly, of, total

_NESTED: Final = frozenset(
    {"properties", "items", "prefixItems", "additionalProperties", "anyOf", "allOf", "oneOf", "$ref"}
)
"""Members of a property's schema that the cookbook's rule does not know."""


@dataclass(slots=True)
class Written:
    """A prompt's tools as the model gets them: texts to encode, JSON whose writing is not known, and what stands around."""

    texts: list[str] = field(default_factory=list)
    json_texts: list[str] = field(default_factory=list)
    around: list[Amount] = field(default_factory=list)


def around_messages(prompt: Prompt, chat: ChatFormat) -> Amount:
    """The tokens around the messages of a prompt, however many answers are asked for; none around what is no chat."""
    if not prompt.messages_count:
        return exactly(prompt.tokens_count)
    return total(
        exactly(prompt.tokens_count),
        of(chat.message_tokens, prompt.messages_count),
        of(chat.name_tokens, prompt.names_count),
        of(chat.priming_tokens),
    )


def write_tools(tools: Iterable[Tool], chat: ChatFormat) -> Written:
    """The tools by the cookbook's rule; what is nested deeper than the rule knows, as JSON."""
    written = Written()
    for tool in tools:
        written.texts.append(f"{tool.name}:{tool.description.removesuffix('.')}")
        written.around.append(of(chat.function_tokens))
        properties = tool.schema.get("properties")
        if isinstance(properties, Mapping) and properties:
            written.around.append(of(chat.properties_tokens))
            for name, schema in properties.items():
                _write_property(written, chat, name, schema if isinstance(schema, Mapping) else {})
        if definitions := {key: tool.schema[key] for key in ("$defs", "definitions") if key in tool.schema}:
            written.json_texts.append(as_json(definitions))
    if written.texts:
        written.around.append(of(chat.functions_end_tokens))
    return written


def _write_property(written: Written, chat: ChatFormat, name: str, schema: Mapping[str, Any]) -> None:
    written.around.append(of(chat.property_tokens))
    kind, description, values = schema.get("type"), schema.get("description"), schema.get("enum")
    if isinstance(values, list):
        saved = chat.enum_saved_tokens
        written.around.append(Amount(-saved.value, -saved.high, -saved.low, saved.confidence != "estimated"))
        written.around.append(of(chat.enum_item_tokens, len(values)))
        written.texts += [each if isinstance(each, str) else as_json(each) for each in values]
    told = description.removesuffix(".") if isinstance(description, str) else ""
    written.texts.append(f"{name}:{kind if isinstance(kind, str) else as_json(kind)}:{told}")
    if nested := {key: schema[key] for key in schema if key in _NESTED}:
        written.json_texts.append(as_json(nested))


def as_json(value: Any) -> str:
    """A JSON value as text, as short as may be; nothing where it is nested too deep to be written."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        return ""
