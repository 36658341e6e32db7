"""What the client scripts share: each makes its calls at every address on its command line and prints one JSON document.

Runs under the client's own packages, without those of the tests.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from typing import Any

Calls = list[tuple[str, Any]]
Cases = Mapping[str, Callable[[], dict[str, Any]]]

MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]
CITY_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [
    {
        "type": "function",
        "function": {"name": "get_weather", "description": "The weather of a city.", "parameters": CITY_SCHEMA},
    }
]


def seen(
    reply: Any, *, text: str | None = "", calls: Iterable[tuple[str, Any]] = (), headers: Any = None
) -> dict[str, Any]:
    """One call as the client shows it: the whole reply (a list, if streamed), its text, its tool calls, our headers.

    `headers` is None where the client shows none.
    """
    return {
        "reply": reply,
        "text": text or "",
        "calls": [(name, json.loads(given) if isinstance(given, str) else given) for name, given in calls],
        "headers": None if headers is None else ours(headers),
    }


def ours(headers: Any) -> dict[str, str]:
    """Headwater's headers among those of a reply."""
    return {name.lower(): value for name, value in dict(headers).items() if name.lower().startswith("headwater-")}


def merged(deltas: Iterable[tuple[str | None, str | None]]) -> Calls:
    """Streamed tool calls, each begun by its name and continued by pieces of its arguments."""
    found: list[tuple[str, str]] = []
    for name, arguments in deltas:
        if name:
            found.append((name, arguments or ""))
        elif arguments:
            last, begun = found[-1]
            found[-1] = (last, begun + arguments)
    return list(found)


def report(package: str, cases: Callable[[str], Cases]) -> None:
    """Run the cases at each address; a case that raises has its traceback under `error`."""
    runs = [{name: _outcome(run) for name, run in cases(url).items()} for url in sys.argv[1:]]
    json.dump({"version": version(package), "runs": runs}, sys.stdout)


def _outcome(run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return run()
    except Exception:
        return {"error": traceback.format_exc()}
