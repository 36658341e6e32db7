"""What holds for every client: nothing but the footprint is new, it is where the client shows it, and every call is charged.

A client's table names each case it runs and where it shows the footprint (`houses.footprints`), with a space between if it
does so twice; `HIDDEN` where it drops what it does not know. Then its id stands in the headers, if it shows those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tests.clients import canned, houses
from tests.clients.houses import Case, Document

Places = dict[str, str]
Harm = dict[str, str]

HIDDEN: Final = ""
"""A place that no footprint is shown at."""
NO_HARM: Final = ""
Counts = tuple[int | None, int | None]
_COUNTED: Final[Counts] = (None, None)


@dataclass(frozen=True, eq=False)
class Client:
    """A client: its script, its package, where it shows the footprint, and what each of `additions` would do to its streams."""

    script: str
    package: str
    places: Places
    harm: Harm = field(default_factory=dict)
    silent: frozenset[str] = frozenset()


class ClientTests:
    """What is tested of every client; a module gives the clients, and the fixture `document_of` that runs one of them once."""

    def test_it_reads_what_it_reads_without_headwater(
        self, client: Client, document_of: Callable[[Client], Document]
    ) -> None:
        document = document_of(client)

        assert_unchanged(document, client.places)

    def test_the_footprint_is_where_it_shows_it(
        self, client: Client, document_of: Callable[[Client], Document]
    ) -> None:
        document = document_of(client)

        assert_visible(document, client.places)

    def test_every_call_is_charged_once(self, client: Client, document_of: Callable[[Client], Document]) -> None:
        document = document_of(client)

        assert_charged(document, client.places, silent=client.silent)

    def test_what_is_added_to_a_stream_and_not_folded_harms_just_these(
        self, client: Client, document_of: Callable[[Client], Document]
    ) -> None:
        document = document_of(client)

        assert harm_of(document) == client.harm


def tokens_of(case: str) -> Counts:
    """What the upstream tells of a case, by its name."""
    if "embed" in case:
        return canned.VECTOR_TOKENS
    return canned.TOOL_TOKENS if "tool" in case.split() else canned.TEXT_TOKENS


def hidden(*names: str) -> Places:
    """Cases in which the client shows no footprint."""
    return dict.fromkeys(names, HIDDEN)


def is_whole(run: str, case: Case) -> bool:
    """Whether the client read a whole reply; an accumulator's result looks like one but came as a stream."""
    return not isinstance(case["reply"], list) and not {"stream", "helper"} & set(run.split())


def assert_unchanged(document: Document, places: Places) -> None:
    """The client gets the text, the tool call, and all else, that it gets without Headwater."""
    assert set(document.bare) == set(places)
    for name, bare in document.bare.items():
        assert "error" not in bare, bare["error"]
        told = tokens_of(name)
        assert bare["text"] == (canned.TEXT if told == canned.TEXT_TOKENS else ""), name
        assert bare["calls"] == ([[canned.TOOL, canned.ARGUMENTS]] if told == canned.TOOL_TOKENS else []), name
        assert list(houses.footprints(bare["reply"])) == [], name
        for run in (document.wrapped, document.gateway):
            assert "error" not in run[name], run[name]["error"]
            assert houses.without_footprint(run[name]) == bare, name


def assert_visible(document: Document, places: Places) -> None:
    """The footprint is where it is said to be, nowhere else, and is the one that the headers announce."""
    for run in (document.wrapped, document.gateway):
        shown = {name: list(houses.footprints(case["reply"])) for name, case in run.items()}
        assert {name: " ".join(place for place, _ in found) for name, found in shown.items()} == places
        for name, found in shown.items():
            assert all(footprint["energy_j"] > 0 for _, footprint in found), name
            headers = run[name]["headers"]
            if headers is None:
                continue
            assert all(footprint["id"] == headers["headwater-id"] for _, footprint in found), name
            assert ("headwater-footprint" in headers) == is_whole(name, run[name]), name


def assert_charged(document: Document, places: Places, *, silent: frozenset[str] = frozenset()) -> None:
    """Each call is charged once, with the upstream's counts. `silent`: cases in which the upstream tells none unless asked;
    the gateway asks in the client's place, the middleware counts."""
    expected: Counter[Counts] = Counter()
    for name in places:
        expected[tokens_of(name)] += 1
        expected[_COUNTED if name in silent else tokens_of(name)] += 1
    usages = [charge.usage for charge in document.charges]

    found = Counter(
        (usage.input_tokens, usage.output_tokens) if usage.source == "upstream" else _COUNTED for usage in usages
    )

    assert found == expected
    assert all(usage.output_tokens for usage in usages if usage.source != "upstream")
    assert all(charge.amounts is not None for charge in document.charges)


def harm_of(document: Document) -> Harm:
    """What each addition does to the streams that the client reads, where it does harm: `raises`, other `text`, or another
    `result` of an accumulator. One more chunk in a list of chunks is no harm here."""
    found: Harm = {}
    for addition, run in document.added.items():
        harm = {
            _harm(case, document.bare[name]) for name, case in run.items() if {"stream", "helper"} & set(name.split())
        }
        if harm - {NO_HARM}:
            found[addition] = " ".join(sorted(harm - {NO_HARM}))
    return found


def _harm(case: Case, bare: Case) -> str:
    if "error" in case:
        return "raises"
    if case["text"] != bare["text"] or case["calls"] != bare["calls"]:
        return "text"
    if not isinstance(bare["reply"], list) and houses.without_footprint(case) != bare:
        return "result"
    return NO_HARM
