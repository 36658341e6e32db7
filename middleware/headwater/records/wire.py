"""The records of what requests ask and what replies say, in one shape for all APIs. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from headwater.records.metering import Boundary
from headwater.records.record import record

CountSource = Literal["upstream", "counted", "estimated", "unknown"]
"""Where a token count comes from: the upstream's usage, tiktoken, a rule of thumb without vocabulary, or nowhere."""


@record
class Usage:
    """The tokens of one exchange, in one canonical shape for all APIs.

    `input_tokens` includes cached tokens (read from a cache) and those written into one, `output_tokens` includes reasoning
    tokens. `source` names the weaker of the two counts' sources. `count_ratio`: either count may be off by this factor, up
    or down; 1 where it is the upstream's own.
    """

    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    images_count: int = 0
    """Pictures in the prompt, as far as they were seen."""
    count_ratio: float = 1.0
    source: CountSource


NO_USAGE = Usage(input_tokens=None, output_tokens=None, source="unknown")


@record
class Target:
    """What a request is for, as the app sees it: `path` without root_path, `query` as it came, without its "?"; not shown, as
    Gemini's keys may stand in it."""

    method: str
    path: str
    query: bytes = field(default=b"", repr=False)


@record
class EnergyReport:
    """Energy that an upstream reports for one exchange of its own accord.

    `scheme`: whose way of saying it (`neuralwatt`, `greenpt`, `tgi`, `x-energy-joules`). `slip`: what is wrong with its units,
    where its own figures contradict each other; "" where they do not.
    """

    energy_j: float
    boundary: Boundary
    scheme: str
    slip: str = ""


@record
class Told:
    """What an upstream itself said of one exchange. None: it did not.

    `busy_s`: its own prefill and decode time. `remote`: who else did the work (Ollama's cloud), "" for itself. `once`: its
    own id of the generation, where more than one exchange can show the same one; "" elsewhere. `is_pending`: it is still at
    work, and another exchange will tell. `model`: who did it, where the request does not say (a lookup); "" elsewhere.
    """

    usage: Usage | None = None
    busy_s: float | None = None
    report: EnergyReport | None = None
    remote: str = ""
    once: str = ""
    is_pending: bool = False
    model: str = ""


NOTHING_TOLD = Told()


@record
class ChatRequest:
    """What a dialect read in a request. `raw` is its body, kept only until the exchange ends. `is_lookup`: it asks for what
    another exchange began; neither its time nor its prompt is seen here. `is_background`: it only begins what another exchange
    will show."""

    model: str | None
    stream: bool = False
    usage_asked: bool = False
    """The client itself asked for usage on its stream."""
    choices_count: int = 1
    drafts_ratio: float = 1.0
    """Answers generated for each that is returned (`best_of`): what is counted here is counted so many times."""
    images_count: int = 0
    is_lookup: bool = False
    is_background: bool = False
    raw: bytes = field(default=b"", repr=False)


@record
class Picture:
    """A picture in a prompt, as far as its size is known: `width_px` and `height_px`, or None. `detail`: what the client
    asked for (`low`, `high`, `auto`)."""

    width_px: int | None
    height_px: int | None
    detail: str = "auto"


@record
class Tool:
    """A function that the model may call: its name, its description, and the JSON schema of its arguments."""

    name: str
    description: str = field(default="", repr=False)
    schema: Mapping[str, Any] = field(default_factory=dict, repr=False)


@record
class Prompt:
    """A request as far as its tokens can be counted here. Held only while it is counted.

    `texts`: contents, roles and names, in order. `tokens_count`: tokens that came as such, in a prompt of token ids.
    `audio_s`: seconds of sound. `uncounted_parts_count`: files and the like, which nobody can count from outside. `is_whole`:
    False where the server adds a context of its own, so that what is here is no count of the prompt.
    """

    texts: tuple[str, ...] = field(default=(), repr=False)
    messages_count: int = 0
    names_count: int = 0
    tools: tuple[Tool, ...] = ()
    pictures: tuple[Picture, ...] = ()
    audio_s: float = 0.0
    tokens_count: int = 0
    uncounted_parts_count: int = 0
    is_whole: bool = True


@record
class TokenCount:
    """A count made here, and how."""

    tokens: int
    source: Literal["counted", "estimated"]
