"""A stored charge -> its receipt: the amounts as charged, and every step of how they came about, derived anew. Pure."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from headwater import beside, catalog, derivations, money
from headwater.physics.addenda import addenda
from headwater.physics.estimate import Profile
from headwater.physics.rates import rates
from headwater.printable import printable
from headwater.records import Amounts, Charge, Deployment, Footprint
from headwater.tariffs import Pricing
from headwater.units import MICROGRAMS_PER_G, MICROJOULES_PER_J, NANOLITRES_PER_UL

VERSION = 1
_UNREADABLE = "another version of headwater wrote down what it was charged by; that version can derive it"
ROUNDING = 1e-9
"""What a chain of floating-point operations in another order may differ by."""


def receipt(charge: Charge, document: str | None, pricing: Pricing | None = None) -> dict[str, Any]:
    """The receipt of a charge as JSON values. `document`: the stored deployment it was priced with, where there is one.
    `pricing`: the operator's tariffs; None shows no cost.

    The derivation is recomputed from the stored inputs, not stored: if it did not give the charged amounts again, the
    receipt would say so in `derivation_agrees`.
    """
    deployment = _read(document)
    footprint = _derive(charge, deployment)
    cost = pricing.cost(charge, document) if pricing is not None else None
    return {
        "v": VERSION,
        "id": charge.request_id,
        "user": charge.user,
        "started": _moment(charge.started_ms),
        "ended": _moment(charge.ended_ms),
        "outcome": charge.outcome,
        "partial": is_partial(charge),
        "model": charge.model,
        "site": charge.site,
        "method": charge.method,
        "tokens": {
            "input": charge.usage.input_tokens,
            "cached": charge.usage.cached_tokens,
            "output": charge.usage.output_tokens,
            "reasoning": charge.usage.reasoning_tokens,
            "source": charge.usage.source,
            "off_by": charge.usage.count_ratio,
        },
        "observed": asdict(charge.observation),
        "charged": None if charge.amounts is None else _amounts(charge.amounts),
        "reason": charge.reason or None,
        **_beside(footprint, deployment, charge),
        "cost": None if cost is None else money.as_json(cost),
        "deployment": None if deployment is None else deployment_facts(deployment, charge.deployment_hash, footprint),
        "derivation": derivations.steps_of(footprint) if footprint else [],
        "derivation_lacks": _UNREADABLE if document and deployment is None else None,
        "derivation_agrees": None
        if footprint is None or charge.amounts is None
        else _agrees(footprint, charge.amounts),
    }


def is_partial(charge: Charge) -> bool:
    """Whether the exchange broke off, and its counts cover what was generated until then."""
    return charge.outcome != "completed" and charge.usage.output_tokens is not None


def _read(document: str | None) -> Deployment | None:
    """The deployment of a document; None where there is none, or where another version of headwater wrote it."""
    try:
        return catalog.deployment_from_document(document) if document else None
    except catalog.CatalogError:
        return None


def _derive(charge: Charge, deployment: Deployment | None) -> Footprint | None:
    if deployment is None or charge.amounts is None:
        return None
    estimate = Profile(deployment).estimate(charge.usage, charge.observation, steps=True)
    return estimate if isinstance(estimate, Footprint) else None


def _beside(footprint: Footprint | None, deployment: Deployment | None, charge: Charge) -> dict[str, Any]:
    """What goes with the charge and is no part of it; with the steps that lead to it."""
    if footprint is None or deployment is None:
        return {"energy_parts": None, "beside": None, "sci": None, "beside_derivation": []}
    found = addenda(footprint, deployment, wet_bulb_c=charge.observation.wet_bulb_c)
    return {
        "energy_parts": beside.energy_parts(footprint),
        "beside": beside.as_json(found),
        "sci": beside.sci(footprint, found, deployment, grid_g_per_kwh=charge.observation.grid_g_per_kwh),
        "beside_derivation": derivations.steps_of(found),
    }


def _agrees(footprint: Footprint, amounts: Amounts) -> bool:
    """Whether the last lines of the derivation, not just the estimate that it explains, give what was charged."""
    derived_j = next(step.value for step in reversed(footprint.steps) if step.name == "it_j")
    most_microjoules = max(1.0, ROUNDING * amounts.it_microjoules)
    return abs(derived_j * MICROJOULES_PER_J - amounts.it_microjoules) <= most_microjoules


def _amounts(amounts: Amounts) -> dict[str, Any]:
    energy, water, carbon = MICROJOULES_PER_J, NANOLITRES_PER_UL, MICROGRAMS_PER_G
    return {
        "it_j": amounts.it_microjoules / energy,
        "energy_j": amounts.energy_microjoules / energy,
        "energy_j_range": [amounts.energy_low_microjoules / energy, amounts.energy_high_microjoules / energy],
        "water_ul": amounts.water_nanolitres / water,
        "water_ul_range": [amounts.water_low_nanolitres / water, amounts.water_high_nanolitres / water],
        "water_onsite_ul": amounts.onsite_nanolitres / water,
        "water_offsite_ul": amounts.offsite_nanolitres / water,
        "carbon_g": amounts.carbon_micrograms / carbon,
        "carbon_g_range": [amounts.carbon_low_micrograms / carbon, amounts.carbon_high_micrograms / carbon],
    }


def deployment_facts(deployment: Deployment, document_hash: str, footprint: Footprint | None = None) -> dict[str, Any]:
    """What a reader is told of a deployment, as JSON values; with a footprint, which of the operator's figures it used."""
    own = (*deployment.site.own, *deployment.grid.own) if footprint is None else footprint.own
    return {
        "hash": document_hash,
        "model": deployment.model.name,
        "hardware": deployment.hardware.name,
        "accelerators": deployment.accelerators_count,
        "attention_accelerators": deployment.attention_accelerators_count,
        "replicas": deployment.replicas_count,
        "hosting": deployment.hosting,
        "precision": deployment.precision,
        "cache_precision": deployment.cache_precision,
        "engine": deployment.engine.name,
        "site": deployment.site.name,
        "grid": deployment.grid.name,
        "factors": deployment.factors.name,
        "factors_hash": deployment.factors.document_hash,
        "hydro": deployment.factors.hydro,
        "wue_basis": rates(deployment).onsite.word if footprint is None else footprint.wue_basis,
        "wue_category": deployment.site.wue_category or None,
        "site_year": deployment.site.year or None,
        "grid_year": deployment.grid.year or None,
        "own": list(own),
        "hours": "hours" in deployment.site.own,
    }


def _moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_text(document: dict[str, Any], *, brief: bool = False) -> str:
    """A receipt for people: what was charged, on what, and the derivation line by line.

    `brief` leaves out the lines that only state a factor and its source.
    """
    tokens = document["tokens"]
    off_by = f", within a factor of {tokens['off_by']:.3g}" if tokens["off_by"] > 1 else ""
    until = "; it broke off: what was generated until then" if document["partial"] else ""
    lines = [
        f"Receipt {document['id']}",
        f"  user        {document['user']}",
        f"  time        {document['started']} to {document['ended']}",
        f"  outcome     {document['outcome']}",
        (
            f"  tokens      {_or_unknown(tokens['input'])} in ({_or_unknown(tokens['cached'])} cached), "
            f"{_or_unknown(tokens['output'])} out; source: {tokens['source']}{off_by}{until}"
        ),
    ]
    deployment = document["deployment"]
    if deployment is not None:
        copies = f"{deployment['replicas']} times " if deployment["replicas"] > 1 else ""
        lines += [
            (
                f"  served by   {deployment['model']} ({deployment['precision']}) on {copies}{deployment['accelerators']} "
                f"of {deployment['hardware']}, {deployment['engine']}, at {deployment['site']} (grid {deployment['grid']})"
            ),
            (
                f"  factors     {deployment['factors']} ({deployment['factors_hash']}), hydro={deployment['hydro']}, "
                f"wue={deployment['wue_basis']}{_own_words(deployment['own'])}; document {deployment['hash']}"
            ),
        ]
        if deployment["hours"] and "hours" not in deployment["own"]:
            lines.append(
                "  hour        annual figures: the series has none of the hour in which it ended, or none that counts"
            )
    lines += _report_lines(document["observed"])
    charged = document["charged"]
    if charged is None:
        return _joined([*lines, f"  footprint   unknown: {document['reason']}"])
    (energy_low, energy_high), (water_low, water_high), (carbon_low, carbon_high) = (
        map(beside.figure, charged[f"{name}_range"]) for name in ("energy_j", "water_ul", "carbon_g")
    )
    lines += [
        f"  method      {document['method']}",
        f"  energy      {charged['energy_j']:.6g} J ({energy_low} to {energy_high}); of it IT {charged['it_j']:.6g} J",
        (
            f"  water       {charged['water_ul']:.6g} uL ({water_low} to {water_high}); "
            f"on-site {charged['water_onsite_ul']:.6g}, off-site {charged['water_offsite_ul']:.6g}"
        ),
        f"  carbon      {charged['carbon_g']:.4g} g CO2e ({carbon_low} to {carbon_high})",
        *(money.as_lines(document["cost"]) if document["cost"] is not None else ()),
    ]
    aside = list(beside.as_lines(document["beside"] or {}))
    aside += list(beside.sci_lines(document["sci"] or {}))
    lines += ["", "Beside it, no part of it, and not to be added up", *aside] if aside else []
    lines += ["", "Derivation"]
    lines += derivations.as_lines(document["derivation"], brief=brief)
    if aside and not brief:
        lines += ["", "Derivation of what stands beside it"]
        lines += derivations.as_lines(document["beside_derivation"])
    if brief:
        given_count = sum(not step["inputs"] for step in document["derivation"])
        lines += ["", f"(from {given_count} factors, left out here)"]
    if document["derivation_lacks"]:
        lines.append(f"No derivation: {document['derivation_lacks']}.")
    if document["derivation_agrees"] is False:
        lines.append(
            "THE DERIVATION DOES NOT GIVE THE CHARGED AMOUNT AGAIN: this version of headwater computes differently."
        )
    return _joined(lines)


_VERDICTS: Final = {
    "taken": "charged, as it is plausible",
    "contradicted": "charged; another figure of the same report does not agree with its joules",
    "slip": "NOT charged: it would be plausible if it were 1000 times as much, or a thousandth; the estimate is charged",
    "implausible": "NOT charged: the hardware cannot have taken so much or so little; the estimate is charged",
    "unchecked": "NOT charged: nothing is known that it could be held against",
    "estimated": "NOT charged: the upstream does not say that it measured; the estimate is charged",
}
"""What became of an upstream's report of energy."""


def _report_lines(observed: dict[str, Any]) -> list[str]:
    scheme = observed["metered_scheme"]
    if scheme is None:
        return []
    figure = f"{observed['metered_j']:.6g} J by {scheme}, measured at: {observed['metered_boundary']}"
    return [f"  reported    {figure}; {_VERDICTS[observed['metered_verdict']]}"]


def _or_unknown(count: int | None) -> str:
    return "unknown" if count is None else str(count)


def _own_words(own: list[str]) -> str:
    return f"; the operator's own: {', '.join(own)}" if own else ""


def _joined(lines: list[str]) -> str:
    """The lines as they may be shown: a name or a source of the operator's may hold what moves a cursor."""
    return "\n".join(map(printable, lines)) + "\n"
