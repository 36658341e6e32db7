"""Counts are tiktoken's where its vocabulary is there, estimates where it is not, and never slow, loud or from the network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from headwater import tokens
from headwater.dialects.openai_chat import OpenAIChat
from headwater.records import Prompt, Target, TokenCount
from headwater.tokens import TokenCounter, encoding_name, estimate, segments
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


def counter_with(fake: FakeEncoding, monkeypatch: pytest.MonkeyPatch) -> TokenCounter:
    made = TokenCounter(vocab=EMPTY)
    monkeypatch.setattr(tokens, "_load", lambda name, vocab: fake)
    made.load()
    return made


@pytest.mark.parametrize(
    ("model", "count"), [("gpt-4-0613", 129), ("gpt-3.5-turbo", 129), ("gpt-4o", 124), (None, 124)]
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
        ("llama-3.1-70b", "o200k_base"),
        ("", "o200k_base"),
        (None, "o200k_base"),
    ],
)
def test_the_encoding_goes_by_the_models_name(model: str | None, name: str) -> None:
    assert encoding_name(model) == name


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
    assert len(fake.segments) == -(-len(text) // 1_000)


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

    assert made.count_text("one two three", None) == TokenCount(tokens=estimate("one two three"), source="estimated")


def test_an_interrupt_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = counter_with(FakeEncoding(KeyboardInterrupt()), monkeypatch)

    with pytest.raises(KeyboardInterrupt):
        made.count_text("one", None)


def test_without_a_vocabulary_counts_are_estimates_and_say_so() -> None:
    made = TokenCounter(vocab=EMPTY)
    made.load()

    assert not made.ready
    assert made.count_text("one two three", None).source == "estimated"
    prompt = Prompt(texts=("user", "hello"), messages_count=1, names_count=1)
    expected = estimate("user") + estimate("hello") + 3 + 1 + 3
    assert made.count_prompt(prompt, None) == TokenCount(tokens=expected, source="estimated")
    assert made.count_prompt(Prompt(texts=(), messages_count=0), None).source == "estimated"


def test_the_wrong_vocabulary_is_a_better_guess_and_still_a_guess(counter: TokenCounter, tmp_path: Path) -> None:
    folder = Vocabulary.of_environment().find("cl100k_base")
    assert folder is not None
    (tmp_path / file_name("cl100k_base")).symlink_to(folder / file_name("cl100k_base"))
    made = TokenCounter(vocab=Vocabulary(folders=(tmp_path,)))
    made.load()

    found = made.count_text("Würde und Rechte", "gpt-4o")

    assert found.source == "estimated"
    assert found.tokens == counter.count_text("Würde und Rechte", "gpt-4").tokens


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
    assert exact / within <= estimate(text) <= exact * within


@given(st.text(max_size=50), st.text(max_size=50))
def test_more_text_is_never_estimated_to_be_fewer_tokens(a: str, b: str) -> None:
    assert estimate(a + b) >= max(estimate(a), estimate(b))
    assert (estimate(a) == 0) == (a == "")


def test_nothing_is_no_tokens(counter: TokenCounter) -> None:
    assert counter.count_text("", "gpt-4o") == TokenCount(tokens=0, source="counted")
