"""What the middleware itself answers under /.well-known/headwater: receipts and one's own account. Each to its user only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from headwater import ulid
from headwater.errors import HeadwaterError, LedgerError
from headwater.identity import ANONYMOUS
from headwater.meter import Meter
from headwater.receipts import receipt
from headwater.records import AccountRow
from headwater.units import MICROGRAMS_PER_G, MICROJOULES_PER_J, NANOLITRES_PER_UL

log = logging.getLogger("headwater")
_PRIVATE: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
# A charge takes a moment to reach the store; a receipt asked for earlier is worth a second look.
_YOUNG_MS: Final = 60_000


# Threads of our own, and few: a slow store must not use up those that the app answers with.
_threads: Final = ThreadPoolExecutor(max_workers=2, thread_name_prefix="headwater-read")
_MOST_WAITING_COUNT: Final = 16
_waiting: Final[set[asyncio.Future[Any]]] = set()

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def _aside(read: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
    """Read the store off the event loop.

    Raises:
        LedgerError: too many are reading already.
    """
    if len(_waiting) >= _MOST_WAITING_COUNT:
        raise LedgerError("too many wait for the store already")
    reading = asyncio.get_running_loop().run_in_executor(_threads, partial(read, *arguments, **named))
    _waiting.add(reading)
    reading.add_done_callback(_waiting.discard)
    return await reading


async def answer(meter: Meter, name: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request for `/.well-known/headwater/<name>`."""
    if scope["method"] not in ("GET", "HEAD"):
        response: Response = _problem(405, "use GET", {"allow": "GET, HEAD"})
    else:
        try:
            response = await _respond(meter, name, meter.user(scope))
        except HeadwaterError as error:
            meter.telemetry.failed(type(error).__name__)
            log.warning("headwater: the ledger cannot be read: %s", error)
            response = _problem(503, "the ledger cannot be read right now; charges are not lost", {"retry-after": "5"})
    await response(scope, receive, send)


async def _respond(meter: Meter, name: str, user: str) -> Response:
    if name == "me":
        return await _me(meter, user)
    kind, _, request_id = name.partition("/")
    if kind != "requests" or not ulid.is_valid(request_id):
        return _problem(404, "there is nothing here; see /me and /requests/{id}")
    document = await _aside(_receipt, meter, request_id, user)
    if document is None:
        # The same answer whether there is none or it is somebody else's.
        age_ms = meter.wall_s() * 1000 - ulid.time_ms(request_id)
        kept = meter.settings.retention.receipts_hours
        retry = {"retry-after": "1"} if 0 <= age_ms < _YOUNG_MS else {}
        return _problem(404, f"no receipt under this id for you; receipts are kept for {kept} hours", retry)
    return JSONResponse(document, headers=_PRIVATE)


def _receipt(meter: Meter, request_id: str, user: str) -> dict[str, Any] | None:
    with meter.ledger.reader() as reader:
        charge = reader.receipt(request_id, user)
        if charge is None:
            return None
        # Prices are the operator's own business unless it says otherwise.
        pricing = meter.pricing if meter.settings.disclosure.cost else None
        return receipt(charge, reader.document(charge.deployment_hash), pricing)


async def _me(meter: Meter, user: str) -> Response:
    if user == ANONYMOUS:
        return _problem(401, "say who you are with the credentials you use for the API")
    month, day = await _aside(_account_rows, meter, user)
    return JSONResponse({"v": 1, "user": user, "month": account(month), "day": account(day)}, headers=_PRIVATE)


def _account_rows(meter: Meter, user: str) -> tuple[AccountRow, AccountRow]:
    now = datetime.fromtimestamp(meter.wall_s(), UTC)
    with meter.ledger.reader() as reader:
        return reader.user_row(user, f"{now:%Y-%m}"), reader.user_row(user, f"{now:%Y-%m-%d}")


def account(row: AccountRow) -> dict[str, Any]:
    """One account row as JSON values, in the units of the wire (J, uL)."""
    energy, water, carbon = MICROJOULES_PER_J, NANOLITRES_PER_UL, MICROGRAMS_PER_G
    return {
        "period": row.period,
        "requests": row.requests_count,
        "requests_without_footprint": row.unknown_count,
        "requests_not_completed": row.incomplete_count,
        "requests_counted_here": row.not_upstream_count,
        "tokens": {
            "input": row.input_tokens,
            "cached": row.cached_tokens,
            "output": row.output_tokens,
            "reasoning": row.reasoning_tokens,
        },
        "energy_j": row.energy_microjoules / energy,
        "energy_j_range": [row.energy_low_microjoules / energy, row.energy_high_microjoules / energy],
        "it_j": row.it_microjoules / energy,
        "water_ul": row.water_nanolitres / water,
        "water_ul_range": [row.water_low_nanolitres / water, row.water_high_nanolitres / water],
        "water_onsite_ul": row.onsite_nanolitres / water,
        "carbon_g": row.carbon_micrograms / carbon,
        "carbon_g_range": [row.carbon_low_micrograms / carbon, row.carbon_high_micrograms / carbon],
    }


def _problem(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"message": text}}, status_code=status, headers={**_PRIVATE, **(headers or {})})
