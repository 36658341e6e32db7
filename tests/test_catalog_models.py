"""The catalog's models: that their weights follow from their dimensions, and that the names they go by are found.

The table holds the dimensions an entry leaves out. They were read where the entry says, and prove themselves: with them
the weights add up to what the maker states.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pytest

from headwater import catalog
from headwater.records import ModelSpec

FP32_BYTES, BF16_BYTES = 4, 2
STATED_TOLERANCE = 0.015
"""Names and model cards round: "27B" is 27.4 billion weights."""


@dataclass(frozen=True, kw_only=True)
class Low:
    """Multi-head latent attention: the ranks that queries and caches are compressed to, and the widths of a head."""

    q_rank: int
    kv_rank: int = 512
    plain: int = 128
    rotary: int = 64
    value: int = 128


@dataclass(frozen=True, kw_only=True)
class State:
    """Layers with a recurrent state in place of a cache: Mamba-2, or gated DeltaNet (`keys` heads of keys)."""

    layers: int
    heads: int
    head_dim: int
    state: int
    groups: int = 0
    keys: int = 0

    @property
    def inner(self) -> int:
        return self.heads * self.head_dim

    @property
    def convolved(self) -> int:
        return self.inner + 2 * (self.keys * self.head_dim if self.keys else self.groups * self.state)

    def params(self, width: int) -> int:
        if self.keys:
            projections = width * (self.convolved + 2 * self.inner + 2 * self.heads)
            return projections + 4 * self.convolved + 2 * self.heads + self.head_dim
        projections = width * (self.convolved + 2 * self.inner + self.heads)
        return projections + 5 * self.convolved + 3 * self.heads + self.inner

    def bytes_per_sequence(self) -> int:
        """The states in fp32, as NVIDIA's configurations ask for, and the last 3 inputs of the convolution in bf16."""
        return self.layers * (FP32_BYTES * self.inner * self.state + BF16_BYTES * 3 * self.convolved)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the weights of a model follow from besides its entry. `stated`: billions of weights, by name or model card;
    None where only the vision differs from another row, or the precision. `inner`, `expert`, `shared`: feed-forward
    widths. `matrices`: of a feed-forward block, 3 with a gate. `both`: dense block and experts side by side in one layer.
    `apart`: a layer is either attention, or state, or feed-forward. `attention`: weights of all attention layers, where
    they differ from layer to layer.
    """

    stated: float | None
    width: int
    vocabulary: int
    inner: int = 0
    tied: bool = False
    matrices: int = 3
    expert: int = 0
    expert_width: int = 0
    shared: int = 0
    shared_gate: bool = False
    both: bool = False
    apart: bool = False
    state: State | None = None
    low: Low | None = None
    attention: int = 0
    gated_attention: bool = False
    qkv_bias: bool = False
    biased: bool = False
    head_norms: bool = False
    full_norms: bool = False
    norms: int = 2
    vision: int = 0


def encoder(layers: int, width: int, inner: int) -> int:
    """A vision transformer's blocks, with biases and two layer norms."""
    return layers * (4 * width * width + 2 * width * inner + 9 * width + inner)


def qwen_vision(width: int, mergers: int = 1) -> int:
    """Qwen3-VL: 27 blocks, 2,304 positions, patches of 2x16x16; four patches are merged into one token, deep ones too."""
    merger = 4608 * 4608 + 4608 + 4608 * width + width
    norms = 2 * 1152 + (mergers - 1) * 2 * 4608
    return encoder(27, 1152, 4304) + 1152 * (3 * 2 * 256 + 1 + 2304) + mergers * merger + norms


def siglip(width: int) -> int:
    """SigLIP so400m at 896 pixels: 4,096 patches of 14x14, and a projection to the width of the language model."""
    return encoder(27, 1152, 4304) + 1152 * (3 * 196 + 1 + 4096) + 2 * 1152 + 1152 * width + 1152


LLAMA_4_VISION = (
    encoder(34, 1408, 5632) + 1408 * (3 * 196 + 1 + 577 + 4) + 5632 * 4096 + 4096 * 4096 + 4096 * 5120
)  # fmt: skip
KIMI_VISION = encoder(27, 1152, 4304) + 1152 * (3 * 196 + 1 + 4096) + 4608 * 4608 + 4608 * 7168
NEMOTRON_VISION = encoder(32, 1280, 5120)

LLAMA_8B = Shape(stated=8.03, width=4096, inner=14336, vocabulary=128256)
LLAMA_70B = Shape(stated=70.55, width=8192, inner=28672, vocabulary=128256)
LLAMA_405B = Shape(stated=405.85, width=16384, inner=53248, vocabulary=128256)
LLAMA_4 = partial(Shape, width=5120, vocabulary=202048, inner=16384, expert=8192, shared=8192)
MAVERICK = LLAMA_4(stated=400, vision=LLAMA_4_VISION)
QWEN_2 = partial(Shape, vocabulary=151936, qkv_bias=True)
QWEN_2_7B = Shape(stated=7.62, width=3584, inner=18944, vocabulary=152064, qkv_bias=True)
QWEN_2_32B = Shape(stated=32.76, width=5120, inner=27648, vocabulary=152064, qkv_bias=True)
QWEN_3 = partial(Shape, vocabulary=151936, head_norms=True)
QWEN_3_30B = partial(QWEN_3, width=2048, expert=768)
QWEN_3_235B = partial(QWEN_3, width=4096, expert=1536)
QWEN_3_480B = partial(QWEN_3, width=6144, expert=2560)
DELTA = partial(Shape, head_norms=True, gated_attention=True, vocabulary=248320)
DEEPSEEK = Shape(stated=671, width=7168, inner=18432, vocabulary=129280, expert=2048, shared=2048, low=Low(q_rank=1536))
KIMI = partial(Shape, width=7168, inner=18432, vocabulary=163840, expert=2048, shared=2048, low=Low(q_rank=1536))
GEMMA = partial(Shape, vocabulary=262144, tied=True, norms=4, head_norms=True)
GEMMA_2 = partial(Shape, vocabulary=256000, tied=True, norms=4)
NANO_2 = partial(Shape, vocabulary=131072, matrices=2, apart=True, norms=1)
NANO_2_STATE = partial(State, heads=128, head_dim=80, state=128, groups=8)

SHAPES: dict[str, Shape] = {
    "llama-2-7b": Shape(stated=6.74, width=4096, inner=11008, vocabulary=32000),
    "llama-2-13b": Shape(stated=13.02, width=5120, inner=13824, vocabulary=32000),
    "llama-2-70b": Shape(stated=68.98, width=8192, inner=28672, vocabulary=32000),
    "llama-3-8b": LLAMA_8B,
    "llama-3-70b": LLAMA_70B,
    "llama-3.1-8b": LLAMA_8B,
    "llama-3.1-70b": LLAMA_70B,
    "llama-3.1-405b": LLAMA_405B,
    "llama-3.1-405b-fp8": LLAMA_405B,
    "llama-3.2-1b": Shape(stated=1.24, width=2048, inner=8192, vocabulary=128256, tied=True),
    "llama-3.2-3b": Shape(stated=3.21, width=3072, inner=8192, vocabulary=128256, tied=True),
    "llama-3.3-70b": LLAMA_70B,
    "llama-4-scout": LLAMA_4(stated=109, vision=LLAMA_4_VISION),
    "llama-4-maverick": MAVERICK,
    "llama-4-maverick-fp8": MAVERICK,
    "mistral-7b": Shape(stated=7.25, width=4096, inner=14336, vocabulary=32768),
    "mixtral-8x7b": Shape(stated=46.7, width=4096, expert=14336, vocabulary=32000),
    "mixtral-8x22b": Shape(stated=140.6, width=6144, expert=16384, vocabulary=32768),
    "mistral-nemo-12b": Shape(stated=12.2, width=5120, inner=14336, vocabulary=131072),
    "mistral-small-24b": Shape(stated=23.6, width=5120, inner=32768, vocabulary=131072),
    "mistral-large-2": Shape(stated=123, width=12288, inner=28672, vocabulary=32768),
    "qwen2.5-0.5b": QWEN_2(stated=0.49, width=896, inner=4864, tied=True),
    "qwen2.5-1.5b": QWEN_2(stated=1.54, width=1536, inner=8960, tied=True),
    "qwen2.5-3b": QWEN_2(stated=3.09, width=2048, inner=11008, tied=True),
    "qwen2.5-7b": QWEN_2_7B,
    "qwen2.5-14b": Shape(stated=14.77, width=5120, inner=13824, vocabulary=152064, qkv_bias=True),
    "qwen2.5-32b": QWEN_2_32B,
    "qwen2.5-72b": Shape(stated=72.71, width=8192, inner=29568, vocabulary=152064, qkv_bias=True),
    "qwq-32b": QWEN_2_32B,
    "qwen3-0.6b": QWEN_3(stated=0.6, width=1024, inner=3072, tied=True),
    "qwen3-1.7b": QWEN_3(stated=1.72, width=2048, inner=6144, tied=True),
    "qwen3-4b": QWEN_3(stated=4.02, width=2560, inner=9728, tied=True),
    "qwen3-8b": QWEN_3(stated=8.19, width=4096, inner=12288),
    "qwen3-14b": QWEN_3(stated=14.77, width=5120, inner=17408),
    "qwen3-32b": QWEN_3(stated=32.76, width=5120, inner=25600),
    "qwen3-30b-a3b": QWEN_3_30B(stated=30.5),
    "qwen3-30b-a3b-fp8": QWEN_3_30B(stated=30.5),
    "qwen3-235b-a22b": QWEN_3_235B(stated=235),
    "qwen3-235b-a22b-fp8": QWEN_3_235B(stated=235),
    "qwen3-coder-480b-a35b": QWEN_3_480B(stated=480),
    "qwen3-coder-480b-a35b-fp8": QWEN_3_480B(stated=480),
    "qwen3-vl-8b": QWEN_3(stated=None, width=4096, inner=12288, vision=qwen_vision(4096, 4)),
    "qwen3-vl-32b": QWEN_3(stated=None, width=5120, inner=25600, vision=qwen_vision(5120, 4)),
    "qwen3-vl-30b-a3b": QWEN_3_30B(stated=None, vision=qwen_vision(2048, 4)),
    "qwen3-vl-235b-a22b": QWEN_3_235B(stated=None, vision=qwen_vision(4096, 4)),
    "qwen3-vl-235b-a22b-fp8": QWEN_3_235B(stated=None, vision=qwen_vision(4096, 4)),
    "qwen3-omni-30b-a3b": QWEN_3_30B(stated=None, vision=qwen_vision(2048, 4)),
    "qwen3-next-80b-a3b": DELTA(
        stated=80, width=2048, expert=512, shared=512, shared_gate=True,
        state=State(layers=36, heads=32, head_dim=128, state=128, keys=16), vocabulary=151936,
    ),
    "qwen3.5-27b": DELTA(
        stated=27, width=5120, inner=17408, vision=qwen_vision(5120),
        state=State(layers=48, heads=48, head_dim=128, state=128, keys=16),
    ),
    "qwen3.5-35b-a3b": DELTA(
        stated=35, width=2048, expert=512, shared=512, shared_gate=True, vision=qwen_vision(2048),
        state=State(layers=30, heads=32, head_dim=128, state=128, keys=16),
    ),
    "qwen3.5-122b-a10b": DELTA(
        stated=122, width=3072, expert=1024, shared=1024, shared_gate=True, vision=qwen_vision(3072),
        state=State(layers=36, heads=64, head_dim=128, state=128, keys=16),
    ),
    "qwen3.5-397b-a17b": DELTA(
        stated=397, width=4096, expert=1024, shared=1024, shared_gate=True, vision=qwen_vision(4096),
        state=State(layers=45, heads=64, head_dim=128, state=128, keys=16),
    ),
    "deepseek-v3": DEEPSEEK,
    "deepseek-r1": DEEPSEEK,
    "deepseek-v3.1": DEEPSEEK,
    "deepseek-v3.2": DEEPSEEK,
    "deepseek-r1-distill-llama-8b": LLAMA_8B,
    "deepseek-r1-distill-llama-70b": LLAMA_70B,
    "gemma-2-2b": GEMMA_2(stated=2.61, width=2304, inner=9216),
    "gemma-2-9b": GEMMA_2(stated=9.24, width=3584, inner=14336),
    "gemma-2-27b": GEMMA_2(stated=27.2, width=4608, inner=36864),
    "gemma-3-270m": GEMMA(stated=0.27, width=640, inner=2048),
    "gemma-3-1b": GEMMA(stated=1.0, width=1152, inner=6912),
    "gemma-3-4b": GEMMA(stated=4.3, width=2560, inner=10240, vision=siglip(2560), vocabulary=262208),
    "gemma-3-12b": GEMMA(stated=12.2, width=3840, inner=15360, vision=siglip(3840), vocabulary=262208),
    "gemma-3-27b": GEMMA(stated=27.4, width=5376, inner=21504, vision=siglip(5376), vocabulary=262208),
    # A full layer has 2 (31B: 4) pairs of key and value heads of 512, and one matrix makes both.
    "gemma-4-26b-a4b": GEMMA(
        stated=25.2, width=2816, inner=2112, expert=704, both=True,
        attention=25 * 2816 * 256 * (2 * 16 + 2 * 8) + 5 * 2816 * 512 * (2 * 16 + 2),
    ),
    "gemma-4-31b": GEMMA(
        stated=31, width=5376, inner=21504,
        attention=50 * 5376 * 256 * (2 * 32 + 2 * 16) + 10 * 5376 * 512 * (2 * 32 + 4),
    ),
    "phi-3.5-mini": Shape(stated=3.82, width=3072, inner=8192, vocabulary=32064),
    "phi-4": Shape(stated=14.7, width=5120, inner=17920, vocabulary=100352),
    "phi-4-mini": Shape(stated=3.84, width=3072, inner=8192, vocabulary=200064, tied=True),
    "gpt-3": Shape(stated=175, width=12288, inner=4 * 12288, matrices=2, vocabulary=50257, tied=True, norms=4),
    "gpt-oss-20b": Shape(stated=20.9, width=2880, expert=2880, vocabulary=201088, biased=True),
    "gpt-oss-120b": Shape(stated=116.8, width=2880, expert=2880, vocabulary=201088, biased=True),
    "glm-4.5-air": Shape(
        stated=106, width=4096, inner=10944, vocabulary=151552, expert=1408, shared=1408, qkv_bias=True
    ),
    "glm-4.7": Shape(
        stated=355, width=5120, inner=12288, vocabulary=151552, expert=1536, shared=1536, qkv_bias=True, head_norms=True
    ),
    "glm-5": Shape(
        stated=744, width=6144, inner=12288, vocabulary=154880, expert=2048, shared=2048,
        low=Low(q_rank=2048, plain=192, value=256),
    ),
    "kimi-k2": KIMI(stated=1026),
    "kimi-k2-thinking": KIMI(stated=1026),
    "kimi-k2.5": KIMI(stated=1026, vision=KIMI_VISION),
    "minimax-m2": Shape(stated=230, width=3072, expert=1536, vocabulary=200064, full_norms=True),
    "mimo-v2-flash": Shape(
        stated=309, width=4096, inner=16384, vocabulary=152576, expert=2048,
        attention=4096 * (192 + 128) * (9 * (64 + 4) + 39 * (64 + 8)),
    ),
    "nemotron-nano-9b-v2": NANO_2(stated=8.89, width=4480, inner=15680, state=NANO_2_STATE(layers=27)),
    "nemotron-nano-12b-v2": NANO_2(stated=12.3, width=5120, inner=20480, state=NANO_2_STATE(layers=28)),
    "nemotron-nano-12b-v2-vl": NANO_2(
        stated=None, width=5120, inner=20480, state=NANO_2_STATE(layers=28), vision=NEMOTRON_VISION,
    ),
    "nemotron-3-nano-30b-a3b": NANO_2(
        stated=31.6, width=2688, expert=1856, shared=3712,
        state=State(layers=23, heads=64, head_dim=64, state=128, groups=8),
    ),
    "nemotron-3-super-120b-a12b": NANO_2(
        stated=120, width=4096, expert=2688, expert_width=1024, shared=5376,
        state=State(layers=40, heads=128, head_dim=64, state=128, groups=8),
    ),
    "llama-3.1-nemotron-70b": LLAMA_70B,
    "olmo-2-7b": Shape(stated=7.3, width=4096, inner=11008, vocabulary=100352, full_norms=True),
    "olmo-2-13b": Shape(stated=13.7, width=5120, inner=13824, vocabulary=100352, full_norms=True),
    "falcon3-10b": Shape(stated=10.3, width=3072, inner=23040, vocabulary=131072),
    "falcon-180b": Shape(stated=179.5, width=14848, inner=4 * 14848, matrices=2, vocabulary=65024, norms=4),
    "smollm2-1.7b": Shape(stated=1.71, width=2048, inner=8192, vocabulary=49152, tied=True),
    "granite-4.0-h-small": Shape(
        stated=32, width=4096, expert=768, shared=1536, vocabulary=100352, tied=True,
        state=State(layers=36, heads=128, head_dim=64, state=128, groups=1),
    ),
    "command-r-plus": Shape(stated=104, width=12288, inner=33792, vocabulary=256000, tied=True, norms=1),
}  # fmt: skip


def attention_params(model: ModelSpec, shape: Shape) -> int:
    """All attention layers."""
    count = model.layers_count if model.attention_layers_count is None else model.attention_layers_count
    norms = (2 if shape.head_norms else 0) * model.head_dim * count
    if shape.attention:
        return shape.attention + norms
    width, heads = shape.width, model.q_heads_count
    if shape.low is not None:
        low = shape.low
        query = low.q_rank * (width + 1 + heads * (low.plain + low.rotary))
        cache = width * (low.kv_rank + low.rotary) + low.kv_rank * (1 + heads * (low.plain + low.value))
        return count * (query + cache + heads * low.value * width)
    q, kv = heads * model.head_dim, model.kv_heads_count * model.head_dim
    layer = width * (q * (3 if shape.gated_attention else 2) + 2 * kv)
    layer += (q + 2 * kv) * (shape.qkv_bias or shape.biased) + (width + heads) * shape.biased
    return count * (layer + (q + kv) * shape.full_norms) + norms


def expert_params(model: ModelSpec, shape: Shape) -> int:
    """All routed experts of all layers."""
    if model.experts is None:
        return 0
    width = shape.expert_width or shape.width
    expert = shape.matrices * width * shape.expert + (2 * shape.expert + width) * shape.biased
    return model.experts.layers_count * model.experts.experts_count * expert


def rest_params(model: ModelSpec, shape: Shape) -> int:
    """What is neither attention, nor a routed expert, nor an embedding: states, dense and shared blocks, routers, norms."""
    width, layers = shape.width, model.layers_count
    attention_layers = layers if model.attention_layers_count is None else model.attention_layers_count
    expert_layers = 0 if model.experts is None else model.experts.layers_count
    state_layers = 0 if shape.state is None else shape.state.layers
    dense_layers = layers - (0 if shape.both else expert_layers)
    if shape.apart:
        dense_layers -= attention_layers + state_layers
    params = (shape.norms * layers + 1) * width + dense_layers * shape.matrices * width * shape.inner
    if shape.state is not None:
        params += state_layers * shape.state.params(width)
    if model.experts is not None:
        router = model.experts.experts_count * (width + shape.biased) + width * shape.shared_gate
        latent = 2 * width * shape.expert_width
        params += expert_layers * (router + latent + shape.matrices * width * shape.shared)
    return params


def params(model: ModelSpec, shape: Shape) -> tuple[int, int, int]:
    """Total, active and expert weights."""
    embedding = shape.vocabulary * shape.width
    experts = expert_params(model, shape)
    always = attention_params(model, shape) + rest_params(model, shape) + embedding
    chosen = 0 if model.experts is None else experts * model.experts.chosen_count // model.experts.experts_count
    return always + experts + shape.vision + (0 if shape.tied else embedding), always + chosen, experts


GUESSED = tuple(name for name in catalog.names("models") if catalog.model(name).confidence == "estimated")
CLOSED = tuple(name for name in GUESSED if not name.startswith("generic-"))
EIGHT_H100_BYTES = 8 * 80e9


def test_every_open_model_has_its_row() -> None:
    assert set(SHAPES) == set(catalog.names("models")) - set(GUESSED)


@pytest.mark.parametrize("name", CLOSED)
def test_a_closed_model_is_a_wide_range_that_eight_accelerators_can_hold(name: str) -> None:
    model = catalog.model(name)

    assert model.uncertainty_ratio >= 4
    assert model.source.startswith("Architecture not published. Our judgement")
    assert model.native_precision == "fp8"
    assert model.total_params_count < 0.95 * EIGHT_H100_BYTES


@pytest.mark.parametrize(
    ("served", "name"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("openai/gpt-4o-mini", "gpt-4o-mini"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet"),
        ("anthropic/claude-3.5-haiku", "claude-haiku"),
        ("gemini-3-flash-preview", "gemini-3-flash"),
        ("gpt-5-pro", None),
    ],
)
def test_a_closed_model_is_known_by_its_dated_names(served: str, name: str | None) -> None:
    assert catalog.model_name(served) == name


@pytest.mark.parametrize("name", SHAPES)
def test_weights_follow_from_the_dimensions(name: str) -> None:
    model, shape = catalog.model(name), SHAPES[name]

    total, active, experts = params(model, shape)

    assert model.total_params_count == total
    assert model.active_params_count == active
    assert (0 if model.experts is None else model.experts.params_count) == experts
    assert (0 if model.vision is None else model.vision.params_count) == shape.vision
    assert model.state_bytes_per_sequence == (0 if shape.state is None else shape.state.bytes_per_sequence())


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape.stated is not None])
def test_weights_are_as_many_as_the_maker_says(name: str) -> None:
    assert catalog.model(name).total_params_count / 1e9 == pytest.approx(SHAPES[name].stated, rel=STATED_TOLERANCE)


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape.low is not None])
def test_latent_attention_follows_from_its_widths(name: str) -> None:
    latent, low = catalog.model(name).latent, SHAPES[name].low

    assert latent is not None
    assert low is not None
    assert latent.cache_dim == latent.decode_dim == low.kv_rank + low.rotary
    assert latent.prefill_dim == (low.plain + low.rotary + low.value) / 2


def test_every_alias_can_be_found() -> None:
    names = catalog.names("models")

    aliases = [alias for name in names for alias in catalog.model(name).aliases]

    assert len(aliases) == len(set(aliases))
    assert not set(aliases) & set(names)
    assert all(alias == alias.lower() and "/" not in alias for alias in aliases)
    for name in names:
        assert {catalog.model_name(alias) for alias in (name, *catalog.model(name).aliases)} == {name}


@pytest.mark.parametrize(
    ("served", "name"),
    [
        ("Qwen/Qwen3-14B", "qwen3-14b"),
        ("Qwen/Qwen3-235B-A22B-Instruct-2507", "qwen3-235b-a22b"),
        ("Qwen/Qwen3-235B-A22B-Thinking-2507-FP8", "qwen3-235b-a22b-fp8"),
        ("Qwen/Qwen3-30B-A3B-Thinking-2507", "qwen3-30b-a3b"),
        ("Qwen/Qwen3-Omni-30B-A3B-Instruct", "qwen3-omni-30b-a3b"),
        ("Qwen/Qwen3-VL-235B-A22B-Instruct-FP8", "qwen3-vl-235b-a22b-fp8"),
        ("Qwen/Qwen3-VL-8B-Instruct", "qwen3-vl-8b"),
        ("Qwen/Qwen2.5-Coder-32B-Instruct", "qwen2.5-32b"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("meta-llama/Llama-2-70b-chat-hf", "llama-2-70b"),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "llama-4-scout"),
        ("meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8", "llama-4-maverick-fp8"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b"),
        ("nvidia/NVIDIA-Nemotron-Nano-12B-v2-VL-BF16", "nemotron-nano-12b-v2-vl"),
        ("nvidia/NVIDIA-Nemotron-Nano-9B-v2", "nemotron-nano-9b-v2"),
        ("openai/gpt-oss-20b", "gpt-oss-20b"),
        ("deepseek-ai/DeepSeek-R1-0528", "deepseek-r1"),
        ("google/gemma-3-27b-it", "gemma-3-27b"),
        ("llama3.1:8b", "llama-3.1-8b"),
        ("gpt-oss:120b", "gpt-oss-120b"),
        ("somebody/unheard-of-7b", None),
    ],
)
def test_a_model_is_known_by_the_name_it_is_served_under(served: str, name: str | None) -> None:
    assert catalog.model_name(served) == name


@pytest.mark.parametrize(
    ("name", "precision", "quantised"),
    [
        ("qwen3-235b-a22b", "bf16", "all"),
        ("qwen3-235b-a22b-fp8", "fp8", "all"),
        ("llama-4-maverick-fp8", "fp8", "experts"),
        ("gpt-oss-20b", "mxfp4", "experts"),
        ("gpt-oss-120b", "mxfp4", "experts"),
        ("deepseek-v3", "fp8", "all"),
        ("kimi-k2.5", "int4", "experts"),
    ],
)
def test_a_model_is_kept_as_it_was_published(name: str, precision: str, quantised: str) -> None:
    model = catalog.model(name)

    assert (model.native_precision, model.quantised) == (precision, quantised)
