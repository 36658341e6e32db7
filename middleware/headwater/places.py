"""The operator's own sites and grids over the catalog's: which figures hold where. Knows settings, catalog and series; no physics.

A figure that the operator gives replaces the catalog's, and its name goes into every disclosure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from headwater import catalog, hours
from headwater.config import Figure, GridSettings, Settings, SiteSettings
from headwater.errors import CatalogError, ConfigError
from headwater.hours import Hours
from headwater.records import Factor, Grid, Site, TrainingShare

R = TypeVar("R")

# Setting -> the word by which it is known, and its unit. What of it disclosures name is physics.place's to say.
_SITE_FIGURES: Final = {
    "pue": ("pue", "ratio"),
    "wue_l_per_it_kwh": ("wue", "L/kWh"),
    "wet_bulb_c": ("wet-bulb", "degC"),
    "market_g_per_kwh": ("market", "g/kWh"),
}
_GRID_FIGURES: Final = {
    "carbon_g_per_kwh": ("carbon", "g/kWh"),
    "ewif_hydro_include_l_per_kwh": ("ewif-include", "L/kWh"),
    "ewif_hydro_exclude_l_per_kwh": ("ewif-exclude", "L/kWh"),
    "ewif_withdrawal_l_per_kwh": ("ewif-withdrawal", "L/kWh"),
}
_MUST: Final = {
    "site": ("pue", "grid", "wue_l_per_it_kwh with wue_basis, or wue_method with its tower"),
    "grid": ("carbon_g_per_kwh", "ewif_hydro_include_l_per_kwh", "ewif_hydro_exclude_l_per_kwh"),
}


class Places:
    """All sites and grids that the settings can name, and the series of hours that they have.

    Raises:
        ConfigError: a `[[site]]`, its series or a `[[grid]]` cannot be used; names file, line, value and remedy.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._grids = {each.name: self._own_grid(number, each) for number, each in enumerate(settings.grid)}
        self._sites = {each.name: self._own_site(number, each) for number, each in enumerate(settings.site)}
        self._hours = {each.name: self._own_hours(number, each) for number, each in enumerate(settings.site)}

    def site(self, name: str) -> Site:
        """The site of that name: the operator's own, else the catalog's. Raises CatalogError when there is none."""
        return self._sites[name] if name in self._sites else _of_catalog("sites", catalog.site, name, self._sites)

    def grid(self, name: str) -> Grid:
        """The grid of that name: the operator's own, else the catalog's. Raises CatalogError when there is none."""
        return self._grids[name] if name in self._grids else _of_catalog("grids", catalog.grid, name, self._grids)

    def hours(self, name: str) -> Hours | None:
        """The series of the site of that name, where it has one."""
        return self._hours.get(name)

    def ended(self, now_s: float) -> Iterator[tuple[str, float]]:
        """The sites whose series say nothing any more, and when they ended in seconds since the epoch."""
        repeated = {site.name for site in self._settings.site if site.hours_repeat}
        for name, known in self._hours.items():
            if known is not None and known.end_s <= now_s and name not in repeated:
                yield name, known.end_s

    def training(self, model: str) -> TrainingShare | None:
        """The share of a model's training, where the operator wants one shown and its training is disclosed."""
        wanted = self._settings.training
        if wanted is None or model not in catalog.names("trainings"):
            return None
        return TrainingShare(training=catalog.training(model), requests_count=wanted.requests)

    def _own_grid(self, number: int, own: GridSettings) -> Grid:
        at = self._at("grid", number)
        base = self._base("grid", number, own.like, own.name)
        figures = _figures(own, _GRID_FIGURES, {})
        made: Grid = self._made(
            Grid, base, {"name": own.name, **figures, **_given(own, ("year",)), "own": _own(own, _GRID_FIGURES)}, at
        )
        return made

    def _own_site(self, number: int, own: SiteSettings) -> Site:
        at = self._at("site", number)
        base = self._base("site", number, own.like, own.name)
        changes: dict[str, Any] = {
            "name": own.name,
            **_figures(own, _SITE_FIGURES, {"wue_l_per_it_kwh": own.wue_basis or ""}),
            **_given(own, ("grid", "year", "wue_basis", "wue_category", "wue_method")),
            "own": _own_of_site(own),
        }
        for key, read in (("tower", catalog.tower), ("curve", catalog.curve)):
            if getattr(own, key) is not None:
                try:
                    changes[key] = read(getattr(own, key))
                except CatalogError as error:
                    raise ConfigError(f"{self._at('site', number, key)}: {error}") from None
        if own.wue_l_per_it_kwh is not None:
            changes["wue_method"] = "reported"
        elif own.wue_method in ("tower", "li2023"):
            changes.setdefault("wue_basis", "consumption")
        site: Site = self._made(Site, base, changes, at)
        try:
            self.grid(site.grid)
        except CatalogError as error:
            raise ConfigError(f"{self._at('site', number, 'grid')}: {error}") from None
        return site

    def _own_hours(self, number: int, own: SiteSettings) -> Hours | None:
        if own.hours is None:
            return None
        at = self._at("site", number, "hours")
        try:
            return hours.read(self._settings.folder / own.hours.expanduser(), repeat=own.hours_repeat)
        except ConfigError as error:
            raise ConfigError(f"{at}: {error}") from None
        except (RuntimeError, ValueError) as error:  # a home of nobody, a name that no file can have
            raise ConfigError(f"{at}: {str(own.hours)!r} cannot be read: {error}; write the whole path") from None

    def _at(self, *location: int | str) -> str:
        return f"{self._settings.source}: {self._settings.where(*location)}"

    def _base(self, kind: str, number: int, like: str | None, name: str) -> Site | Grid | None:
        read: Any = catalog.site if kind == "site" else catalog.grid
        if like is None:
            known = catalog.names("sites" if kind == "site" else "grids")
            return read(name) if name in known else None
        try:
            found: Site | Grid = read(like)
            return found
        except CatalogError as error:
            raise ConfigError(f"{self._at(kind, number, 'like')}: {error}") from None

    def _made(self, record: Any, base: Any, changes: dict[str, Any], at: str) -> Any:
        kind = "site" if record is Site else "grid"
        try:
            if base is not None:
                return catalog.checked(replace(base, **changes), at=kind)
            return catalog.checked(record(**(_NOTHING[kind] | changes)), at=kind)
        except TypeError:
            must = ", ".join(_MUST[kind])
            raise ConfigError(
                f"{at}: {changes['name']!r} is not in the catalog, so all of it must be given ({must}); "
                f"or name an entry to start from with like"
            ) from None
        except CatalogError as error:
            raise ConfigError(f"{at}: {error}") from None


_NOTHING: Final[Mapping[str, dict[str, Any]]] = {
    "site": dict.fromkeys(("wue_l_per_it_kwh", "tower", "curve", "wet_bulb_c", "market_g_per_kwh")),
    "grid": {},
}


def _of_catalog(kind: catalog.Kind, read: Callable[[str], R], name: str, own: Iterable[str]) -> R:
    """The catalog's entry; where there is none, the close names are also those of the operator's own."""
    if name in catalog.names(kind):
        return read(name)
    close = catalog.near(name, [*own, *catalog.names(kind)])
    raise CatalogError(f"{name!r} is not in the catalog of {kind}, nor in these settings; close or known: {close}")


def _given(own: SiteSettings | GridSettings, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(own, name) for name in names if getattr(own, name) is not None}


def _own(own: SiteSettings | GridSettings, figures: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for name, (word, _) in figures.items() if getattr(own, name) is not None))


def _own_of_site(own: SiteSettings) -> tuple[str, ...]:
    words = _own(own, _SITE_FIGURES)
    if "wue" not in words and (own.wue_method or own.wue_basis):
        words += ("wue",)
    if own.grid is not None:
        words += ("grid",)
    return words + (("hours",) if own.hours is not None else ())


def _figures(
    own: SiteSettings | GridSettings, figures: Mapping[str, tuple[str, str]], basis: Mapping[str, str]
) -> dict[str, Factor]:
    return {
        name: _factor(getattr(own, name), unit, basis.get(name, ""))
        for name, (_, unit) in figures.items()
        if getattr(own, name) is not None
    }


def _factor(figure: Figure, unit: str, basis: str) -> Factor:
    return Factor(
        value=figure.value,
        low=figure.low,
        high=figure.high,
        unit=unit,
        basis=basis,
        source=f"the operator's own: {figure.source}",
        checked=figure.checked or "",
        confidence="own",
    )
