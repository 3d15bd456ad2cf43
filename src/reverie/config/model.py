"""Options of the networks: encoder, decoder, dynamics and heads.

The defaults are the size200m model; `presets.yaml` holds the other sizes. Where nothing sets a
size, a run chooses one by the machine (`reverie.run.defaults`).
"""

from typing import Literal

from reverie.options import Bool, Count, Float, Int, Keywords, Section, Text, option, section

SHAPE = "it sets the shapes of the parameters"
MODEL = "it changes the function that the parameters compute"
LATENT = "it sets the shapes of the parameters and of the latents in replay"


class SimpleEncoderConfig(Section):
    """The built-in encoder: an MLP for vectors and a convolutional stack for images."""

    depth: Int = option(64, "Channels of a stage per unit of `mults`.", fixed=SHAPE, ge=1, le=1024)
    mults: tuple[Count, ...] = option(
        (2, 3, 4, 4),
        "Channel multiple of each stage, finest first; every stage halves the image.",
        fixed=SHAPE,
        min_length=1,
        max_length=8,
    )
    layers: Int = option(3, "Layers of the vector MLP.", fixed=SHAPE, ge=0, le=32)
    units: Int = option(1024, "Units of each layer of the vector MLP.", fixed=SHAPE, ge=1)
    kernel: Int = option(5, "Side of the convolution kernels, in pixels.", fixed=SHAPE, ge=1, le=15)
    symlog: Bool = option(True, "Squash continuous vector inputs with symlog.", fixed=MODEL)
    strided: Bool = option(
        False, "Halve images with stride-2 convolutions in place of max-pooling.", fixed=MODEL
    )
    outer: Bool = option(False, "Keep the first stage at full resolution.", fixed=SHAPE)


class EncoderConfig(Section):
    """Observations to token vector."""

    typ: Text = option(
        "simple",
        "Which encoder: `simple`, or a class of your own as `module:Class`.",
        fixed=MODEL,
        pattern=r"^(simple|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$",
        expects="'simple' or 'module:Class'",
    )
    simple: SimpleEncoderConfig = section(SimpleEncoderConfig(), "The built-in encoder.")
    extra: Keywords = option(
        {}, "Keyword arguments of an encoder that is not built in.", fixed=MODEL
    )


class SimpleDecoderConfig(Section):
    """The built-in decoder: an MLP for vectors and an upsampling stack for images."""

    depth: Int = option(64, "Channels of a stage per unit of `mults`.", fixed=SHAPE, ge=1, le=1024)
    mults: tuple[Count, ...] = option(
        (2, 3, 4, 4),
        "Channel multiple of each stage, finest first; every stage doubles the image.",
        fixed=SHAPE,
        min_length=1,
        max_length=8,
    )
    layers: Int = option(3, "Layers of the vector MLP.", fixed=SHAPE, ge=0, le=32)
    units: Int = option(1024, "Units of each layer of the vector MLP.", fixed=SHAPE, ge=1)
    kernel: Int = option(5, "Side of the convolution kernels, in pixels.", fixed=SHAPE, ge=1, le=15)
    bspace: Int = option(
        8,
        "Blocks of the layer from the recurrent state to the image grid; 0: one dense layer from "
        "the whole latent state.",
        fixed=SHAPE,
        ge=0,
    )
    outscale: Float = option(1.0, "Scale of the initial output kernels.", ge=0)
    strided: Bool = option(
        False, "Double images with stride-2 convolutions in place of upsampling.", fixed=MODEL
    )
    outer: Bool = option(False, "Keep the last stage at full resolution.", fixed=SHAPE)


class DecoderConfig(Section):
    """Latent state to reconstructed observations."""

    typ: Literal["simple"] = option("simple", "Which decoder.", fixed=MODEL)
    simple: SimpleDecoderConfig = section(SimpleDecoderConfig(), "The built-in decoder.")


class DynamicsConfig(Section):
    """The recurrent state-space model."""

    deter: Int = option(8192, "Units of the recurrent (deterministic) state.", fixed=LATENT, ge=1)
    hidden: Int = option(1024, "Units of the hidden layers around the state.", fixed=SHAPE, ge=1)
    stoch: Int = option(32, "Categorical variables of the stochastic state.", fixed=LATENT, ge=1)
    classes: Int = option(64, "Classes of each categorical variable.", fixed=LATENT, ge=2, le=65536)
    blocks: Int = option(
        8, "Blocks of the block-diagonal GRU; they divide `deter`.", fixed=SHAPE, ge=1
    )
    imglayers: Int = option(2, "Hidden layers of the prior.", fixed=SHAPE, ge=0, le=32)
    obslayers: Int = option(1, "Hidden layers of the posterior.", fixed=SHAPE, ge=1, le=32)
    dynlayers: Int = option(1, "Hidden block layers before the gates.", fixed=SHAPE, ge=1, le=32)
    unimix: Float = option(
        0.01, "Share of the uniform distribution in every categorical.", fixed=MODEL, ge=0, lt=1
    )
    outscale: Float = option(1.0, "Scale of the initial logit kernels.", ge=0)
    absolute: Bool = option(
        False, "The posterior sees the tokens alone, without the recurrent state.", fixed=SHAPE
    )
    free_nats: Float = option(1.0, "Smallest value of each KL loss, in nats.", ge=0)


class RewardHeadConfig(Section):
    """Feature to reward (symexp two-hot)."""

    layers: Int = option(1, "Hidden layers.", fixed=SHAPE, ge=1, le=32)
    units: Int = option(1024, "Units of each hidden layer.", fixed=SHAPE, ge=1)
    bins: Int = option(255, "Bins of the two-hot output.", fixed=SHAPE, ge=3)
    outscale: Float = option(0.0, "Scale of the initial output kernel.", ge=0)


class ContinueHeadConfig(Section):
    """Feature to the probability that the episode goes on."""

    layers: Int = option(1, "Hidden layers.", fixed=SHAPE, ge=1, le=32)
    units: Int = option(1024, "Units of each hidden layer.", fixed=SHAPE, ge=1)
    outscale: Float = option(1.0, "Scale of the initial output kernel.", ge=0)


class PolicyConfig(Section):
    """Feature to the distribution of every action key."""

    layers: Int = option(3, "Hidden layers.", fixed=SHAPE, ge=1, le=32)
    units: Int = option(1024, "Units of each hidden layer.", fixed=SHAPE, ge=1)
    minstd: Float = option(
        0.1, "Smallest standard deviation of continuous actions.", fixed=MODEL, gt=0
    )
    maxstd: Float = option(
        1.0, "Largest standard deviation of continuous actions.", fixed=MODEL, gt=0
    )
    outscale: Float = option(0.01, "Scale of the initial output kernels.", ge=0)
    unimix: Float = option(
        0.0, "Share of the uniform distribution in discrete policies.", fixed=MODEL, ge=0, lt=1
    )


class ValueConfig(Section):
    """Feature to expected return (symexp two-hot)."""

    layers: Int = option(3, "Hidden layers.", fixed=SHAPE, ge=1, le=32)
    units: Int = option(1024, "Units of each hidden layer.", fixed=SHAPE, ge=1)
    bins: Int = option(255, "Bins of the two-hot output.", fixed=SHAPE, ge=3)
    outscale: Float = option(0.0, "Scale of the initial output kernel.", ge=0)
