"""A derivation -> text that can be redone with a pocket calculator. Pure formatting; knows receipts' steps, no physics.

Each computed figure has its formula, the formula with the numbers put in, and the result; each given one its range and its
source. Numbers have seven significant digits, and more where redoing a formula with seven would not give the same result.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

from headwater.records import Addenda, Footprint

# The step that begins each part.
_HEADINGS: Final = {
    "active_params_count": "The model",
    "replicas_count": "The server",
    "memory_ratio": "The engine",
    "attention_copies_ratio": "What follows for every request of this deployment",
    "concurrency_count": "The deployment's mean request",
    "memory_share_ratio": "Energy",
    "accelerator_w": "Energy",
    "installed_accelerators_count": "The fleet",
    "server_w": "Energy",
    "it_j": "Energy",
    "pue": "The place",
    "facility_j_low_ratio": "The interval",
    "power_kw_low_ratio": "The interval",
    "capacity_requests_count": "What the fleet can serve",
    "flat_it_j_per_request": "What the factor set counts per request",
    "visits_count": "The visits",
}
_REQUEST_HEADING: Final = "This request"
_OWN: Final = "own_"
_GIVEN: Final = "given"
_NAME: Final = re.compile(r"[A-Za-z_]\w*")
# What Derivation.take writes behind a source: how sure it is, when it was looked up, and the range.
_SOURCED: Final = re.compile(r"(?P<source>.*) \((?P<sure>[^()]*); (?P<low>\S+) to (?P<high>\S+)\)", re.DOTALL)
_DIGITS: Final = 7
_MOST_DIGITS: Final = 17
_WHOLE_DIGITS: Final = 15
_ZEROS: Final = "0" * _DIGITS
_SAME: Final = 1e-5
_SHORT_SOURCE: Final = 80
_TOOLS: Final[Mapping[str, Callable[..., float]]] = {"min": min, "max": max}
_OPERATORS: Final[Mapping[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def steps_of(of: Footprint | Addenda) -> list[dict[str, Any]]:
    """The steps of a footprint, or of what stands beside one, as JSON values, as they stand in receipts."""
    return [asdict(step) | {"inputs": dict(step.inputs)} for step in of.steps]


def as_lines(steps: Iterable[Mapping[str, Any]], *, brief: bool = False) -> Iterator[str]:
    """The derivation line by line, under headings. `brief` leaves out what only states a figure and its source,
    and takes two lines for each step in place of three."""
    steps = list(steps)
    digits = _digits(steps)
    sources: dict[str, str] = {}
    coming, begun = "", set[str]()
    for step in steps:
        name = step["name"]
        heading = _REQUEST_HEADING if name.startswith(_OWN) else _HEADINGS.get(name, "")
        if heading and heading not in begun:
            coming = heading
        is_given = step["formula"] == _GIVEN
        if brief and is_given:
            continue
        if coming:
            begun.add(coming)
            yield ""
            yield coming
            coming = ""
        yield from _given(step, digits[name], sources) if is_given else _computed(step, digits, brief=brief)


def _given(step: Mapping[str, Any], digits: int, sources: dict[str, str]) -> Iterator[str]:
    """A figure that comes from outside. A source that was named before is not repeated, but pointed to."""
    name, source = step["name"], step["source"]
    figure = f"  {name} = {_number(step['value'], digits)} {step['unit']}".rstrip()
    sourced = _SOURCED.fullmatch(source)
    if sourced:
        if sourced["low"] != sourced["high"]:
            figure += f" ({sourced['low']} to {sourced['high']})"
        source = f"{sourced['source']} ({sourced['sure']})"
    first = sources.setdefault(source, name)
    words = f"source: {source}" if first == name else f"source: as {first}"
    if len(words) <= _SHORT_SOURCE:
        yield f"{figure}; {words}"
    else:
        yield figure
        yield f"      {words}"


def _computed(step: Mapping[str, Any], digits: Mapping[str, int], *, brief: bool) -> Iterator[str]:
    put_in = {name: _number(value, digits[name]) for name, value in step["inputs"].items()}
    result = f"= {_number(step['value'], digits[step['name']])} {step['unit']}".rstrip()
    numbers = f"      = {_with_numbers(_chosen(step), put_in)}"
    yield f"  {step['name']} = {step['formula']}"
    yield from [f"{numbers} {result}"] if brief else [numbers, f"      {result}"]


def _chosen(step: Mapping[str, Any]) -> str:
    """The formula, or the branch of it that applies to these numbers."""
    formula: str = step["formula"]
    body = ast.parse(formula, mode="eval").body
    if not isinstance(body, ast.IfExp):
        return formula
    return ast.unparse(body.body if _value(body.test, step["inputs"]) else body.orelse)


def _with_numbers(formula: str, numbers: Mapping[str, str]) -> str:
    return _NAME.sub(lambda found: numbers.get(found[0], found[0]), formula)


def _digits(steps: list[Mapping[str, Any]]) -> dict[str, int]:
    """How many digits each figure needs, so that every formula gives its result again from the digits shown."""
    digits = {step["name"]: _DIGITS for step in steps}
    for step in steps:
        names = [name for name in step["inputs"] if name in digits]
        if step["formula"] == _GIVEN:
            continue
        while not _is_same(step, digits) and any(digits[name] < _MOST_DIGITS for name in names):
            digits.update({name: min(digits[name] + 2, _MOST_DIGITS) for name in names})
    return digits


def _is_same(step: Mapping[str, Any], digits: Mapping[str, int]) -> bool:
    value = step["value"]
    shown = {name: float(_number(given, digits[name])) for name, given in step["inputs"].items()}
    try:
        again = _value(ast.parse(step["formula"], mode="eval").body, shown)
    except ArithmeticError:
        return False
    return bool(abs(again - value) <= _SAME * abs(value))


def _value(node: ast.expr, inputs: Mapping[str, float]) -> float:
    """What a formula gives: sums, products, powers, min and max, and one choice. Nothing else stands in a derivation."""
    match node:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.Name(id=name):
            return inputs[name]
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_value(left, inputs), _value(right, inputs))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _TOOLS[name](*(_value(argument, inputs) for argument in arguments))
        case ast.Compare(left=left, ops=[ast.Gt()], comparators=[right]):
            return _value(left, inputs) > _value(right, inputs)
        case ast.IfExp(test=test, body=body, orelse=other):
            return _value(body if _value(test, inputs) else other, inputs)
    raise ValueError(f"{ast.unparse(node)!r} is no formula")


def _number(value: float, digits: int) -> str:
    """A number without noise: a whole one in full where that is short or all of it counts, else so many digits."""
    whole = f"{value:.0f}"
    if float(value).is_integer() and len(whole) <= _WHOLE_DIGITS and not whole.endswith(_ZEROS):
        return whole
    return f"{value:.{digits}g}"
