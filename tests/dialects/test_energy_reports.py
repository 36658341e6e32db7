"""Energy that upstreams report: every scheme in whole replies, streams and headers, both slips, and bytes that mean harm."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.dialects.anthropic import Anthropic
from headwater.dialects.base import StreamReader
from headwater.dialects.kit import energy_reports
from headwater.dialects.kit.sse import Framer
from headwater.dialects.kit.stream import WatchingStream
from headwater.dialects.openai_chat import OpenAIChat
from headwater.records import NOTHING_TOLD, ChatRequest, EnergyReport, Told
from tests.dialects import streams
from tests.dialects.payloads import payload

NEURALWATT: dict[str, Any] = {
    "energy_joules": 1234.56,
    "energy_kwh": 0.000343,
    "avg_power_watts": 812.0,
    "duration_seconds": 1.52,
    "attribution_method": "time_weighted",
    "attribution_ratio": 0.031,
}
DISCLOSURE: dict[str, Any] = {"joules": 40.0, "wh": 0.0111, "kwh": 0.0000111, "source": "measured", "method": "nvml"}
GREENPT: dict[str, Any] = {
    "version": "20250922",
    "inferenceTime": {"total": 156, "unit": "ms"},
    "energy": {"total": 40433, "unit": "Wms"},
    "emissions": {"total": 1, "unit": "ugCO2e"},
}
REPORTED = [
    ({"energy": NEURALWATT}, EnergyReport(energy_j=1234.56, scheme="neuralwatt")),
    ({"usage": {"energy": DISCLOSURE}}, EnergyReport(energy_j=40.0, scheme="energy-disclosure")),
    ({"impact": GREENPT}, EnergyReport(energy_j=40433 * 0.001, scheme="greenpt")),
    (
        {"usage": {"prompt_tokens": 1, "impact": GREENPT}},
        EnergyReport(energy_j=40433 * 0.001, scheme="greenpt"),
    ),
    ({"usage": {"energy_mj": 108836}}, EnergyReport(energy_j=108836 * 0.001, scheme="tgi")),
    ({"details": {"energy_mj": 108836}}, EnergyReport(energy_j=108836 * 0.001, scheme="tgi")),
    ({"energy_mj": 108836}, EnergyReport(energy_j=108836 * 0.001, scheme="tgi")),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "energy",
                        "usage",
                        "impact",
                        "details",
                        "energy_mj",
                        "energy_joules",
                        "energy_kwh",
                        "joules",
                        "kwh",
                    ),
                    *("wh", "source", "total", "unit", "avg_power_watts", "duration_seconds", "attribution_ratio"),
                ]
            ),
            inner | st.sampled_from(["Wms", "kWh", "measured"]),
            max_size=5,
        )
    ),
    max_leaves=20,
)


def comment(report: dict[str, Any]) -> bytes:
    return b": energy " + json.dumps(report).encode() + b"\n\n"


def fed(reader: StreamReader, body: bytes, size: int) -> tuple[bytes, EnergyReport | None]:
    """What went out, and what was reported when the end was held."""
    out, seen = b"", None
    for start in range(0, len(body), size):
        sent, is_held = reader.feed(body[start : start + size])
        out += sent
        if is_held:
            seen = reader.report
            out += reader.release(streams.ADDITION)
    return out + reader.close(), seen


@pytest.mark.parametrize(("members", "report"), REPORTED)
def test_a_whole_reply_reports_energy_in_the_way_of_each_scheme(members: dict[str, Any], report: EnergyReport) -> None:
    body = json.dumps({"choices": [], "model": "m", **members}).encode()

    reply = OpenAIChat().read_reply(body, streams.ASKED_FOR)

    assert reply.report == report
    assert energy_reports.told(reply).report == report


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
@pytest.mark.parametrize(("members", "report"), REPORTED)
def test_a_chunk_beside_the_answer_reports_energy_before_the_end_is_released(
    members: dict[str, Any], report: EnergyReport, size: int
) -> None:
    body = streams.ASKED.removesuffix(streams.DONE) + streams.event(**({"choices": []} | members)) + streams.DONE

    out, seen = fed(streams.reader(asked=True), body, size)

    assert seen == report
    assert streams.FOOTPRINT in out
    assert out.replace(b',"footprint":' + streams.FOOTPRINT, b"") == body


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("size", [1, 5, 10_000])
def test_an_energy_comment_before_done_is_read_and_the_held_event_is_not_lost(asked: bool, size: int) -> None:
    stream = streams.ASKED if asked else streams.NOT_ASKED
    body = stream.removesuffix(streams.DONE) + comment(NEURALWATT) + streams.DONE

    out, seen = fed(streams.reader(asked=asked), body, size)

    assert seen == EnergyReport(energy_j=1234.56, scheme="neuralwatt")
    assert out.replace(b',"footprint":' + streams.FOOTPRINT, b"") == body
    assert out.count(streams.FOOTPRINT) == 1


def test_an_energy_comment_in_one_block_with_done_is_read() -> None:
    body = streams.ASKED.removesuffix(streams.DONE) + comment(NEURALWATT)[:-1] + streams.DONE

    out, seen = fed(streams.reader(asked=True), body, len(body))

    assert seen is not None
    assert streams.FOOTPRINT in out


def test_usage_that_the_gateway_asked_for_waits_for_the_energy_behind_it() -> None:
    body = streams.ASKED.removesuffix(streams.DONE) + comment(NEURALWATT) + streams.DONE
    reader = OpenAIChat().stream_reader(ChatRequest(model="m"), b"text/event-stream", usage_injected=True)
    assert reader is not None

    out, seen = fed(reader, body, 11)

    assert seen == EnergyReport(energy_j=1234.56, scheme="neuralwatt")
    assert b'"usage"' not in out
    assert out.count(streams.FOOTPRINT) == 1


def test_a_stream_of_another_dialect_reports_energy_without_a_line_of_its_own() -> None:
    delta = b'event: message_delta\ndata: {"type":"message_delta","delta":{},"usage":{"output_tokens":4}}\n\n'
    stop = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    beside = b'data: {"type":"impact","impact":' + json.dumps(GREENPT).encode() + b"}\n\n"
    for between in (comment(NEURALWATT), beside):
        reader = Anthropic().stream_reader(ChatRequest(model="m"), b"text/event-stream")
        assert reader is not None

        out, seen = fed(reader, delta + between + stop, 9)

        assert seen is not None
        assert out.replace(b',"footprint":' + streams.FOOTPRINT, b"") == delta + between + stop


class Watching(WatchingStream):
    """A stream whose bytes are not touched, and in which nothing but energy is read."""

    @property
    def told(self) -> Told:
        return NOTHING_TOLD

    def _read(self, data: bytes) -> None:
        self.complete = True


def test_a_stream_that_is_only_watched_reports_energy_too() -> None:
    reader = Watching(Framer())

    fed(reader, streams.event(choices=[], impact=GREENPT) + streams.event(choices=[]), 13)

    assert energy_reports.told(reader).report == EnergyReport(energy_j=40433 * 0.001, scheme="greenpt")


def test_a_chunk_of_filters_findings_behind_usage_takes_no_footprint_away() -> None:
    findings = streams.event(choices=[], prompt_filter_results=[])
    body = streams.ASKED.removesuffix(streams.DONE) + findings + streams.DONE

    out, _ = fed(streams.reader(asked=True), body, 20)

    assert out.count(streams.FOOTPRINT) == 1
    assert out.replace(b',"footprint":' + streams.FOOTPRINT, b"") == body


def test_a_flood_of_comments_behind_the_held_event_is_not_kept() -> None:
    body = streams.ASKED.removesuffix(streams.DONE) + comment(NEURALWATT) * 100 + streams.DONE

    out, seen = fed(streams.reader(asked=True), body, len(body))

    assert seen is None  # nothing is held any more
    assert out == body


@pytest.mark.parametrize("name", ["prior_art_neuralwatt_stream_tail.sse", "prior_art_greenpt_stream_tail.sse"])
def test_recorded_tails_are_read(name: str) -> None:
    reader = streams.reader(asked=True)

    out, _ = fed(reader, payload(name), 17)

    assert reader.report is not None
    assert out.replace(b',"footprint":' + streams.FOOTPRINT, b"") == payload(name)


@pytest.mark.parametrize(
    ("given", "slip"),
    [
        (NEURALWATT, ""),
        (
            {**NEURALWATT, "energy_kwh": 3.43e-07},
            "kWh is 1000 times too small",
        ),  # as langchain-neuralwatt's README has it
        ({**NEURALWATT, "energy_kwh": 0.343}, "kWh is 1000 times too large"),
        ({**NEURALWATT, "energy_kwh": 0.00343}, "kWh is another figure"),
        ({**NEURALWATT, "energy_kwh": 0.0}, ""),  # rounded away
        ({"energy_joules": 38.27, "avg_power_watts": 812.0, "duration_seconds": 1.52, "attribution_ratio": 0.031}, ""),
        ({"energy_joules": 1.234, "avg_power_watts": 812.0, "duration_seconds": 1.52}, "W*s is 1000 times too large"),
        ({**DISCLOSURE, "kwh": 1.11e-08}, "kWh is 1000 times too small"),
        ({**DISCLOSURE, "wh": 11.1}, "Wh is 1000 times too large"),
    ],
)
def test_joules_are_believed_and_a_figure_that_does_not_agree_is_named(given: dict[str, Any], slip: str) -> None:
    report = energy_reports.of_object({"energy": given})

    assert report is not None
    assert report.energy_j == given.get("energy_joules", given.get("joules"))
    assert report.slip == slip


@pytest.mark.parametrize("source", ["estimated", None, "model"])
def test_what_does_not_say_that_it_was_measured_is_not_measured(source: str | None) -> None:
    report = energy_reports.of_object({"usage": {"energy": {**DISCLOSURE, "source": source}}})

    assert report is not None
    assert not report.is_measured


@pytest.mark.parametrize(
    ("headers", "report"),
    [
        ({"joules": b"12.5"}, EnergyReport(energy_j=12.5, scheme="x-energy-joules")),
        (
            {"joules": b"12.5", "method": b"Estimated"},
            EnergyReport(energy_j=12.5, scheme="x-energy-joules", is_measured=False),
        ),
        ({"data": json.dumps(DISCLOSURE).encode()}, EnergyReport(energy_j=40.0, scheme="energy-disclosure")),
        ({"joules": b"many"}, None),
        ({"joules": b"nan"}, None),
        ({"joules": b"1e999"}, None),
        ({"joules": b"-1"}, None),
        ({"joules": b"1" * 5000}, None),
        ({"data": b"{" * 5000}, None),
        ({"data": b"[1]"}, None),
    ],
)
def test_headers_report_energy(headers: dict[str, bytes], report: EnergyReport | None) -> None:
    assert energy_reports.of_headers(**({"joules": b"", "data": b"", "method": b""} | headers)) == report


@pytest.mark.parametrize(
    "members",
    [
        {"impact": {"energy": {"total": 5, "unit": "parsecs"}}},
        {"impact": {"energy": {"total": 0, "unit": "Wms"}}},
        {"energy": {"avg_power_watts": 812.0, "duration_seconds": 1.5}},
        {"energy": {"energy_joules": True}},
        {"energy": "lots"},
        {"energy_mj": -4},
    ],
)
def test_what_is_no_report_is_none(members: dict[str, Any]) -> None:
    assert energy_reports.of_object(members) is None


def test_text_about_energy_is_no_report() -> None:
    text = '{"energy": {"energy_joules": 5}}'
    body = json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}).encode()

    assert OpenAIChat().read_reply(body, streams.ASKED_FOR).report is None


def test_a_comment_that_is_no_json_is_none() -> None:
    assert energy_reports.of_event(b": energy {oops\n\n", None) is None
    assert energy_reports.of_event(b": energy {" + b" " * 70_000 + b"}\n\n", None) is None


@given(found=JSON)
def test_any_json_value_gives_a_positive_finite_figure_or_none(found: Any) -> None:
    report = energy_reports.of_object(found)

    assert report is None or 0 < report.energy_j < math.inf


@given(found=JSON, size=st.integers(1, 50))
def test_any_report_in_a_stream_leaves_its_bytes_alone(found: Any, size: int) -> None:
    text = json.dumps({"choices": [], "energy": found})
    body = streams.ASKED.removesuffix(streams.DONE) + f"data: {text}\n\n: energy {text}\n\n".encode() + streams.DONE

    out, _ = fed(streams.reader(asked=True), body, size)

    assert out.replace(b',"footprint":' + streams.FOOTPRINT, b"") == body
