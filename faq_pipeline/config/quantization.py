"""A recipe's section `quantization`: how weights become integers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from faq_pipeline.config.yaml import Strict
from faq_pipeline.util.file_size import FILE_SIZE

Bits = Annotated[int, Field(ge=2, le=8)]


class BitPlan(Strict):
    """Bits chosen layer by layer, by the divergence that each layer costs."""

    average_bits: Annotated[float, Field(ge=2, le=8)] | None = None
    """Mean bits of the weights' integers. Scales come on top, as they do with equal bits."""
    size: Annotated[str, Field(pattern=FILE_SIZE)] | None = None
    """In the place of `average_bits`: what the checkpoint's weight files take at most, such as `5GB`."""
    bits: Annotated[list[Bits], Field(min_length=1)] = [3, 4, 5, 6]
    """What a layer can have, from few to many."""

    @model_validator(mode="after")
    def _check_bits(self) -> BitPlan:
        if sorted(set(self.bits)) != self.bits:
            raise ValueError("'bits' must rise")
        if (self.average_bits is None) == (self.size is None):
            raise ValueError("give either 'average_bits' or 'size'")
        if self.average_bits is not None and self.average_bits < self.bits[0]:
            raise ValueError("'average_bits' is less than the fewest 'bits'")
        return self


OUTLIER_COLUMNS = "outlier_columns"


class Compensation(Strict):
    """An adapter beside the integers that makes up for a part of what rounding lost."""

    kind: Literal["low_rank", "outlier_columns"] = "low_rank"
    """`low_rank`: the best approximation of what rounding lost. `outlier_columns`: the columns in which
    rounding loses most stay free while GPTQ rounds the others, and make up for their error."""
    rank: Annotated[int, Field(ge=1, le=512)]
    """Rank of each layer's adapter, or how many columns are free. Its size grows with it."""
    space: Literal["plain", "diagonal", "hessian"] = "hessian"
    """For `low_rank`: whose error is made least. `plain`: the weights'. `diagonal`: each input channel
    weighted by its mean square on the calibration set. `hessian`: that of the layer's outputs on the
    calibration set."""

    @model_validator(mode="after")
    def _check_space(self) -> Compensation:
        if self.kind == OUTLIER_COLUMNS and self.space != "hessian":
            raise ValueError("'space' goes with kind 'low_rank' alone")
        return self


class Quantization(Strict):
    """Weights to integers, by llmcompressor."""

    method: str
    """`rtn`, `gptq`, `awq` (AWQ, then round-to-nearest), `smoothquant` (SmoothQuant, then GPTQ), `gptaq`
    (GPTQ that aims at the unquantized model's outputs), `foem` (GPTQ that counts the loss's slope),
    `quantease` (GPTQ, then coordinate descent), `decoupleq` (that, with scales fitted to the integers) or
    `autoround` (rounding and clipping learned by signed gradient descent)."""
    scheme: str
    """A preset of compressed-tensors: W4A16, W3A16, W8A8, FP8_DYNAMIC, NVFP4A16, ..."""
    group_size: PositiveInt | Literal["channel"] | None = None
    """Columns that share a scale, or `channel` for one scale a row. For schemes with integer weights, which
    need it; float formats have groups of their own."""
    ignore: list[str] = ["lm_head"]
    """Modules that stay as they are: exact names, or `re:` and a pattern."""
    observer: Literal["minmax", "mse", "imatrix"] = "minmax"
    """How weight scales are found. `minmax`: from the largest weight. `mse`: the least rounding error.
    `imatrix`: the least error, weighted by the mean square of each input channel on the calibration set."""
    layer_bits: dict[str, Bits] | None = None
    """Integer bits of single layers, in the place of the scheme's: exact names, or `re:` and a pattern; the
    first that matches counts."""
    plan: BitPlan | None = None
    """Has the bits of all layers chosen, in the place of the scheme's."""
    kv_cache: Literal["fp8"] | None = None
    """`fp8`: keys and values are cached as floats of 8 bits, with scales from the calibration set."""
    compensation: Compensation | None = None
    """Adds a LoRA adapter to the checkpoint that makes up for a part of what rounding lost."""
    actorder: Literal["static", "weight"] | None = None
    """In which order GPTQ takes columns; left out: as they come."""
    dampening: PositiveFloat = 0.01
    """GPTQ: share of the Hessian's mean diagonal that is added to its diagonal."""
    duo_scaling: bool | Literal["both"] = True
    """AWQ: which scales are searched. `true`: those made of activations and weights. `false`: of activations
    alone. `both`: all of these, with nearly twice as many tries."""
    iterations: PositiveInt = 200
    """AutoRound: steps of gradient descent for each decoder layer."""
    rotate: bool = False
    """Whether the model is rotated by Hadamard matrices first, which spreads outliers over all channels. For
    schemes that round activations to 4 bits. An embedding that is tied to the head is then stored twice."""
    smoothing: Annotated[float, Field(ge=0, le=1)] = 0.5
    """SmoothQuant: how much of the outliers moves into the weights."""
    smoothing_form: Literal["balanced", "activations", "log"] = "balanced"
    """SmoothQuant: what each channel is divided by. `balanced`: its range to the power of `smoothing`, over
    that of its weights to the power of the rest. `activations`: its range to the power of `smoothing`. `log`:
    its range over the logarithm of its range."""
    sample_weights: Literal["equal_sequences"] | None = None
    """`equal_sequences`: in GPTQ's Hessian every sample counts alike, however long it is."""
    token_weights: Literal["attention"] | None = None
    """`attention`: in GPTQ's Hessian tokens that are attended to more count more."""
    ranks: Annotated[int, Field(ge=2)] | None = None
    """Processes that share the calibration rows, on a GPU each. The number is part of the identity: sums
    over rows round differently."""

    @model_validator(mode="after")
    def _check_plan(self) -> Quantization:
        if self.plan is not None and (self.layer_bits is not None or self.ranks is not None):
            raise ValueError("'plan' goes with neither 'layer_bits' nor 'ranks'")
        if self.plan is not None and self.plan.size and (self.compensation is not None or self.rotate):
            raise ValueError("'plan.size' goes with neither 'compensation' nor 'rotate', which add weights")
        if self.kv_cache is not None and (self.plan is not None or self.ranks is not None):
            raise ValueError("'kv_cache' goes with neither 'plan' nor 'ranks'")
        if self.compensation is not None and (self.ranks is not None or self.kv_cache is not None):
            raise ValueError("'compensation' goes with neither 'ranks' nor 'kv_cache'")
        return self
