"""The command line under test: in this process, where most is the same and costs a hundredth; or as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

from typer.testing import CliRunner

from headwater.cli import app

Done = subprocess.CompletedProcess[str]


def run(*arguments: str, **environment: str) -> Done:
    """Run `headwater` in this process. An exception that a user would see as a traceback comes through."""
    found = CliRunner().invoke(app, list(arguments), env=environment, prog_name="headwater")
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return Done(arguments, found.exit_code, found.stdout, found.stderr)


def run_process(*arguments: str, **environment: str) -> Done:
    """Run `headwater` as a process and wait for it: what starts, listens, logs or looks at a terminal, as a user meets it."""
    return subprocess.run(
        [sys.executable, "-m", "headwater", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )
