"""What Gemini's JSON says: counts, texts, prompts. Knows members and their meaning; does not know streams or bytes.

`totalTokenCount` is "the sum of `prompt_token_count`, `candidates_token_count`, `tool_use_prompt_token_count`, and
`thoughts_token_count`", and the prompt "also includes the number of tokens in the cached content" (google-genai 3.6,
types.py). Servers that count thoughts among the candidates' tokens show it by a total that leaves no room for them. A count
of zero is absent, as in all JSON made of protocol buffers. Vertex has told what came from a cache by kind alone, in
`cacheTokensDetails` (googleapis/python-genai, issue 795). Member names come in camelCase; snake_case is read as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from headwater.dialects.kit.lenient import compact, count, objects, string, total, within
from headwater.dialects.kit.prompts import PromptBuilder
from headwater.records import Usage

_UPPER: Final = re.compile(r"[A-Z]")
_UNSPECIFIED: Final = "_UNSPECIFIED"
USAGE: Final = "usageMetadata"


def snake(name: str) -> str:
    """A member's name in snake_case."""
    return _UPPER.sub(lambda letter: "_" + letter[0].lower(), name)


_SNAKE: Final = {
    name: snake(name)
    for name in (
        "cachedContent", "cachedContentTokenCount", "cacheTokensDetails", "candidateCount", "candidatesTokenCount", "executableCode", "fileData",
        "finishReason", "functionCall", "functionDeclarations", "functionResponse", "generationConfig", "inlineData",
        "codeExecutionResult", "blockReason", "mimeType", "parametersJsonSchema", "promptFeedback", "promptTokenCount",
        "systemInstruction", "thoughtsTokenCount", "tokenCount", "toolUsePromptTokenCount", "totalTokenCount", USAGE,
    )
}  # fmt: skip


def member(value: dict[str, Any], name: str) -> Any:
    """A member by its camelCase name, in either spelling; None where there is none."""
    found = value.get(name)
    return value.get(_SNAKE[name]) if found is None else found


def usage_of(usage: dict[str, Any], *, is_final: bool) -> Usage | None:
    """Gemini's counts in canonical shape; None where there are none.

    `is_final`: nothing more will be generated, so that what is absent is zero where the total leaves no room for it. Before
    that, absent candidates' tokens are not known.
    """
    asked, made = count(member(usage, "promptTokenCount")), count(member(usage, "candidatesTokenCount"))
    tools, thoughts = count(member(usage, "toolUsePromptTokenCount")), count(member(usage, "thoughtsTokenCount"))
    whole = count(member(usage, "totalTokenCount"))
    given = None if asked is None else total(asked, tools)
    if made is None and is_final and given is not None and whole is not None and whole >= given:
        made = max(0, whole - given - (thoughts or 0))
    if given is None and made is None:
        return None
    cached = _cached(usage)
    output = made if made is None or _are_within(thoughts, made, given, asked, whole) else total(made, thoughts)
    return Usage(
        input_tokens=given,
        output_tokens=output,
        cached_tokens=None if given is None or cached is None else min(cached, given),
        reasoning_tokens=None if output is None else thoughts,
        source="upstream",
    )


def _cached(usage: dict[str, Any]) -> int | None:
    """What came from a cache: as one count, or else by kind."""
    cached = count(member(usage, "cachedContentTokenCount"))
    kinds = objects(member(usage, "cacheTokensDetails"))
    return total(*(count(member(kind, "tokenCount")) for kind in kinds)) if cached is None else cached


def _are_within(thoughts: int | None, made: int, given: int | None, asked: int | None, whole: int | None) -> bool:
    """Whether the thoughts are among the candidates' tokens, by the total; some totals leave the tools' tokens out."""
    if not thoughts or thoughts > made or given is None or asked is None or whole is None:
        return False
    rest = (whole - given, whole - asked)
    return made in rest and made + thoughts not in rest


def error_of(found: dict[str, Any]) -> bool:
    """Whether it is an error in place of an answer."""
    return bool(found.get("error"))


def is_blocked(found: dict[str, Any]) -> bool:
    """Whether the prompt was blocked, so that there will be no candidate."""
    return _is_said(member(within(member(found, "promptFeedback")), "blockReason"))


def is_finished(candidate: dict[str, Any]) -> bool:
    """Whether a candidate says why it ended."""
    return _is_said(member(candidate, "finishReason"))


def text_of(candidate: dict[str, Any]) -> str:
    """What a candidate generated, thoughts too: text, calls of functions, code."""
    return "".join(_generated(candidate.get("content")))


def add_prompt(prompt: PromptBuilder, found: dict[str, Any]) -> None:
    """Instruction, contents and functions of a request."""
    _add_content(prompt, member(found, "systemInstruction"))
    for content in listed(found.get("contents")):
        prompt.begin_message()
        prompt.add_text(content.get("role"))
        _add_content(prompt, content)
    for tool in listed(found.get("tools")):
        for function in objects(member(tool, "functionDeclarations")):
            schema = within(function, "parameters") or within(member(function, "parametersJsonSchema"))
            prompt.add_tool({**function, "parameters": schema})
    if member(found, "cachedContent"):
        prompt.add_uncounted()


def add_embedded(prompt: PromptBuilder, found: dict[str, Any]) -> None:
    """The contents of a request for embeddings, one or many."""
    for each in [found, *listed(found.get("requests"))]:
        _add_content(prompt, each.get("content"))


def images_count(found: dict[str, Any]) -> int:
    """Pictures in the contents, sent along or named by their address."""
    contents = listed(found.get("contents"))
    contents += [within(each.get("content")) for each in (found, *listed(found.get("requests")))]
    return sum(_mime_type(part).startswith("image/") for content in contents for part in listed(content.get("parts")))


def listed(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; Google's servers take one object for a list of one."""
    return [value] if isinstance(value, dict) else objects(value)


def _is_said(reason: Any) -> bool:
    return bool(reason) and not string(reason).endswith(_UNSPECIFIED)


def _generated(content: Any) -> Iterator[str]:
    for part in listed(within(content).get("parts")):
        yield string(part.get("text"))
        call = within(member(part, "functionCall"))
        yield string(call.get("name"))
        if call.get("args"):
            yield compact(call["args"])
        yield string(within(member(part, "executableCode")).get("code"))


def _mime_type(part: dict[str, Any]) -> str:
    data = within(member(part, "inlineData")) or within(member(part, "fileData"))
    return string(member(data, "mimeType"))


def _add_content(prompt: PromptBuilder, content: Any) -> None:
    prompt.add_text(content)  # some servers take an instruction that is a bare string
    for part in listed(within(content).get("parts")):
        prompt.add_text(*(text for text in _generated({"parts": [part]}) if text))
        answer = within(member(part, "functionResponse"))
        prompt.add_text(answer.get("name"))
        if answer.get("response"):
            prompt.add_text(compact(answer["response"]))
        prompt.add_text(within(member(part, "codeExecutionResult")).get("output"))
        _add_data(prompt, part)


def _add_data(prompt: PromptBuilder, part: dict[str, Any]) -> None:
    data, mime_type = within(member(part, "inlineData")), _mime_type(part)
    kind, _, encoding = mime_type.partition("/")
    if data and kind == "image":
        prompt.add_picture(f"data:{mime_type};base64,{string(data.get('data'))}")
    elif data and kind == "audio":
        prompt.add_audio(data.get("data"), encoding)
    elif data or member(part, "fileData"):
        prompt.add_uncounted()
