"""What pictures and sound cost in tokens, by the rules of their models' makers. Knows sizes and seconds; no bytes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from headwater.records import Factor, Media, Picture
from headwater.tokens.amount import NOTHING, Amount, exactly, of

_LOW: Final = "low"


def picture_amount(picture: Picture, media: Media) -> Amount:
    """The tokens of a picture. Where its size is not known: as many as one can cost, of a range down to one tile."""
    is_low, base = picture.detail == _LOW, NOTHING if media.base_tokens is None else of(media.base_tokens)
    if is_low and media.low_px is None and media.base_tokens is not None:
        return base
    most, tile = media.most_tiles_count, media.tile_tokens
    if is_low and media.low_px is not None:
        most = _capped(most, math.ceil(media.low_px.value / media.tile_px.value) ** 2)
    if picture.width_px is None or picture.height_px is None:
        tiles = Amount(most.value, 1, most.high, is_counted=False)
    else:
        count = _tiles_count(picture.width_px, picture.height_px, media)
        tiles = Amount(min(count, most.value), min(count, most.low), min(count, most.high))
    found = base.plus(tiles.times(tile, is_counted=tile.confidence != "estimated"))
    return found.times(media.doubt_ratio, is_counted=True)


def _capped(factor: Factor, most: float) -> Factor:
    return replace(factor, **{side: min(getattr(factor, side), most) for side in ("value", "low", "high")})


def _tiles_count(width_px: float, height_px: float, media: Media) -> int:
    if media.small_px is not None and max(width_px, height_px) <= media.small_px.value:
        return 1
    scale = 1.0
    if media.fit_px is not None:
        scale = min(scale, media.fit_px.value / max(width_px, height_px))
    if media.side_px is not None:
        scale = min(scale, media.side_px.value / min(width_px, height_px))
    # The scaled side of a picture that fits exactly must not become one pixel more by rounding.
    across, down = (math.ceil(round(each * scale, 6) / media.tile_px.value) for each in (width_px, height_px))
    return across * down


def sound_amount(audio_s: float, media: Media) -> Amount:
    """The tokens of so many seconds of sound."""
    if not audio_s:
        return NOTHING
    if media.audio_tokens_per_s is None:
        return uncounted_amount(1, media)
    return exactly(audio_s).times(media.audio_tokens_per_s, is_counted=False)


def uncounted_amount(count: int, media: Media) -> Amount:
    """The tokens of so many parts that cannot be counted."""
    return of(media.uncounted_tokens, count)
