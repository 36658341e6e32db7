"""`headwater migrate`: a ledger of an older layout into that of this version."""

from __future__ import annotations

import time

from headwater import config
from headwater.cli import ConfigOption, app, explained, place, say
from headwater.cli.progress import progress


@app.command()
def migrate(settings: ConfigOption = None) -> None:
    """Move a ledger that an older version wrote into the layout of this one: nothing is lost, and nothing counted twice.

    Processes of the older version may go on running: the store refuses them from then on, and their charges stay in their
    journals until they are upgraded. Make a backup first; there is no way back. Killed anywhere, it goes on when run again.

    \b
    Examples:
      headwater migrate
      HEADWATER_REDIS_URL=redis://10.0.0.5:6379/0 headwater migrate
    """
    from headwater.ledger import Retention
    from headwater.ledger.migration import migrated

    with explained():
        loaded = config.load(settings)
        with progress("users") as stage:
            count = migrated(
                data_dir=loaded.ledger.data_dir,
                redis_url=loaded.ledger.endpoint,
                retention=Retention(**loaded.retention.seconds()),
                now_ms=int(time.time() * 1000),
                tick=stage("moving"),
            )
    told = "has the layout of this version; nothing to do" if count is None else f"was moved: {count:,} users"
    say(f"{place(loaded)} {told}")
