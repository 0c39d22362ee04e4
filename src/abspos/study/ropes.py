"""Changes of the rotary frequencies that a variant can make."""

from typing import Annotated, Any, Literal

from pydantic import Field

from abspos.study.fields import Bool, Part, Positive, Size


class RopeChange(Part):
    """A change of the rotary frequencies."""

    def parameters(self) -> dict[str, Any]:
        """The keys that are set or have a default, as plain values, with `rope_type`."""
        return self.model_dump(mode="json", exclude_none=True)


class NtkRope(RopeChange):
    """NTK-aware scaling at every length: base b f^(d / (d - 2)) for factor f and head size d."""

    rope_type: Literal["ntk"] = Field(description="The kind of scaling.")
    factor: Positive = Field(
        description="Scaling factor; below 1 is the control with the opposite sign."
    )


class LinearRope(RopeChange):
    """Divides all frequencies by the factor."""

    rope_type: Literal["linear"] = Field(description="The kind of scaling.")
    factor: Positive = Field(description="Scaling factor.")


class DynamicRope(RopeChange):
    """NTK-aware scaling that grows with the sequence; acts only beyond the model's context."""

    rope_type: Literal["dynamic"] = Field(description="The kind of scaling.")
    factor: Positive = Field(description="Scaling factor.")


class YarnRope(RopeChange):
    """YaRN: low frequencies are interpolated, high ones kept, logits rescaled."""

    rope_type: Literal["yarn"] = Field(description="The kind of scaling.")
    factor: Positive = Field(description="Scaling factor.")
    attention_factor: Positive | None = Field(
        default=None, description="Scale of the attention; null: from factor."
    )
    beta_fast: Positive | None = Field(
        default=None, description="Upper bound of the ramp; null: 32."
    )
    beta_slow: Positive | None = Field(
        default=None, description="Lower bound of the ramp; null: 1."
    )
    mscale: Positive | None = Field(default=None, description="Numerator of the attention's scale.")
    mscale_all_dim: Positive | None = Field(
        default=None, description="Denominator of the attention's scale."
    )
    truncate: Bool | None = Field(
        default=None, description="Whether the ramp's ends are rounded; null: true."
    )
    original_max_position_embeddings: Size | None = Field(
        default=None, description="Context before scaling, in tokens; null: the model's own."
    )


class Llama3Rope(RopeChange):
    """Llama 3.1's scaling: low frequencies divided by the factor, high ones kept."""

    rope_type: Literal["llama3"] = Field(description="The kind of scaling.")
    factor: Positive = Field(description="Scaling factor.")
    low_freq_factor: Positive = Field(default=1.0, description="Where the ramp begins.")
    high_freq_factor: Positive = Field(
        default=4.0, description="Where the ramp ends; above low_freq_factor."
    )
    original_max_position_embeddings: Size | None = Field(
        default=None, description="Context before scaling, in tokens; null: the model's own."
    )


class LongRope(RopeChange):
    """LongRoPE: one divisor per frequency, in one list for short and one for long sequences."""

    rope_type: Literal["longrope"] = Field(description="The kind of scaling.")
    short_factor: tuple[Positive, ...] = Field(
        min_length=1, description="Divisors within the original context."
    )
    long_factor: tuple[Positive, ...] = Field(
        min_length=1,
        description="Divisors beyond the original context, as many as in short_factor.",
    )
    factor: Positive | None = Field(
        default=None, description="Ratio of the contexts after and before."
    )
    attention_factor: Positive | None = Field(
        default=None, description="Scale of the attention; null: from factor."
    )
    original_max_position_embeddings: Size | None = Field(
        default=None, description="Context before scaling, in tokens; null: the model's own."
    )


Rope = Annotated[
    NtkRope | LinearRope | DynamicRope | YarnRope | Llama3Rope | LongRope,
    Field(discriminator="rope_type"),
]
