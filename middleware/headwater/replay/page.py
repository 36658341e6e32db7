"""Result -> one HTML page without any other file: the plot inline, the table, the words around it."""

from __future__ import annotations

from html import escape
from typing import Final

from headwater.replay.render import table
from headwater.replay.run import Result
from headwater.replay.scales import length
from headwater.replay.svg import as_svg
from headwater.replay.words import pace, place, remarks, when

_STYLE: Final = """
  :root { color-scheme: light dark; --ink: #1d2630; --faint: #5c6773; --line: #dde3e8; --paper: #ffffff }
  @media (prefers-color-scheme: dark) { :root { --ink: #e8edf2; --faint: #9aa7b4; --line: #2a343f; --paper: #12181f } }
  body { margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: var(--ink); background: var(--paper);
         font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
  svg { display: block; width: 100%; height: auto }
  p { color: var(--faint); margin: .4rem 0 }
  .wide { overflow-x: auto; margin-top: 1.5rem }
  table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px }
  th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap }
  th { color: var(--faint); font-weight: 600 }
  th:first-child, td:first-child { text-align: left; padding-left: 0 }
  tr:last-child td { font-weight: 600; border-bottom: 0 }
"""


def as_html(result: Result) -> str:
    """The page."""
    head, *body = table(result)
    rows = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in body)
    facts = f"{result.requests.requests_count:,} requests in {length(result.span_s)}{when(result)}."
    words = [facts, *(f"{place(one)}." for one in result.deployed), pace(result), *remarks(result)]
    said = "\n".join(f"<p>{escape(text)}</p>" for text in words)
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Replay of {escape(result.trace.name)}</title>
<style>{_STYLE}</style>
{as_svg(result)}
{said}
<div class="wide"><table>
<thead><tr>{"".join(f"<th>{escape(cell)}</th>" for cell in head)}</tr></thead>
<tbody>
{rows}
</tbody>
</table></div>
</html>
"""
