"""Which deployment serves a model, and how busy it is. Knows catalog and physics; no I/O; time is passed in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from headwater import catalog
from headwater.config import DeploymentSettings, Settings
from headwater.errors import CatalogError
from headwater.hours import Asked, HoursOf, Series
from headwater.mixes import Mixture
from headwater.physics.estimate import Profile
from headwater.places import Places
from headwater.records import Deployment, Unknown

OTHER: Final = "other"
"""What stands in accounts and metrics for a model that is not in the catalog: never a string a client made up."""
# The setting that names an entry of a kind.
_NAMED: Final = {
    "model": "models",
    "hardware": "hardware",
    "engine": "engines",
    "site": "sites",
    "set": "factor_sets",
}
_CACHED_MODELS: Final = 1_000
_CACHED_NAME_CHARACTERS: Final = 200
_MOST_HEARD_COUNT: Final = 256


class Load:
    """The exchanges in flight on one deployment: this process's own, and the other processes' as last heard of.

    Keeps one running integral of dt/B(t); the harmonic mean of the concurrency over an exchange's life is its length
    divided by the integral's growth over it. The arithmetic mean would underestimate the exchange's share.

    The integral belongs to the event loop. What another thread hears waits in a queue, with its time, until the loop next
    advances the integral: first to that time with the old figure, then on with the new one. So nobody takes a lock, and no
    figure counts before or after its time.
    """

    __slots__ = ("_heard", "_in_flight_count", "_integral_s", "_others_count", "_since_s")

    def __init__(self) -> None:
        self._in_flight_count = 0
        self._others_count = 0
        # Bounded: a loop that has nothing to do for a long time takes nothing in. The latest figures are the ones to keep.
        self._heard: deque[tuple[float, int]] = deque(maxlen=_MOST_HEARD_COUNT)
        self._integral_s = 0.0
        self._since_s = 0.0

    @property
    def in_flight_count(self) -> int:
        """This process's own exchanges that are being served: of streams, those that have begun."""
        return self._in_flight_count

    def heard(self, others_count: int, now_s: float) -> None:
        """From now on, other processes have so many in flight. From any one thread, in order of time."""
        self._heard.append((now_s, others_count))

    def enter(self, now_s: float) -> float:
        """Count one more exchange in; returns the integral at its start, to be given to `concurrency`."""
        self._advance(now_s)
        self._in_flight_count += 1
        return self._integral_s

    def leave(self, now_s: float) -> None:
        """Count one exchange out."""
        if self._in_flight_count <= 0:
            raise ValueError("no exchange is in flight that could leave")
        self._advance(now_s)
        self._in_flight_count -= 1

    def concurrency(self, entered_integral_s: float, entered_s: float, now_s: float) -> float:
        """Harmonic mean of the exchanges in flight from `entered_s` to `now_s`, at least 1."""
        self._advance(now_s)
        grown_s = self._integral_s - entered_integral_s
        if grown_s <= 0:
            return float(max(1, self._in_flight_count + self._others_count))
        return max(1.0, (now_s - entered_s) / grown_s)

    def _advance(self, now_s: float) -> None:
        if self._heard:
            self._take_in()
        if self._in_flight_count > 0:
            self._integral_s += (now_s - self._since_s) / (self._in_flight_count + self._others_count)
        self._since_s = now_s

    def _take_in(self) -> None:
        while self._heard:
            heard_s, others_count = self._heard.popleft()
            # What was heard while the integral was advanced past it counts from there.
            heard_s = max(heard_s, self._since_s)
            if self._in_flight_count > 0:
                self._integral_s += (heard_s - self._since_s) / (self._in_flight_count + self._others_count)
            self._since_s = heard_s
            self._others_count = others_count


@dataclass(slots=True, kw_only=True)
class Served:
    """One model on one deployment: the profile that prices it, and the load it shares with its neighbours."""

    model: str
    site: str
    deployment_hash: str
    document: str
    profile: Profile | None
    unknown: Unknown
    load: Load = field(repr=False)
    mixture: Mixture = field(default_factory=Mixture, repr=False)
    hours: Series | None = field(default=None, repr=False)
    """What its site was like hour by hour; None: the annual figures stand."""

    @property
    def is_paced(self) -> bool:
        """The pace of its tokens tells something: the server is somebody else's."""
        return self.profile is not None and self.profile.deployment.hosting == "hosted"


class Serving:
    """All that the settings say about who serves what; looked up by the model name of a request.

    `hours_of`: the operator's callable, asked for the hours of each site; `failed` is told what goes wrong in it.

    Raises:
        ConfigError: a site or its series cannot be used.
        CatalogError: a deployment names an entry that the catalog does not have.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        hours_of: HoursOf | None = None,
        failed: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self._settings = settings
        self._hours_of = hours_of
        self._failed = failed
        self._hours: dict[str, Series | None] = {}
        self.places = Places(settings)
        self.loads: dict[str, Load] = {}
        """By the name that a deployment has in all processes: entries with one name share what is in flight."""
        self._loads = [self.loads.setdefault(each.shared_name, Load()) for each in settings.deployment]
        self._elsewhere = Load()
        self._cache: dict[str | None, Served] = {}
        self._made: dict[tuple[int, str], Served] = {}
        for number, deployment in enumerate(settings.deployment):
            self._check(number, deployment)

    def of(self, model: str | None) -> Served:
        """The deployment for a request's model. A model that nobody knows has no profile, but a reason."""
        found = self._cache.get(model)
        if found is None:
            found = self._resolve(model)
            # The name is the client's: a flood of made-up names must not fill the memory.
            if len(self._cache) < _CACHED_MODELS and len(model or "") <= _CACHED_NAME_CHARACTERS:
                self._cache[model] = found
        return found

    def named(self) -> list[Deployment]:
        """The deployments whose settings name their model: the others are known when a request comes."""
        return [
            self._deployment(settings, settings.model)
            for settings in self._settings.deployment
            if settings.model is not None
        ]

    def _resolve(self, model: str | None) -> Served:
        if model is None:
            return self._unknown("model-not-named")
        for number, settings in enumerate(self._settings.deployment):
            if any(fnmatchcase(model.lower(), pattern.lower()) for pattern in settings.match):
                return self._served(model, settings, number)
        return self._unknown("no-deployment-for-model")

    def _served(self, model: str, settings: DeploymentSettings, number: int) -> Served:
        load = self._loads[number]
        name = settings.model if settings.model is not None else catalog.model_name(model)
        if name is None:
            if self._settings.fallback is None:
                return self._unknown("model-not-in-catalog", load)
            name = self._settings.fallback.model
        if (number, name) not in self._made:
            self._made[number, name] = self._make(settings, name, load)
        return self._made[number, name]

    def _make(self, settings: DeploymentSettings, name: str, load: Load) -> Served:
        deployment = self._deployment(settings, name)
        return Served(
            model=name,
            site=settings.site,
            deployment_hash=catalog.deployment_hash(deployment),
            document=catalog.deployment_document(deployment),
            profile=Profile(deployment),
            unknown=Unknown(reason="no-estimate"),
            load=load,
            hours=self._hours_at(settings.site),
        )

    def _hours_at(self, site: str) -> Series | None:
        """One series for a site, whatever runs there: the callable is asked once for all."""
        if site not in self._hours:
            file = self.places.hours(site)
            self._hours[site] = file if self._hours_of is None else Asked(self._hours_of, site, file, self._failed)
        return self._hours[site]

    def _unknown(self, reason: str, load: Load | None = None) -> Served:
        return Served(
            model=OTHER,
            site=OTHER,
            deployment_hash="",
            document="",
            profile=None,
            unknown=Unknown(reason=reason),
            load=load if load is not None else self._elsewhere,
        )

    def _deployment(self, settings: DeploymentSettings, model: str) -> Deployment:
        site = self.places.site(settings.site)
        return catalog.deployment(
            model=model,
            hardware=settings.hardware,
            accelerators=settings.accelerators,
            replicas=settings.replicas,
            attention_accelerators=settings.attention_accelerators,
            precision=settings.precision,
            cache_precision=settings.cache_precision,
            engine=settings.engine,
            site=site,
            grid=self.places.grid(site.grid),
            factors=self._settings.factors.set,
            hydro=self._settings.factors.hydro,
            hosting=settings.hosting,
            concurrency=settings.concurrency,
            training=self.places.training(model),
            reports=()
            if (settings.reports or self._settings.metering.reports) == "ignore"
            else catalog.report_schemes(),
        )

    def _check(self, number: int, settings: DeploymentSettings) -> None:
        # Any model of the catalog will do to see that the other names are good.
        fallback = self._settings.fallback.model if self._settings.fallback else None
        try:
            self._deployment(settings, settings.model or fallback or catalog.names("models")[0])
        except CatalogError as error:
            key = next((key for key, kind in _NAMED.items() if f"the catalog of {kind}" in str(error)), None)
            place: tuple[int | str, ...] = ("deployment", number) if key is None else ("deployment", number, key)
            if key == "set":
                place = ("factors", "set")
            told = f"{self._settings.source}: {self._settings.where(*place)}: {error}"
            raise CatalogError(told) from None
