"""`headwater vocab`: tiktoken's vocabularies, for upstreams that do not report usage."""

from __future__ import annotations

import typer

from headwater.cli import app, explained, say

vocab_app = typer.Typer(
    help="The tokenizer vocabularies, for upstreams that do not report usage.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(vocab_app, name="vocab")


@vocab_app.command("install")
def vocab_install() -> None:
    """Install tiktoken's vocabularies (o200k_base, cl100k_base), so that tokens are counted and not estimated.

    \b
    Example:
      headwater vocab install
    """
    from headwater import vocab

    with explained():
        for path in vocab.install(lambda text: typer.echo(text, err=True)):
            say(str(path))
