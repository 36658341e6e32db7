"""Counts are tiktoken's where its vocabulary is there, estimates where it is not, and never slow, loud or from the network."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from headwater.dialects.openai_chat import OpenAIChat
from headwater.records import Picture, Prompt, Target, TokenCount, Tool
from headwater.tokens import TokenCounter, encodings
from headwater.tokens.amount import exactly
from headwater.tokens.families import media_of, tokenizer_of
from headwater.tokens.memo import Memo
from headwater.tokens.scripts import by_thumb, encoded
from headwater.tokens.segments import segments
from headwater.vocab import Vocabulary, file_name

# The example of "How to count tokens with tiktoken" (OpenAI cookbook). The notebook prints what the API itself counted:
# 129 prompt tokens for gpt-3.5-turbo and gpt-4, 124 for gpt-4o.
COOKBOOK = b"""{"messages": [
 {"role": "system", "content": "You are a helpful, pattern-following assistant that translates corporate jargon into plain English."},
 {"role": "system", "name": "example_user", "content": "New synergies will help drive top-line growth."},
 {"role": "system", "name": "example_assistant", "content": "Things working well together will increase revenue."},
 {"role": "system", "name": "example_user", "content": "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage."},
 {"role": "system", "name": "example_assistant", "content": "Let's talk later when we're less busy about how to do better."},
 {"role": "user", "content": "This late pivot means we don't have time to boil the ocean for the client deliverable."}
]}"""  # noqa: E501

EMPTY = Vocabulary(folders=())


@pytest.fixture(scope="session")
def counter() -> TokenCounter:
    made = TokenCounter()
    made.load()
    if not made.ready:
        pytest.skip("no vocabulary is installed: run `headwater vocab install`")
    return made


class FakeEncoding:
    """Notes what it is asked to encode, and fails as told."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.failure = failure
        self.segments: list[str] = []

    def encode_ordinary(self, text: str) -> list[int]:
        self.segments.append(text)
        if self.failure is not None:
            raise self.failure
        return [0] * len(text)


def thumb_count(text: str, model: str | None = "gpt-4o") -> TokenCount:
    return by_thumb(encoded(text), tokenizer_of(model)).as_count()


def counter_with(fake: FakeEncoding, monkeypatch: pytest.MonkeyPatch) -> TokenCounter:
    made = TokenCounter(vocab=EMPTY)
    monkeypatch.setattr(encodings, "_load", lambda name, vocab: fake)
    made.load()
    return made


@pytest.mark.parametrize(
    ("model", "count"), [("gpt-4-0613", 129), ("gpt-3.5-turbo", 129), ("gpt-4o", 124), ("gpt-oss-120b", 124)]
)
def test_the_cookbooks_example_counts_as_the_api_counted_it(
    counter: TokenCounter, model: str | None, count: int
) -> None:
    chat = OpenAIChat()
    prompt = chat.prompt(chat.read_request(COOKBOOK, Target(method="POST", path="/v1/chat/completions")))

    assert counter.count_prompt(prompt, model) == TokenCount(tokens=count, source="counted")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-4-32k-0613", "cl100k_base"),
        ("ft:gpt-3.5-turbo:acme", "cl100k_base"),
        ("gpt-35-turbo", "cl100k_base"),
        ("openai/gpt-4", "cl100k_base"),
        ("gpt-4o-mini", "o200k_base"),
        ("gpt-4.1", "o200k_base"),
        ("gpt-4.5-preview", "o200k_base"),
        ("chatgpt-4o-latest", "o200k_base"),
        ("o1", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("gpt-5", "o200k_base"),
        ("gpt-5.2-mini", "o200k_base"),
        ("gpt-oss-20b", "o200k_base"),
        ("llama-3.1-70b", "llama-3"),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama-3"),
        ("us.meta.llama3-1-70b-instruct-v1:0", "llama-3"),
        ("llama-4-scout", "llama-4"),
        ("deepseek-r1-distill-llama-70b", "llama-3"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "qwen"),
        ("deepseek-v3", "deepseek"),
        ("Qwen/Qwen3-8B", "qwen"),
        ("mixtral-8x7b", "tekken"),
        ("anthropic.claude-3-haiku-20240307-v1:0", "claude"),
        ("models/gemini-2.5-flash", "gemini"),
        ("gpt-4-unheard-of", "cl100k_base"),
        ("gpt-50", "other"),
        ("gpt-4000", "other"),
        ("gpt-6", "other"),
        ("my-gpt-4o", "other"),
        ("a" * 100_000, "other"),
        ("", "other"),
        (None, "other"),
    ],
)
def test_the_tokenizer_goes_by_the_models_name(model: str | None, name: str) -> None:
    assert tokenizer_of(model).name == name


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("gpt-4o", "gpt-4o"),
        ("gpt-4.1-mini", "gpt-4.1-mini"),
        ("gpt-5", "gpt-5"),
        ("gpt-5.1-2025-11-13", "gpt-5"),
        ("gpt-5.2", "gpt-5.2"),
        ("gpt-5-mini", "gpt-4.1-mini"),
        ("o1", "o-series"),
        ("o3-mini", "other"),
        ("claude-sonnet-4-5", "claude"),
        ("claude-opus-4-7", "claude-4.7"),
        ("gemini-2.5-pro", "gemini"),
        ("qwen2.5-vl", "other"),
        (None, "other"),
    ],
)
def test_what_pictures_cost_goes_by_the_models_name(model: str | None, name: str) -> None:
    assert media_of(model).name == name


def test_text_is_counted_as_tiktoken_counts_it(counter: TokenCounter) -> None:
    text = "Water use is counted in litres, energy in joules.\n" * 50

    whole = counter.count_text(text, "gpt-4o")

    assert whole == TokenCount(tokens=len(tiktoken.get_encoding("o200k_base").encode_ordinary(text)), source="counted")


def test_cutting_long_text_costs_less_than_a_token_in_a_thousand(counter: TokenCounter) -> None:
    text = "".join(f"def f_{i}(x: int) -> int:\n    return x * {i}  # {'ab ' * (i % 7)}\n" for i in range(3000))
    exact = len(tiktoken.get_encoding("o200k_base").encode_ordinary(text))

    assert counter.count_text(text, "gpt-4o").tokens == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize(
    "text", ["a" * 100_000, "世" * 100_000, " " * 100_000, "<|endoftext|>" * 8_000, "\ud83d" * 1000]
)
def test_hostile_text_is_counted_in_short_segments(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeEncoding()

    count = counter_with(fake, monkeypatch).count_text(text, "gpt-4o")

    assert count == TokenCount(tokens=len(text), source="counted")
    assert max(map(len, fake.segments)) <= 1_000
    assert len(set(fake.segments)) == len(fake.segments) <= -(-len(text) // 1_000)  # none of them twice


def test_special_tokens_in_text_are_ordinary_text(counter: TokenCounter) -> None:
    assert counter.count_text("<|endoftext|>", "gpt-4o").tokens > 1


@given(st.text(alphabet="ab \n世", max_size=200).map(lambda text: text * 200))
def test_segments_joined_are_the_text_and_none_is_long(text: str) -> None:
    pieces = list(segments(text))

    assert "".join(pieces) == text
    assert all(0 < len(piece) <= 8_000 for piece in pieces)
    assert len(pieces) <= 1 + len(text) // 1_000 + len(text) // 100


def test_words_are_not_cut() -> None:
    pieces = list(segments("word another\n" * 5_000))

    assert all(piece[0].isspace() or i == 0 for i, piece in enumerate(pieces))


class PanicException(BaseException):
    """As pyo3 raises it: by this name, and no Exception."""


@pytest.mark.parametrize("failure", [PanicException("stack overflow"), ValueError("no"), RuntimeError()])
def test_what_the_tokenizer_dies_of_is_estimated(failure: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    made = counter_with(FakeEncoding(failure), monkeypatch)

    assert made.count_text("one two three", "gpt-4o") == thumb_count("one two three")


def test_an_interrupt_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = counter_with(FakeEncoding(KeyboardInterrupt()), monkeypatch)

    with pytest.raises(KeyboardInterrupt):
        made.count_text("one", None)


def test_without_a_vocabulary_counts_are_estimates_and_say_so() -> None:
    made = TokenCounter(vocab=EMPTY)
    made.load()

    assert not made.ready
    assert made.count_text("one two three", "gpt-4o") == thumb_count("one two three")
    prompt = Prompt(texts=("user", "hello"), messages_count=1, names_count=1)
    found = made.count_prompt(prompt, "gpt-4o")
    assert found.tokens == thumb_count("userhello").tokens + 3 + 1 + 3
    assert found.source == "estimated"
    assert 1 < found.ratio < 1.5
    assert made.count_prompt(Prompt(texts=(), messages_count=0), None).source == "estimated"


def test_the_wrong_vocabulary_is_a_better_guess_and_still_a_guess(counter: TokenCounter, tmp_path: Path) -> None:
    folder = Vocabulary.of_environment().find("cl100k_base")
    assert folder is not None
    (tmp_path / file_name("cl100k_base")).symlink_to(folder / file_name("cl100k_base"))
    made = TokenCounter(vocab=Vocabulary(folders=(tmp_path,)))
    made.load()

    text = "Все люди рождаются свободными и равными в своем достоинстве и правах. "
    found = made.count_text(text, "gpt-4o")

    assert found.source == "estimated"
    exact = counter.count_text(text, "gpt-4o").tokens
    assert exact / found.ratio <= found.tokens <= exact * found.ratio
    assert found.tokens < counter.count_text(text, "gpt-4").tokens


def test_a_vocabulary_that_is_not_whole_is_never_given_to_tiktoken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def network(name: str) -> None:
        raise AssertionError(f"tiktoken would have gone to the network for {name}")

    monkeypatch.setattr(tiktoken, "get_encoding", network)
    (tmp_path / file_name("o200k_base")).write_bytes(b"half of it")
    made = TokenCounter(vocab=Vocabulary(folders=(tmp_path,)))

    made.load()

    assert not made.ready


@pytest.mark.parametrize("before", [None, "/somewhere/else"])
def test_loading_points_tiktoken_to_the_verified_folder_and_back(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []

    def get_encoding(name: str) -> None:
        seen.append(os.environ.get("TIKTOKEN_CACHE_DIR"))
        raise ValueError(name)

    monkeypatch.setattr(tiktoken, "get_encoding", get_encoding)
    monkeypatch.setattr(Vocabulary, "find", lambda self, name: Path("/verified"))
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    if before is not None:
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", before)
    made = TokenCounter(vocab=EMPTY)

    made.load()

    assert seen == ["/verified", "/verified"]
    assert os.environ.get("TIKTOKEN_CACHE_DIR") == before
    assert not made.ready


@pytest.mark.parametrize(
    ("text", "count", "within"),
    [
        # Counts of o200k_base; Article 1 of the Universal Declaration of Human Rights.
        ("All human beings are born free and equal in dignity and rights.", 13, 1.3),
        ("Alle Menschen sind frei und gleich an Würde und Rechten geboren.", 13, 1.3),
        ("人人生而自由,在尊严和权利上一律平等。", 17, 1.3),
        ("모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.", 22, 1.3),
        ("Все люди рождаются свободными и равными в своем достоинстве и правах.", 16, 1.6),
        ('{"id": 1, "value": 1.5}', 14, 1.6),
    ],
)
def test_estimates_are_of_the_size_of_the_count(counter: TokenCounter, text: str, count: int, within: float) -> None:
    exact = counter.count_text(text, "gpt-4o").tokens

    assert exact == pytest.approx(count, abs=3)
    found = thumb_count(text)
    assert exact / within <= found.tokens <= exact * within
    assert exact / found.ratio <= found.tokens <= exact * found.ratio


@given(st.text(max_size=50), st.text(max_size=50))
def test_more_text_is_never_estimated_to_be_fewer_tokens(a: str, b: str) -> None:
    assert thumb_count(a + b).tokens >= max(thumb_count(a).tokens, thumb_count(b).tokens)
    assert (thumb_count(a).tokens == 0) == (a == "")


def test_nothing_is_no_tokens(counter: TokenCounter) -> None:
    assert counter.count_text("", "gpt-4o") == TokenCount(tokens=0, source="counted")


# -- tools, schemas and what stands around ---------------------------------------------------------------------------------

WEATHER = b"""{"messages": [
 {"role": "system", "content": "You are a helpful assistant that can answer to questions about the weather."},
 {"role": "user", "content": "What's the weather like in San Francisco?"}],
 "tools": [{"type": "function", "function": {"name": "get_current_weather",
  "description": "Get the current weather in a given location.",
  "parameters": {"type": "object", "required": ["location"], "properties": {
   "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
   "unit": {"type": "string", "description": "The unit of temperature to return", "enum": ["celsius", "fahrenheit"]}}}}}]}"""


def prompt_of(body: bytes) -> Prompt:
    chat = OpenAIChat()
    return chat.prompt(chat.read_request(body, Target(method="POST", path="/v1/chat/completions")))


@pytest.mark.parametrize(
    ("model", "count"), [("gpt-4o", 101), ("gpt-4o-mini", 101), ("gpt-4", 105), ("gpt-3.5-turbo", 105)]
)
def test_tools_count_as_the_cookbook_counts_them(counter: TokenCounter, model: str, count: int) -> None:
    prompt = prompt_of(WEATHER)

    assert counter.count_prompt(prompt, model) == TokenCount(tokens=count, source="counted")


def test_legacy_functions_count_as_tools(counter: TokenCounter) -> None:
    body = json.loads(WEATHER)
    body["functions"] = [each["function"] for each in body.pop("tools")]

    assert counter.count_prompt(prompt_of(json.dumps(body).encode()), "gpt-4o").tokens == 101


def test_more_answers_to_a_prompt_do_not_make_it_longer(counter: TokenCounter) -> None:
    asked = json.loads(COOKBOOK) | {"n": 5}

    assert counter.count_prompt(prompt_of(json.dumps(asked).encode()), "gpt-4o").tokens == 124


def test_calls_of_tools_in_the_history_count(counter: TokenCounter) -> None:
    arguments = '{"city":"Paris"}'
    call = {"type": "function", "function": {"name": "weather", "arguments": arguments}}
    plain = {"messages": [{"role": "assistant", "content": None}]}
    with_call = {"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]}

    more = [counter.count_prompt(prompt_of(json.dumps(body).encode()), "gpt-4o").tokens for body in (plain, with_call)]

    expected = sum(counter.count_text(text, "gpt-4o").tokens for text in ("weather", arguments))
    assert more[1] - more[0] == expected


NESTED = {
    "type": "object",
    "properties": {"a": {"type": "array", "items": {"type": "string"}}},
    "$defs": {"b": {"enum": [1]}},
}


def test_what_a_tool_nests_is_estimated_from_its_json(counter: TokenCounter) -> None:
    flat = {"type": "object", "properties": {"a": {"type": "array"}}}
    nested, plain = (
        counter.count_prompt(Prompt(tools=(Tool(name="f", schema=schema),)), "gpt-4o") for schema in (NESTED, flat)
    )

    assert plain.source == "counted"
    assert nested.source == "estimated"
    assert nested.tokens > plain.tokens
    assert nested.ratio > 1


def test_a_schema_for_the_answer_is_estimated_from_its_json(counter: TokenCounter) -> None:
    body = {"messages": [], "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": NESTED}}}

    found = counter.count_prompt(prompt_of(json.dumps(body).encode()), "gpt-4o")

    as_json = counter.count_text(json.dumps(NESTED, separators=(",", ":")), "gpt-4o").tokens
    assert found.source == "estimated"
    assert found.tokens / found.ratio <= as_json <= found.tokens * found.ratio
    assert found.tokens < as_json


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": []},
        {"properties": {"a": None}},
        {"properties": {"a": {"type": ["string", "null"], "description": 5, "enum": [1, None, "x"]}}},
        {"properties": {"a": {"enum": "x", "items": 3}}},
    ],
)
def test_any_schema_of_a_tool_can_be_counted(counter: TokenCounter, schema: dict[str, Any]) -> None:
    found = counter.count_prompt(Prompt(tools=(Tool(name="f", schema=schema),)), "gpt-4o")

    assert found.tokens >= 7 + 12


def test_a_schema_nested_beyond_reason_counts_as_nothing_more(counter: TokenCounter) -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"items": deep}

    assert (
        counter.count_prompt(Prompt(tools=(Tool(name="f", schema={"properties": {"a": deep}}),)), "gpt-4o").tokens > 7
    )


# -- families ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "text", "ratio"),
    [
        # What was measured, as tokens over o200k_base's: Russian and Chinese of the table.
        ("llama-3.1-8b", "Все люди рождаются свободными и равными", 1.15),
        ("qwen3-8b", "Все люди рождаются свободными и равными", 1.26),
        ("qwen3-8b", "人人生而自由在尊严和权利上一律平等", 0.74),
        ("claude-sonnet-4-5", "人人生而自由在尊严和权利上一律平等", 1.31),
        ("deepseek-v3", "人人生而自由在尊严和权利上一律平等", 0.69),
    ],
)
def test_other_families_are_converted_by_script(counter: TokenCounter, model: str, text: str, ratio: float) -> None:
    long = text * 100
    base = counter.count_text(long, "gpt-4o").tokens

    found = counter.count_text(long, model)

    assert found.source == "estimated"
    assert found.tokens == pytest.approx(base * ratio, rel=0.04)
    assert 1.2 < found.ratio < 2


def test_an_unknown_tokenizer_is_less_sure_than_a_near_one(counter: TokenCounter) -> None:
    text = "Все люди рождаются свободными " * 50

    near, unknown = (counter.count_text(text, model) for model in ("llama-3.1-8b", "who-knows"))

    assert unknown.ratio > near.ratio > 1


def test_no_vocabulary_is_less_sure_than_a_near_one(counter: TokenCounter) -> None:
    text = "Rights and duties of everybody. " * 50
    without = TokenCounter(vocab=EMPTY)

    assert without.count_text(text, "llama-3.1-8b").ratio > counter.count_text(text, "llama-3.1-8b").ratio


# -- pictures, sound, files --------------------------------------------------------------------------------------------------


def picture(width_px: int | None, height_px: int | None, detail: str = "auto") -> Prompt:
    return Prompt(pictures=(Picture(width_px=width_px, height_px=height_px, detail=detail),))


@pytest.mark.parametrize(
    ("model", "prompt", "tokens"),
    [
        ("gpt-4o", picture(1024, 1024), 85 + 4 * 170),  # to 768 x 768
        ("gpt-4o", picture(2048, 4096), 85 + 6 * 170),  # to 1024 x 2048, to 768 x 1536
        ("gpt-4o", picture(512, 512), 85 + 170),
        ("gpt-4o", picture(1, 60_000), 85 + 4 * 170),
        ("gpt-4o", picture(4096, 8192, "low"), 85),
        ("gpt-4o", picture(None, None, "low"), 85),
        ("gpt-4o-mini", picture(512, 512), 2833 + 5667),
        ("gpt-4", picture(512, 512), 85 + 170),
        ("gpt-5", picture(1024, 1024), 70 + 4 * 140),
        ("o1", picture(1024, 1024), 75 + 4 * 150),
        ("gpt-5.2", picture(1024, 1024), 1229),  # 32 x 32 patches of 1.2
        ("gpt-5.2", picture(1024, 1024, "low"), 307),  # 16 x 16
        ("gpt-5.2", picture(10_000, 10_000), 3000),
        ("claude-sonnet-4-5", picture(1000, 1000), 36 * 36),
        ("claude-sonnet-4-5", picture(4000, 4000), 1568),
        ("claude-opus-4-7", picture(4000, 4000), 4784),
        ("gemini-2.5-pro", picture(384, 384), 258),
        ("gemini-2.5-pro", picture(385, 100), 258),
        ("gemini-2.5-pro", picture(1000, 1000), 4 * 258),
    ],
)
def test_a_picture_costs_what_its_family_charges(
    counter: TokenCounter, model: str, prompt: Prompt, tokens: int
) -> None:
    assert counter.count_prompt(prompt, model).tokens == tokens


@pytest.mark.parametrize(
    ("model", "tokens", "least"),
    [("gpt-4o", 85 + 8 * 170, 85 + 170), ("claude-sonnet-4-5", 1568, 1), ("gpt-5.2", 3000, 1.2)],
)
def test_a_picture_of_unknown_size_costs_the_most_and_is_estimated(
    counter: TokenCounter, model: str, tokens: int, least: float
) -> None:
    found = counter.count_prompt(picture(None, None), model)

    assert (found.tokens, found.source) == (tokens, "estimated")
    assert found.tokens / found.ratio <= max(least, 1)


def test_a_picture_of_a_known_size_is_counted_by_its_makers_rule(counter: TokenCounter) -> None:
    assert counter.count_prompt(picture(512, 512), "gpt-4o").source == "counted"
    assert counter.count_prompt(picture(512, 512), "who-knows").source == "estimated"


@pytest.mark.parametrize(("model", "tokens"), [("gemini-2.5-pro", 320), ("gpt-4o", 100), ("claude-opus-4-7", 2000)])
def test_sound_is_estimated_by_its_seconds(counter: TokenCounter, model: str, tokens: int) -> None:
    found = counter.count_prompt(Prompt(audio_s=10.0), model)

    assert (found.tokens, found.source) == (tokens, "estimated")
    assert found.ratio > 1.2


def test_a_part_that_nobody_can_count_makes_the_count_doubtful(counter: TokenCounter) -> None:
    plain, with_file = (
        counter.count_prompt(Prompt(texts=("hello " * 1000,), uncounted_parts_count=count), "gpt-4o")
        for count in (0, 1)
    )

    assert (plain.source, plain.ratio) == ("counted", 1.0)
    assert with_file.source == "estimated"
    assert with_file.tokens / with_file.ratio <= plain.tokens
    assert with_file.tokens * with_file.ratio >= plain.tokens + 20_000 - 1


# -- what was counted before -------------------------------------------------------------------------------------------------


def test_a_history_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeEncoding()
    made = counter_with(fake, monkeypatch)
    history = tuple(f"{turn} " * 200 for turn in range(20))
    first = made.count_prompt(Prompt(texts=history, messages_count=20), "gpt-4o")
    fake.segments.clear()

    second = made.count_prompt(Prompt(texts=(*history, "and now?"), messages_count=21), "gpt-4o")

    assert fake.segments == ["and now?"]
    assert second.tokens == first.tokens + len("and now?") + 3


def test_the_same_text_for_another_tokenizer_is_counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeEncoding()
    made = counter_with(fake, monkeypatch)
    text = "слово " * 100

    counts = [made.count_text(text, model) for model in ("gpt-4o", "llama-3.1-8b", "gpt-4o")]

    assert counts[0] == counts[2]
    assert counts[1].source == "estimated"
    assert len(fake.segments) == 2


def test_what_is_remembered_is_bounded_and_holds_no_text() -> None:
    memo = Memo(most_entries=3)
    keys = [memo.key("o200k_base", f"secret {number}".encode()) for number in range(4)]
    for number, key in enumerate(keys):
        memo.put(key, exactly(number))
        memo.get(keys[0])

    assert len(memo) == 3
    assert memo.get(keys[0]) == exactly(0)  # the one that was used
    assert memo.get(keys[1]) is None
    assert b"secret" not in pickle.dumps(list(memo._kept))


def test_two_processes_keep_different_digests_of_the_same_text() -> None:
    assert Memo().key("o200k_base", b"guess") != Memo().key("o200k_base", b"guess")


def test_loading_a_vocabulary_forgets_what_was_estimated_without(
    counter: TokenCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = TokenCounter()
    text = "words " * 100
    before = made.count_text(text, "gpt-4o")

    made.load()

    assert before.source == "estimated"
    assert made.count_text(text, "gpt-4o") == counter.count_text(text, "gpt-4o")


# -- an operator's own counter -----------------------------------------------------------------------------------------------


def test_the_operators_counter_is_asked_first() -> None:
    made = TokenCounter(vocab=EMPTY, own=lambda text, model: 7 if model == "mine" else None)

    assert made.count_text("any text", "mine") == TokenCount(tokens=7, source="counted")
    assert made.count_text("any text", "gpt-4o").tokens == thumb_count("any text").tokens


@pytest.mark.parametrize("said", [-1, True, 1.5, "7", None])
def test_what_is_no_count_is_not_believed(said: Any) -> None:
    made = TokenCounter(vocab=EMPTY, own=lambda text, model: said)

    assert made.count_text("any text", "gpt-4o").tokens == thumb_count("any text").tokens


def test_an_operators_counter_that_fails_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    def fail(text: str, model: str | None, /) -> int | None:
        raise ValueError(text)

    made = TokenCounter(vocab=EMPTY, own=fail)

    found = [made.count_text("a secret text", "gpt-4o") for _ in range(3)]

    assert found[0].tokens == thumb_count("a secret text").tokens
    assert ["ValueError" in record.getMessage() for record in caplog.records] == [True]
    assert "secret" not in caplog.text


# -- bounds ------------------------------------------------------------------------------------------------------------------


def test_beyond_the_most_text_is_estimated_and_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeEncoding()
    made = TokenCounter(vocab=EMPTY, most_encoded_chars=10_000)
    monkeypatch.setattr(encodings, "_load", lambda name, vocab: fake)
    made.load()

    text = "".join(f"{number:05d}" for number in range(6_000))
    found = made.count_text(text, "gpt-4o")
    again = made.count_text(text, "gpt-4o")

    assert found.source == "estimated"
    assert 10_000 < found.tokens < 30_000
    assert found.ratio > 1
    assert sum(map(len, fake.segments[:10])) == 10_000
    assert again.tokens >= found.tokens


@given(st.text(max_size=300), st.sampled_from(["gpt-4o", "gpt-4", "claude-3", "qwen", None]))
def test_any_text_has_a_count_within_its_own_range(text: str, model: str | None) -> None:
    found = TokenCounter(vocab=EMPTY).count_text(text + "\ud800", model)

    assert found.tokens > 0
    assert 1 <= found.ratio < 100
