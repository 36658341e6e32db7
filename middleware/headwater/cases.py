"""One question to the estimate, checked: what is asked, on what it runs, what was seen of it. Refuses what cannot be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Literal

from headwater import catalog
from headwater.catalog import CURRENT_FACTORS
from headwater.checks import check_count, check_number
from headwater.physics.addenda import addenda
from headwater.physics.estimate import Profile
from headwater.records import (
    Addenda,
    Deployment,
    EngineSpec,
    FactorSet,
    Footprint,
    Grid,
    HardwareSpec,
    Hosting,
    Hydro,
    ModelSpec,
    Observation,
    Precision,
    Site,
    Step,
    TrainingShare,
    Unknown,
    Usage,
)
from headwater.units import LONGEST_S, MOST_G_PER_KWH, MOST_TOKENS, MOST_WET_BULB_C, S_PER_MS

SHORTEST_S: Final = 1e-6
"""No reply was faster than a microsecond."""
MOST_COUNT: Final = 1_000_000
"""No deployment has more accelerators or replicas, or more requests in flight."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What `headwater.estimate` is asked; its parameters say what each field means. A case that exists can be estimated.

    Raises:
        ValueError: a value cannot be right, or two contradict each other.
    """

    model: str | ModelSpec
    input_tokens: int
    output_tokens: int
    cached_tokens: int | None = None
    images: int = 0
    observed_s: float | None = None
    concurrency: float | None = None
    itl_s: float | None = None
    hosting: Hosting = "own"
    hardware: str | HardwareSpec = "hgx-h100"
    accelerators: int | None = None
    replicas: int = 1
    attention_accelerators: int | None = None
    precision: Precision | None = None
    cache_precision: Literal["bf16", "fp8"] = "bf16"
    engine: str | EngineSpec | None = None
    site: str | Site = "us-average"
    grid: Grid | None = None
    grid_g_per_kwh: float | None = None
    wet_bulb_c: float | None = None
    factors: str | FactorSet = CURRENT_FACTORS
    hydro: Hydro | None = None
    training_requests: float | None = None

    def __post_init__(self) -> None:
        self._check_tokens()
        self._check_seen()
        for name in ("accelerators", "replicas", "attention_accelerators"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name), least=1, most=MOST_COUNT)

    def _check_tokens(self) -> None:
        given, made, cached, images = self.input_tokens, self.output_tokens, self.cached_tokens, self.images
        check_count("input_tokens", given)
        check_count("output_tokens", made)
        check_count("cached_tokens", 0 if cached is None else cached)
        check_count("images", images)
        if given + made > MOST_TOKENS:
            raise ValueError(
                f"input_tokens ({given}) and output_tokens ({made}) are more than {MOST_TOKENS} together: no context is so long"
            )
        if given == made == 0:
            raise ValueError("input_tokens (0) and output_tokens (0): there is nothing to estimate")
        if cached is not None and cached > given:
            raise ValueError(f"cached_tokens ({cached}) exceed input_tokens ({given})")
        if images > given:
            raise ValueError(
                f"images ({images}) exceed input_tokens ({given}): each comes in as tokens, which are counted there"
            )

    def _check_seen(self) -> None:
        check_number("observed_s", self.observed_s, least=SHORTEST_S, most=LONGEST_S, said="above 0")
        check_number("itl_s", self.itl_s, least=SHORTEST_S, most=LONGEST_S, said="above 0")
        check_number(
            "training_requests", self.training_requests, least=1, most=LONGEST_S * MOST_COUNT, said="at least 1"
        )
        check_number("concurrency", self.concurrency, least=1, most=MOST_COUNT, said="at least 1")
        check_number("grid_g_per_kwh", self.grid_g_per_kwh, least=0, most=MOST_G_PER_KWH, said="at least 0")
        coldest_c, hottest_c = -MOST_WET_BULB_C, MOST_WET_BULB_C
        check_number(
            "wet_bulb_c",
            self.wet_bulb_c,
            least=coldest_c,
            most=hottest_c,
            said=f"at least {coldest_c:g} degrees Celsius",
        )
        if self.itl_s is not None and self.hosting == "own":
            raise ValueError(
                f"itl_s ({self.itl_s}) tells how busy somebody else's server is, but hosting is 'own'; "
                "give observed_s or concurrency, or say hosting='hosted'"
            )
        if self.observed_s is not None and self.hosting == "hosted":
            raise ValueError(
                f"observed_s ({self.observed_s}) is worth nothing where others are in flight unseen, and hosting is 'hosted'; "
                "give itl_s, or say hosting='own'"
            )

    @cached_property
    def deployment(self) -> Deployment:
        """All that the estimate depends on besides the request. Raises CatalogError for a name that is not known, and for
        accelerators that the server does not have."""
        server = catalog.hardware(self.hardware) if isinstance(self.hardware, str) else self.hardware
        model = self.model
        whole = catalog.deployment(
            model=(catalog.model_name(model) or model) if isinstance(model, str) else model,
            hardware=server,
            engine=self.engine if self.engine is not None else catalog.USUAL_ENGINES[server.kind],
            site=self.site,
            grid=self.grid,
            accelerators=self.accelerators,
            replicas=self.replicas,
            precision=self.precision,
            cache_precision=self.cache_precision,
            factors=self.factors,
            hydro=self.hydro,
            hosting=self.hosting,
            # On a server of one's own it was seen, elsewhere it is presumed.
            concurrency=self.concurrency if self.hosting == "hosted" else None,
            training=self._training,
        )
        count = whole.accelerators_count
        if self.accelerators is None:
            count = catalog.fewest_accelerators(whole.hardware, whole.model, whole.precision)
        if self.attention_accelerators is not None and count % self.attention_accelerators:
            raise ValueError(
                f"attention_accelerators ({self.attention_accelerators}) do not divide the accelerators ({count})"
            )
        return replace(whole, accelerators_count=count, attention_accelerators_count=self.attention_accelerators)

    @property
    def _training(self) -> TrainingShare | None:
        """The share of the model's training that is wanted. Raises CatalogError where its training is not disclosed."""
        if self.training_requests is None:
            return None
        name = self.model if isinstance(self.model, str) else self.model.name
        return TrainingShare(
            training=catalog.training(catalog.model_name(name) or name), requests_count=self.training_requests
        )

    @property
    def usage(self) -> Usage:
        """The request's tokens."""
        return Usage(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cached_tokens=self.cached_tokens,
            images_count=self.images,
            source="upstream",
        )

    @property
    def observation(self) -> Observation:
        """What was seen of the request."""
        seen_count = self.concurrency if self.hosting == "own" else None
        return Observation(
            elapsed_s=self.observed_s,
            concurrency_count=seen_count,
            itl_s=self.itl_s,
            grid_g_per_kwh=self.grid_g_per_kwh,
            wet_bulb_c=self.wet_bulb_c,
        )

    def addenda(self) -> Addenda | None:
        """What goes with the answer as lines of their own; None where there is no answer."""
        answer = self._answer
        if isinstance(answer, Unknown):
            return None
        return addenda(answer, self.deployment, wet_bulb_c=self.wet_bulb_c)

    def footprint(self) -> Footprint | Unknown:
        """The answer, with its derivation. Raises CatalogError for a name that is not known."""
        return self._answer

    @cached_property
    def _answer(self) -> Footprint | Unknown:
        return Profile(self.deployment).estimate(self.usage, self.observation, steps=True)

    def disbelieved(self) -> Step | None:
        """The time or the pace that was given and has no part in the answer, with the reason; None where all has."""
        steps = () if isinstance(self._answer, Unknown) else self._answer.steps
        return next((step for step in steps if step.name in _DISBELIEVED), None)

    def _unused_of_the_hour(self) -> list[str]:
        """What was given of the hour and has no part in the answer, in words."""
        if isinstance(self._answer, Unknown):
            return []
        at, told = self.deployment, []
        if self.grid_g_per_kwh is not None and at.factors.carbon_g_per_kwh is not None:
            told.append(
                f"{at.factors.name}: the carbon of the hour has no part in the answer: the factor set has its own"
            )
        if self.wet_bulb_c is not None and all(step.name != "wet_bulb_c" for step in self._answer.steps):
            told.append(
                f"{at.site.name}: the wet bulb of the hour has no part in the answer: the water at the site is not computed from it"
            )
        return told

    def warnings(self) -> tuple[str, ...]:
        """What a careful reader of the answer should be told, in words; empty where there is nothing."""
        at = self.deployment
        model, hardware, count = at.model, at.hardware, at.accelerators_count
        if at.factors.flat_it_j_per_request is not None:
            return tuple(self._unused_of_the_hour())
        told = self._unused_of_the_hour()
        held = catalog.holds(hardware, count, model, at.precision)
        if held is None and self.accelerators is None and hardware.accelerators_count > 1:
            told.append(
                f"{hardware.name}: the memory of its accelerators is not known, so all {count} are taken for one copy of a model"
            )
        told += catalog.doubts(at)
        if self.images and model.vision is None:
            told.append(f"{model.name}: no image encoder is known of it, so encoding its pictures is not counted")
        unused = self.disbelieved()
        if unused is not None:
            seen = (
                f"the time seen ({unused.value:g} s)"
                if unused.name == "disbelieved_s"
                else f"the pace seen ({unused.value / S_PER_MS:g} ms per token)"
            )
            told.append(f"{model.name}: {seen} has no part in the answer: {unused.source}")
        return tuple(told)


_DISBELIEVED: Final = ("disbelieved_s", "disbelieved_itl_s")
"""Steps of a derivation that hold what was given and not used."""
