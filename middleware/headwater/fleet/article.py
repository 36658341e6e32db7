"""Where the 2023 articles contradict themselves, or what is known now: computed from the catalog's claims, never typed."""

from __future__ import annotations

from typing import Final

from headwater import catalog
from headwater.physics import water
from headwater.records import Factor, FactorSet
from headwater.units import J_PER_KWH, J_PER_WH, KWH_PER_MWH, L_PER_ML, L_PER_US_GALLON, ML_PER_L, W_PER_KW

SEED: Final = "seed-2023"
_GPT_3: Final = "gpt-3"
_TOWER: Final = "tower-modern"
_BILLION: Final = 1e9
_MILLION: Final = 1e6
_PERCENT: Final = 100


def article_notes(it_energy_kwh: float) -> tuple[str, ...]:
    """What a reader of the articles should know, in sentences without a full stop. `it_energy_kwh`: of the fleet in question,
    for what its water would be."""
    seed = catalog.factor_set(SEED)
    return (
        _nameplate(seed),
        _training(_wue(seed)),
        _questions(seed, _wue(seed)),
        _mist(it_energy_kwh, _wue(seed)),
        _today(it_energy_kwh, _wue(seed)),
        _permits(),
        _parameters(),
        _cost(),
    )


def _claim(name: str) -> Factor:
    return catalog.claim(name).figure


def _disclosed(name: str) -> Factor:
    found: Factor | None = getattr(catalog.training(_GPT_3), name)
    if found is None:
        raise catalog.CatalogError(f"the training of {_GPT_3} must have {name}")
    return found


def _wue(seed: FactorSet) -> float:
    if seed.wue_l_per_it_kwh is None:
        raise catalog.CatalogError(f"{SEED} must have a wue_l_per_it_kwh: its articles' gallon per kWh")
    return seed.wue_l_per_it_kwh.value


def _nameplate(seed: FactorSet) -> str:
    if seed.server_w is None:
        raise catalog.CatalogError(f"{SEED} must have a server_w: its articles' nameplate")
    drawn = _claim("measured_draw_ratio")
    return (
        f"{seed.server_w.value / W_PER_KW:g} kW is the most that a DGX A100 may draw; measured on its successor: "
        f"{_range(drawn.low * _PERCENT, drawn.high * _PERCENT)} % of the rating under hard work"
    )


def _training(wue: float) -> str:
    said, energy, whole = _claim("gpt3_training_l"), _disclosed("it_kwh"), _claim("gpt3_whole_training_l")
    by_gallon_l = water.onsite_l(it_j=energy.value * J_PER_KWH, wue_l_per_it_kwh=wue)
    return (
        f"training GPT-3 is given as {said.value:,.0f} L; the article's own gallon per kWh on "
        f"{energy.value / KWH_PER_MWH:,.0f} MWh gives {by_gallon_l / L_PER_ML:.2f} ML, {by_gallon_l / said.value:.0f} times as "
        f"much: {said.value / L_PER_ML:.1f} ML is the on-site part, at {said.value / energy.value:.3f} L/kWh; on-site and "
        f"off-site together are {whole.value / L_PER_ML:.2f} ML"
    )


def _questions(seed: FactorSet, wue: float) -> str:
    flat = seed.flat_it_j_per_request
    if flat is None:
        raise catalog.CatalogError(f"{SEED} must have a flat_it_j_per_request: its articles' 4 Wh a question")
    bottle, count, chat = _claim("bottle_l"), _claim("bottle_questions_count"), _claim("chat_j_per_request")
    bottle_ml = bottle.value * ML_PER_L
    by_gallon_ml, chat_ml = (
        water.onsite_l(it_j=energy_j, wue_l_per_it_kwh=wue) * ML_PER_L for energy_j in (flat.value, chat.value)
    )
    return (
        f"{_range(count.low, count.high)} questions per {bottle_ml:g} mL are "
        f"{_range(bottle_ml / count.high, bottle_ml / count.low)} mL each, which agrees with the gallon at "
        f"{flat.value / J_PER_WH:g} Wh a question ({by_gallon_ml:.1f} mL); but a chat of today takes "
        f"{chat.value / J_PER_WH:g} Wh, which at a gallon per kWh is {chat_ml:.2f} mL"
    )


def _mist(it_energy_kwh: float, wue: float) -> str:
    lost, tower = _claim("circulation_loss_ratio"), catalog.tower(_TOWER)
    drift, range_k, capacity = tower.drift_ratio, tower.range_k.value, tower.heat_capacity_j_per_kg_k.value
    latent = water.latent_heat_j_per_kg(
        latent_heat_0c_j_per_kg=tower.latent_heat_0c_j_per_kg.value,
        latent_heat_slope_j_per_kg_k=tower.latent_heat_slope_j_per_kg_k.value,
        wet_bulb_c=tower.wet_bulb_c.value,
    )
    evaporated_ratio = capacity * range_k / latent
    low_ml, high_ml, real_ml = (
        water.drift_l_per_it_kwh(
            heat_ratio=1, wet_ratio=1, heat_capacity_j_per_kg_k=capacity, range_k=range_k, drift_ratio=ratio
        )
        * it_energy_kwh
        / L_PER_ML
        for ratio in (lost.low, lost.high, drift.value)
    )
    return (
        f"{_range(lost.low * _PERCENT, lost.high * _PERCENT)} % drifting away as mist is the share of the circulating water that "
        f"evaporates ({evaporated_ratio * _PERCENT:.2g} % where the tower cools it by {range_k:.1f} K); as mist it would add "
        f"{low_ml:.2g} to {high_ml:.2g} ML to the {it_energy_kwh * wue / L_PER_ML:.3g} ML of the gallon, while real drift is "
        f"{drift.value * _PERCENT:g} %, or {real_ml:.2g} ML; it is not added here"
    )


def _today(it_energy_kwh: float, wue: float) -> str:
    mean = catalog.site("us-average").wue_l_per_it_kwh
    if mean is None:
        raise catalog.CatalogError("site us-average must have a wue_l_per_it_kwh")
    today_ml = it_energy_kwh * mean.value / L_PER_ML
    return (
        f"a gallon per kWh ({wue:.3f} L) is what an old chiller with its tower withdraws; data centres of the USA consume "
        f"{mean.value:g} L/kWh on average, which makes {today_ml:.2g} ML of this energy"
    )


def _permits() -> str:
    asked, used = (_claim(name).value / L_PER_US_GALLON / _BILLION for name in ("google_2019_l", "google_2021_l"))
    return (
        f"Google's {asked:.2g} billion gallons of 2019 were requested or granted in three states, not used by three data "
        f"centres; all of its data centres consumed {used:.2g} billion in 2021"
    )


def _parameters() -> str:
    said = _claim("gpt3_said_count").value / _BILLION
    known = catalog.model(_GPT_3).total_params_count / _BILLION
    return f"GPT-3 has {known:.0f} billion parameters, not {said:.0f}"


def _cost() -> str:
    cost = _disclosed("cost_usd")
    return (
        f"{cost.value / _MILLION:.2g} million USD for training GPT-3 is an estimate of others; estimates go from "
        f"{cost.low / _MILLION:g} to {cost.high / _MILLION:g} million"
    )


def _range(low: float, high: float) -> str:
    return f"{low:g} to {high:g}"
