"""Gemini: counts whose total decides, streams of events without a terminator, arrays that come piece by piece, embeddings."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.dialects import find
from headwater.dialects.gemini import Gemini, GeminiEmbed
from headwater.dialects.gemini_shapes import text_of, usage_of
from headwater.dialects.kit.lenient import json_object
from headwater.records import ChatRequest, Target, Tool, Usage
from tests.dialects.payloads import payload
from tests.dialects.streams import ADDITION, FOOTPRINT, Seen, bytewise, cut, feed, unfolded

GEMINI, EMBED = Gemini(), GeminiEmbed()
SSE, JSON = b"text/event-stream", b"application/json"
COUNTS = {"promptTokenCount": 1200, "candidatesTokenCount": 85, "thoughtsTokenCount": 410, "totalTokenCount": 1745}
COUNTS |= {"cachedContentTokenCount": 1000, "toolUsePromptTokenCount": 50}
WHOLE = Usage(input_tokens=1250, output_tokens=495, cached_tokens=1000, reasoning_tokens=410, source="upstream")
EARLY = {"promptTokenCount": 1200, "totalTokenCount": 1200}


def asked(path: str = "/v1beta/models/gemini-2.5-pro:streamGenerateContent", **body: Any) -> ChatRequest:
    return GEMINI.read_request(json.dumps(body).encode(), Target(method="POST", path=path, query=b"alt=sse"))


def chunk(*texts: str, index: int = 0, finish: str | None = None, usage: Any = None, **members: Any) -> dict[str, Any]:
    """One part of a streamed reply; zeroes are absent, as in all JSON made of protocol buffers."""
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text} for text in texts], "role": "model"}}
    candidate |= {} if finish is None else {"finishReason": finish}
    candidate |= {} if index == 0 else {"index": index}
    said = {} if usage is None else {"usageMetadata": usage}
    return {"candidates": [candidate], **said, "modelVersion": "gemini-2.5-pro", **members}


def event(found: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(found, ensure_ascii=False).encode() + b"\r\n\r\n"


def array(*found: dict[str, Any]) -> bytes:
    return b"[" + b"\n,\r\n".join(json.dumps(each, indent=2).encode() for each in found) + b"\n]\n"


CALL = {"functionCall": {"name": "get_weather", "args": {"city": "Ålesund"}}}
CODE = {"executableCode": {"language": "PYTHON", "code": "print(1)"}}
CHUNKS: dict[str, list[dict[str, Any]]] = {
    "whole": [chunk("Hel", usage=EARLY), chunk("lo", ' "世界"\n'), chunk(".", finish="STOP", usage=COUNTS)],
    "thinking": [
        {"candidates": [{"content": {"parts": [{"text": "Let me see", "thought": True}]}}], "usageMetadata": EARLY},
        {"candidates": [{"content": {"parts": [CALL, CODE]}}], "usageMetadata": {"trafficType": "ON_DEMAND"}},
        chunk("", finish="STOP", usage=COUNTS),
    ],
    "two_candidates": [
        chunk("A", usage=EARLY),
        chunk("B", index=1, usage=EARLY),
        chunk("a", finish="STOP", usage=EARLY),
        chunk("b", index=1, finish="MAX_TOKENS", usage=COUNTS),
    ],
    "usage_behind": [chunk("Hi", usage=EARLY), chunk(finish="STOP"), {"usageMetadata": COUNTS}],
    "usage_first": [{"usageMetadata": COUNTS, **chunk("Hi", finish="STOP")}],
    "too_early": [chunk(finish="STOP"), chunk("Hi"), chunk(finish="STOP", usage=COUNTS)],
    "no_usage": [chunk("Hi"), chunk("!", finish="STOP")],
    "blocked": [
        {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 12, "totalTokenCount": 12}}
    ],
    "aborted": [chunk("Hel", usage=EARLY), chunk("lo", usage=EARLY)],
    "error": [chunk("Hel", usage=EARLY), {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}],
    "snake": [
        {
            "candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finish_reason": "STOP"}],
            "usage_metadata": {"prompt_token_count": 3, "candidates_token_count": 2, "total_token_count": 5},
        }
    ],
    "long": [*(chunk(f"w{n} ", usage=EARLY) for n in range(40)), chunk(".", finish="STOP", usage=COUNTS)],
}
STREAMS = {name: b"".join(map(event, found)) for name, found in CHUNKS.items()}
STREAMS["bare_error"] = STREAMS["aborted"] + json.dumps({"error": {"code": 500}}, indent=2).encode()
STREAMS["bare_error_in_array"] = STREAMS["aborted"] + b'[{\n "error": {"code": 500}\n}]\n\n'
STREAMS["commented"] = b": hello\r\n\r\n" + STREAMS["no_usage"] + b": bye\r\n\r\n"
ARRAYS = {name: array(*found) for name, found in CHUNKS.items()}


def run(chunks: Iterable[bytes], *, n: int = 1, kind: bytes = SSE, footprint: bytes | None = FOOTPRINT) -> Seen:
    reader = GEMINI.stream_reader(asked(generationConfig={"candidateCount": n}), kind)
    assert reader is not None
    return feed(reader, chunks, footprint=footprint)


@pytest.mark.parametrize(
    ("name", "n", "place"),
    [
        ("whole", 1, b'"toolUsePromptTokenCount": 50'),
        ("thinking", 1, b'"toolUsePromptTokenCount": 50'),
        ("two_candidates", 2, b'"toolUsePromptTokenCount": 50'),
        ("usage_behind", 1, b'"toolUsePromptTokenCount": 50'),
        ("usage_first", 1, b'"toolUsePromptTokenCount": 50'),
        ("too_early", 1, b'"toolUsePromptTokenCount": 50'),
        ("blocked", 1, b'"totalTokenCount": 12'),
        ("blocked", 4, b'"totalTokenCount": 12'),
        ("snake", 1, b'"total_token_count": 5'),
    ],
)
def test_the_footprint_goes_into_the_usage_of_the_event_that_ends_all_candidates(
    name: str, n: int, place: bytes
) -> None:
    seen = run([STREAMS[name]], n=n)

    head, found, tail = STREAMS[name].rpartition(place)
    assert seen.sent == head + found + b',"footprint":' + FOOTPRINT + tail
    assert (seen.held_count, seen.complete, seen.failed) == (1, True, False)


@pytest.mark.parametrize("name", ["aborted", "error", "bare_error", "bare_error_in_array"])
def test_where_no_event_ends_all_nothing_is_folded(name: str) -> None:
    seen = run([STREAMS[name]])

    assert (seen.sent, seen.held_count, seen.complete) == (STREAMS[name], 0, False)
    assert seen.failed == ("error" in name)


@pytest.mark.parametrize("name", ["no_usage", "commented"])
def test_without_counts_the_footprint_stands_beside_them(name: str) -> None:
    seen = run([STREAMS[name]])

    assert unfolded(seen.sent) == STREAMS[name]
    assert (seen.held_count, seen.complete) == (1, True)


def test_a_finish_reason_on_every_event_ends_only_with_the_last() -> None:
    first, last = (event(chunk(text, finish="STOP", usage=COUNTS)) for text in ("Hel", "lo"))

    seen = run([first, last])

    assert seen.sent.startswith(first)
    assert unfolded(seen.sent) == first + last
    assert (seen.text, seen.held_count) == ("Hello", 1)


def test_a_candidate_that_never_comes_leaves_the_stream_complete() -> None:
    seen = run([STREAMS["whole"]], n=3)

    assert (unfolded(seen.sent), seen.complete, seen.usage) == (STREAMS["whole"], True, WHOLE)


def test_the_last_counts_are_taken_and_the_texts_of_each_candidate_joined() -> None:
    assert run([STREAMS["whole"]]).usage == WHOLE
    assert run([STREAMS["whole"]]).text == 'Hello "世界"\n.'
    assert run([STREAMS["two_candidates"]], n=2).text == "AaBb"
    assert run([STREAMS["thinking"]]).text == 'Let me seeget_weather{"city":"Ålesund"}print(1)'


def test_an_aborted_stream_knows_its_input_and_leaves_its_output_to_be_counted() -> None:
    seen = run([STREAMS["aborted"]])

    assert seen.usage == Usage(input_tokens=1200, output_tokens=None, source="upstream")
    assert (seen.complete, seen.failed, seen.text, seen.events_count) == (False, False, "Hello", 2)


def test_a_blocked_prompt_has_no_output() -> None:
    assert run([STREAMS["blocked"]]).usage == Usage(input_tokens=12, output_tokens=0, source="upstream")
    assert run([event({"promptFeedback": {"blockReason": "BLOCK_REASON_UNSPECIFIED"}})]).complete is False


def test_a_reason_that_is_unspecified_ends_nothing() -> None:
    assert run([event(chunk("Hi", finish="FINISH_REASON_UNSPECIFIED", usage=COUNTS))]).complete is False


def test_a_candidate_that_goes_on_after_its_end_has_not_ended() -> None:
    assert run([event(chunk(finish="STOP")), event(chunk("more"))]).complete is False


@pytest.mark.parametrize("index", [-1, True, "1", 10**6])
def test_an_index_that_is_none_is_the_first(index: Any) -> None:
    found = chunk("Hi", finish="STOP", usage=COUNTS)
    found["candidates"][0]["index"] = index

    seen = run([event(chunk("Oh, ", usage=EARLY)), event(found)])

    assert (seen.text, seen.complete, seen.held_count) == ("Oh, Hi", True, 1)


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_is_read_as_its_events_are_and_passes_untouched(name: str) -> None:
    events, body = run([STREAMS[name]], n=2), ARRAYS[name]

    for chunks in ([body], bytewise(body), cut(body, range(0, len(body), 7))):
        seen = run(chunks, n=2, kind=JSON)

        assert (seen.sent, seen.held_count) == (body, 0)
        assert (seen.usage, seen.text, seen.complete, seen.failed, seen.events_count) == (
            events.usage,
            events.text,
            events.complete,
            events.failed,
            events.events_count,
        )


def test_a_lone_error_in_place_of_an_array_has_failed() -> None:
    assert run(bytewise(payload("gemini_error.json")), kind=JSON).failed
    assert run([b'[{"error":{"code":429}}]'], kind=JSON).failed


def test_an_element_without_end_is_not_kept_and_passes() -> None:
    part = b"x" * (1 << 20)
    reader = GEMINI.stream_reader(asked(), JSON)
    assert reader is not None
    reader.feed(array(chunk("Hi", usage=EARLY))[:-3] + b',{"text":"')

    sent = [reader.feed(part)[0] for _ in range(18)]

    assert (sent, reader.close()) == ([part] * 18, b"")
    assert (reader.output_text(), reader.complete) == ("Hi", False)
    assert reader._framing.pending_count == 0


def test_an_array_is_read_only_where_a_stream_was_asked_for() -> None:
    whole = asked("/v1/models/gemini-2.5-pro:generateContent")

    assert GEMINI.stream_reader(whole, JSON) is None
    assert GEMINI.stream_reader(asked(), b"text/html") is None
    assert GEMINI.stream_reader(whole, SSE) is not None


def test_the_example_streams_are_read_and_folded_as_shown() -> None:
    sse = payload("gemini_stream_alt_sse.sse")
    seen = run(bytewise(sse))
    shown = payload("headwater_gemini_stream.sse")

    assert (seen.usage, seen.text) == (WHOLE, "Hello.")
    assert run(bytewise(payload("gemini_stream_json_array.json")), kind=JSON).usage == WHOLE
    last, example = (json.loads(body.rstrip().rpartition(b"data: ")[2]) for body in (seen.sent, shown))
    assert list(last["usageMetadata"]) == list(example["usageMetadata"])
    assert unfolded(seen.sent) == sse


def test_an_example_with_its_footprint_taken_out_gets_it_back_in_the_same_place() -> None:
    shown = payload("headwater_gemini_stream.sse")
    footprint = shown[shown.index(b', "footprint": ') : shown.rindex(b'}, "modelVersion"')]

    seen = run(bytewise(shown.replace(footprint, b"")))

    assert seen.sent == shown.replace(footprint, b',"footprint":' + FOOTPRINT)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((100, 40, None, None, 140), (100, 40, None)),
        ((100, 40, 30, None, 170), (100, 70, 30)),
        ((100, 40, 30, None, None), (100, 70, 30)),
        ((100, 40, 30, None, 140), (100, 40, 30)),
        ((100, 40, 30, 50, 220), (150, 70, 30)),
        ((100, 40, 30, 50, 190), (150, 40, 30)),
        ((100, 40, 30, 50, 170), (150, 70, 30)),
        ((100, 40, 30, 50, 140), (150, 40, 30)),
        ((100, 20, 30, None, 120), (100, 50, 30)),
        ((100, 40, 30, None, 999), (100, 70, 30)),
        ((100, None, 30, None, 130), (100, 30, 30)),
        ((100, None, None, None, 100), (100, 0, None)),
        ((100, None, None, None, None), (100, None, None)),
        ((100, None, None, None, 90), (100, None, None)),
        ((None, 40, 5, None, 140), (None, 45, 5)),
    ],
)
def test_the_total_decides_where_the_thoughts_are(
    counts: tuple[int | None, ...], expected: tuple[int | None, ...]
) -> None:
    members = (
        "promptTokenCount",
        "candidatesTokenCount",
        "thoughtsTokenCount",
        "toolUsePromptTokenCount",
        "totalTokenCount",
    )

    usage = usage_of(dict(zip(members, counts, strict=True)), is_final=True)

    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) == expected


@pytest.mark.parametrize("counts", [{}, {"promptTokenCount": True, "candidatesTokenCount": "7"}, {"trafficType": "X"}])
def test_no_count_is_no_usage(counts: dict[str, Any]) -> None:
    assert usage_of(counts, is_final=True) is None


def test_a_whole_reply_is_folded_into_its_usage() -> None:
    body = payload("gemini_response.json")

    reply = GEMINI.read_reply(body, asked())
    folded = reply.fold(ADDITION)

    assert (reply.complete, reply.failed, reply.output_text(), reply.told.usage) == (True, False, "Hello", WHOLE)
    assert folded is not None
    assert json.loads(folded)["usageMetadata"]["footprint"] == json.loads(FOOTPRINT)
    assert unfolded(folded) == body


def test_a_blocked_reply_is_complete_and_charged_for_its_prompt() -> None:
    reply = GEMINI.read_reply(payload("gemini_prompt_blocked.json"), asked())

    assert (reply.complete, reply.failed) == (True, False)
    assert reply.told.usage == Usage(input_tokens=12, output_tokens=0, source="upstream")


def test_a_reply_in_snake_case_is_folded_into_its_own_usage() -> None:
    body = b'{"candidates":[{}],"usage_metadata":{"prompt_token_count":3}}'

    reply = GEMINI.read_reply(body, asked())

    assert (reply.complete, reply.failed) == (False, False)
    assert reply.fold(ADDITION) == body[:-2] + b',"footprint":' + FOOTPRINT + b"}}"


def test_a_reply_without_usage_is_folded_at_its_end() -> None:
    assert GEMINI.read_reply(b'{"candidates":[{}]}', asked()).fold(ADDITION) == (
        b'{"candidates":[{}],"footprint":' + FOOTPRINT + b"}"
    )


@pytest.mark.parametrize("body", [b'{"error":{"code":429}}', b"[]", b"nonsense", b"{}", b'{"candidates":7}'])
def test_what_is_no_reply_has_failed(body: bytes) -> None:
    assert GEMINI.read_reply(body, asked()).failed
    assert EMBED.read_reply(body, asked()).failed


def test_a_request_and_its_prompt() -> None:
    body: dict[str, Any] = {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}, {"inlineData": {"mimeType": "image/png", "data": "iVBOR"}}]},
            {"role": "model", "parts": [CALL, CODE, {"codeExecutionResult": {"output": "1\n"}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "get_weather", "response": {"c": 3}}}]},
            {
                "role": "user",
                "parts": [
                    {"inline_data": {"mime_type": "audio/wav", "data": "UklGR"}},
                    {"inlineData": {"mimeType": "application/pdf", "data": "JVBER"}},
                    {"fileData": {"mimeType": "image/jpeg", "fileUri": "gs://b/o"}},
                    "no part",
                ],
            },
        ],
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "get_weather", "description": "Weather.", "parameters": {"type": "OBJECT"}},
                    {"name": "get_time", "parametersJsonSchema": {"type": "object"}},
                ]
            },
            {"googleSearch": {}},
        ],
        "cachedContent": "cachedContents/c1",
        "generationConfig": {"candidateCount": 2},
    }

    request = asked(**body)
    prompt = GEMINI.prompt(request)

    assert (request.model, request.stream, request.choices_count, request.images_count) == (
        "gemini-2.5-pro",
        True,
        2,
        2,
    )
    assert prompt.texts == (
        *("Be brief.", "user", "Hi"),
        *("model", "get_weather", '{"city":"Ålesund"}', "print(1)", "1\n"),
        *("user", "get_weather", '{"c":3}', "user"),
    )
    assert prompt.tools == (
        Tool(name="get_weather", description="Weather.", schema={"type": "OBJECT"}),
        Tool(name="get_time", schema={"type": "object"}),
    )
    assert (prompt.messages_count, len(prompt.pictures)) == (4, 1)
    assert prompt.uncounted_parts_count + (prompt.audio_s > 0) == 4
    assert GEMINI.ask_for_usage(request.raw) == request.raw


def test_one_object_stands_for_a_list_of_one() -> None:
    prompt = GEMINI.prompt(asked(contents={"parts": {"text": "Hi"}}, systemInstruction="Be brief."))

    assert prompt.texts == ("Be brief.", "Hi")


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense"])
def test_a_body_that_is_not_there_leaves_the_model_known_and_the_prompt_unknown(body: bytes) -> None:
    target = Target(method="POST", path="/v1beta/models/Gemini-2.5-Pro:streamGenerateContent/")

    request = GEMINI.read_request(body, target)

    assert (request.model, request.stream, request.raw) == ("Gemini-2.5-Pro", True, b"")


VERTEX = "/v1/projects/p/locations/europe-west4"


@pytest.mark.parametrize(
    ("path", "dialect", "model", "is_stream"),
    [
        ("/v1beta/models/gemini-2.5-pro:generateContent", "gemini", "gemini-2.5-pro", False),
        ("/v1/models/gemini-2.5-pro:streamGenerateContent/", "gemini", "gemini-2.5-pro", True),
        ("/V1ALPHA/Models/gemini-2.5-pro:StreamGenerateContent", "gemini", "gemini-2.5-pro", True),
        ("/proxy/google/v1beta/tunedModels/my-Model-7:generateContent", "gemini", "my-Model-7", False),
        (f"{VERTEX}/publishers/google/models/gemini-3:streamGenerateContent", "gemini", "gemini-3", True),
        (f"{VERTEX}/endpoints/1234:generateContent", "gemini", "1234", False),
        ("/v1beta/models/gemini%2D2.5%3AgenerateContent", "gemini", "gemini-2.5", False),
        ("/v1beta/models/embedding-001:embedContent", "gemini-embed", "embedding-001", False),
        ("/v1beta/models/embedding-001:batchEmbedContents", "gemini-embed", "embedding-001", False),
    ],
)
def test_requests_are_known_by_their_path(path: str, dialect: str, model: str, is_stream: bool) -> None:
    found = find("POST", path)

    assert found is not None
    request = found.read_request(b"{}", Target(method="POST", path=path))
    assert (found.name, request.model, request.stream) == (dialect, model, is_stream)
    assert find("GET", path) is None


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/models/gemini-2.5-pro:countTokens",
        "/v1beta/models/gemini-2.5-pro:batchGenerateContent",
        "/v1beta/models/gemini-2.5-pro",
        "/v1beta/models/:generateContent",
        "/v1beta/cachedContents",
        "/v1beta/models/gemini-2.5-pro:generateContent/more",
    ],
)
def test_other_methods_are_not_ours(path: str) -> None:
    assert find("POST", path) is None


def test_another_path_names_no_model() -> None:
    elsewhere = Target(method="POST", path="/elsewhere")

    assert GEMINI.read_request(b"{}", elsewhere) == ChatRequest(model=None, raw=b"{}")
    assert EMBED.read_request(b"", elsewhere) == ChatRequest(model=None)


@pytest.mark.parametrize(
    ("usage", "input_tokens"),
    [(b"", None), (b',"usageMetadata":{"promptTokenCount":9,"totalTokenCount":9}', 9), (b',"usageMetadata":{}', None)],
)
def test_embeddings_have_no_output(usage: bytes, input_tokens: int | None) -> None:
    body = b'{"embeddings":[{"values":[0.1]},{"values":[0.2]}]' + usage + b"}"

    reply = EMBED.read_reply(body, asked())

    assert (reply.complete, reply.failed, reply.output_text()) == (True, False, "")
    assert reply.told.usage == Usage(input_tokens=input_tokens, output_tokens=0, source="upstream")
    assert EMBED.stream_reader(asked(), SSE) is None
    assert EMBED.ask_for_usage(body) == body


def test_the_footprint_of_embeddings_goes_into_usage_or_to_the_end() -> None:
    folded = EMBED.read_reply(b'{"embedding":{"values":[1]},"usageMetadata":{}}', asked()).fold(ADDITION)
    beside = EMBED.read_reply(b'{"embedding":{"values":[1]}}', asked()).fold(ADDITION)

    assert folded == b'{"embedding":{"values":[1]},"usageMetadata":{"footprint":' + FOOTPRINT + b"}}"
    assert beside == b'{"embedding":{"values":[1]},"footprint":' + FOOTPRINT + b"}"


def test_the_contents_of_a_batch_are_counted() -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "iVBOR"}}
    body = {"requests": [{"content": {"parts": [{"text": "one"}]}}, {"content": {"parts": [{"text": "two"}, picture]}}]}
    target = Target(method="POST", path="/v1beta/models/embedding-001:batchEmbedContents")

    request = EMBED.read_request(json.dumps(body).encode(), target)

    assert EMBED.prompt(request).texts == ("one", "two")
    assert request.images_count == 1


@given(st.binary(max_size=200) | st.sampled_from([STREAMS["whole"][:n] for n in range(0, len(STREAMS["whole"]), 7)]))
def test_no_bytes_make_a_reader_fail_or_change(data: bytes) -> None:
    assert unfolded(run(bytewise(data)).sent) == unfolded(data)
    assert run(bytewise(data), kind=JSON).sent == data
    assert GEMINI.read_reply(data, asked()).output_text() == ""


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "candidates",
                        "content",
                        "parts",
                        "text",
                        "functionCall",
                        "args",
                        "usageMetadata",
                        "finishReason",
                    ),
                    *(
                        "promptTokenCount",
                        "promptFeedback",
                        "error",
                        "index",
                        "contents",
                        "tools",
                        "inlineData",
                        "mimeType",
                    ),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(junk)
def test_json_of_any_shape_is_read_without_an_exception(value: Any) -> None:
    body = json.dumps(value).encode()

    assert unfolded(run([b"data: " + body + b"\n\n"]).sent) == b"data: " + body + b"\n\n"
    assert run([b"[" + body + b"]"], kind=JSON).sent == b"[" + body + b"]"
    for dialect in (GEMINI, EMBED):
        request = dialect.read_request(body, Target(method="POST", path="/v1/models/g:generateContent"))
        dialect.prompt(request)
        reply = dialect.read_reply(body, request)
        folded = reply.fold(ADDITION)
        assert isinstance(reply.output_text(), str)
        assert folded is None or json_object(folded) is not None


def test_arguments_nested_too_deeply_are_left_out() -> None:
    args: Any = {}
    for _ in range(100_000):
        args = {"a": args}
    found = chunk("Hi", finish="STOP", usage=COUNTS)
    found["candidates"][0]["content"]["parts"].append({"functionCall": {"name": "f", "args": args}})

    assert text_of(found["candidates"][0]) == "Hif"


def test_no_more_can_come_from_a_cache_than_came_in() -> None:
    usage = {"promptTokenCount": 60, "cachedContentTokenCount": 1000, "candidatesTokenCount": 5}

    seen = run([event(chunk("Hi", finish="STOP", usage=usage))])

    assert seen.usage == Usage(input_tokens=60, output_tokens=5, cached_tokens=60, source="upstream")


@pytest.mark.parametrize("extra", [{}, {"cacheTokensDetails": []}, {"cacheTokensDetails": [{"modality": "TEXT"}]}])
def test_a_cache_of_no_kind_that_counts_is_unknown(extra: dict[str, Any]) -> None:
    seen = run([event(chunk("Hi", finish="STOP", usage={"promptTokenCount": 4, "candidatesTokenCount": 1, **extra}))])

    assert seen.usage == Usage(input_tokens=4, output_tokens=1, source="upstream")


def test_a_cache_may_be_told_by_kind_alone() -> None:
    kinds = [{"modality": "TEXT", "tokenCount": 1240}, {"modality": "IMAGE", "tokenCount": 807}]
    usage = {"promptTokenCount": 4583, "candidatesTokenCount": 325, "thoughtsTokenCount": 874, "totalTokenCount": 5782}

    seen = run([event(chunk("Hi", finish="STOP", usage={**usage, "cacheTokensDetails": kinds}))])

    assert seen.usage == Usage(
        input_tokens=4583, output_tokens=1199, cached_tokens=2047, reasoning_tokens=874, source="upstream"
    )
