"""Options of the agent: its networks, losses, optimizer and normalizers.

The defaults are the size200m model; `presets.yaml` holds the other sizes. Where nothing sets a
size, a run chooses one by the machine (`reverie.run.parts.defaults`).
"""

from typing import Annotated, Literal

from pydantic import Field

from reverie.options import Bool, Count, Float, Int, Keywords, Section, Text, option

SHAPE = "it sets the shapes of the parameters"
MODEL = "it changes the function that the parameters compute"
LATENT = "it sets the shapes of the parameters and of the latents in replay"
MEANING = "it sets what the running statistics mean"
HORIZON = "it sets what the continue head and the value have learnt"
STATE = "it sets what the training state holds"

ObjectiveName = Annotated[
    Text,
    Field(
        pattern=r"^(dynamics|reconstruction|reward|continue|actor_critic"
        r"|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$"
    ),
]


class StackConfig(Section):
    """What the built-in encoder and decoder share."""

    depth: Int = option(64, "Channels of a stage per unit of `mults`.", fixed=SHAPE, ge=1, le=1024)
    mults: tuple[Count, ...] = option(
        (2, 3, 4, 4),
        "Channel multiple of each stage, finest first; every stage halves the image, or doubles it "
        "in the decoder.",
        fixed=SHAPE,
        min_length=1,
        max_length=8,
    )
    layers: Int = option(3, "Layers of the vector MLP.", fixed=SHAPE, ge=0, le=32)
    units: Int = option(1024, "Units of each layer of the vector MLP.", fixed=SHAPE, ge=1)
    kernel: Int = option(5, "Side of the convolution kernels, in pixels.", fixed=SHAPE, ge=1, le=15)
    strided: Bool = option(
        False, "Stride-2 convolutions in place of max-pooling or upsampling.", fixed=MODEL
    )
    outer: Bool = option(False, "Keep the finest stage at full resolution.", fixed=SHAPE)


class SimpleEncoderConfig(StackConfig):
    """The built-in encoder: an MLP for vectors and a convolutional stack for images."""

    symlog: Bool = option(True, "Squash continuous vector inputs with symlog.", fixed=MODEL)


class EncoderConfig(Section):
    """Encoder: observations to tokens."""

    typ: Text = option(
        "simple",
        "Which encoder: `simple`, or a class of your own as `module:Class`.",
        fixed=MODEL,
        pattern=r"^(simple|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$",
        expects="'simple' or 'module:Class'",
    )
    simple: SimpleEncoderConfig = SimpleEncoderConfig()
    extra: Keywords = option(
        {}, "Keyword arguments of an encoder that is not built in.", fixed=MODEL
    )


class SimpleDecoderConfig(StackConfig):
    """The built-in decoder: an MLP for vectors and an upsampling stack for images."""

    bspace: Int = option(
        8,
        "Blocks of the layer from the recurrent state to the image grid; 0: one dense layer from "
        "the whole latent state.",
        fixed=SHAPE,
        ge=0,
    )
    outscale: Float = option(1.0, "Scale of the initial output kernels.", ge=0)


class DecoderConfig(Section):
    """Decoder: latent state to observations."""

    typ: Literal["simple"] = option("simple", "Which decoder.", fixed=MODEL)
    simple: SimpleDecoderConfig = SimpleDecoderConfig()


class DynamicsConfig(Section):
    """Recurrent state-space model."""

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


class _HeadConfig(Section):
    """The MLP of a head."""

    layers: Int = option(1, "Hidden layers.", fixed=SHAPE, ge=1, le=32)
    units: Int = option(1024, "Units of each hidden layer.", fixed=SHAPE, ge=1)
    outscale: Float = option(0.0, "Scale of the initial output kernels.", ge=0)


class RewardHeadConfig(_HeadConfig):
    """Reward head: feature to reward (symexp two-hot)."""

    bins: Int = option(255, "Bins of the two-hot output.", fixed=SHAPE, ge=3)


class ContinueHeadConfig(_HeadConfig):
    """Continue head: feature to the probability that the episode goes on."""

    outscale: Float = option(1.0, "Scale of the initial output kernels.", ge=0)


class PolicyConfig(_HeadConfig):
    """Policy head: feature to the distribution of every action key."""

    layers: Int = option(3, "Hidden layers.", fixed=SHAPE, ge=1, le=32)
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


class ValueConfig(RewardHeadConfig):
    """Value head and its slow copy: feature to expected return (symexp two-hot)."""

    layers: Int = option(3, "Hidden layers.", fixed=SHAPE, ge=1, le=32)


class LossScalesConfig(Section):
    """Weights of the loss terms in their sum."""

    rec: Float = option(1.0, "Reconstruction of every observation key.", ge=0)
    vec: Float = option(
        1.0,
        "Continuous vectors among them, times `rec`: their squared errors are small beside the "
        "nats of classes and the sums over the pixels of images.",
        ge=0,
    )
    rew: Float = option(1.0, "Reward prediction.", ge=0)
    con: Float = option(1.0, "Continue prediction.", ge=0)
    dyn: Float = option(1.0, "KL that pulls the prior to the posterior.", ge=0)
    rep: Float = option(0.1, "KL that pulls the posterior to the prior.", ge=0)
    policy: Float = option(1.0, "Policy on imagined trajectories.", ge=0)
    value: Float = option(1.0, "Value on imagined trajectories.", ge=0)
    repval: Float = option(0.3, "Value on replayed trajectories.", ge=0)


class OptimizerConfig(Section):
    """One optimizer over all trained parameters."""

    lr: Float = option(4e-5, "Learning rate after the warm-up.", gt=0)
    agc: Float = option(
        0.3, "Adaptive gradient clipping: largest gradient norm per parameter norm; 0: off.", ge=0
    )
    eps: Float = option(1e-20, "Added to the root of the squared-gradient average.", gt=0)
    beta1: Float = option(0.9, "Decay of the momentum.", ge=0, lt=1)
    beta2: Float = option(0.999, "Decay of the squared-gradient average.", ge=0, lt=1)
    momentum: Bool = option(True, "Average the scaled gradients.", fixed=STATE)
    nesterov: Bool = option(False, "Look one step ahead with the momentum.")
    wd: Float = option(0.0, "Weight decay of the kernels; 0: off.", ge=0)
    schedule: Literal["const", "linear", "cosine"] = option(
        "const", "Learning rate after the warm-up: constant, or annealed to a tenth."
    )
    warmup: Int = option(1000, "Updates over which the learning rate rises from 0.", ge=0)
    anneal: Int = option(
        0, "Updates, counted from the start, after which the annealed rate is reached.", ge=0
    )


class NormConfig(Section):
    """Normalizer of values or advantages: running statistics, off by default."""

    impl: Literal["perc", "meanstd", "none"] = option(
        "none", "Percentile range, mean and standard deviation, or off.", fixed=STATE
    )
    rate: Float = option(0.01, "Share of the newest batch in the running statistics.", gt=0, le=1)
    limit: Float = option(1e-8, "Smallest scale to divide by.", gt=0)
    perclo: Float = option(
        5.0, "Lower percentile of `perc`, in percent.", fixed=MEANING, ge=0, le=100
    )
    perchi: Float = option(
        95.0, "Upper percentile of `perc`, in percent.", fixed=MEANING, ge=0, le=100
    )
    debias: Bool = option(False, "Correct for the start at zero.", fixed=STATE)


class ReturnNormConfig(NormConfig):
    """Normalizer of returns: percentiles, never scaling small returns up."""

    impl: Literal["perc", "meanstd", "none"] = option(
        "perc", "Percentile range, mean and standard deviation, or off.", fixed=STATE
    )
    limit: Float = option(1.0, "Smallest scale to divide by.", gt=0)


class SlowValueConfig(Section):
    """Slow copy of the value head: an exponential average."""

    rate: Float = option(0.02, "Share of the value head in each step of the copy.", gt=0, le=1)
    every: Int = option(1, "Updates between two steps of the copy.", ge=1)


class ReplayLossConfig(Section):
    """Value loss on replayed trajectories."""

    lam: Float = option(0.95, "Lambda of the lambda-return.", ge=0, le=1)
    slowreg: Float = option(1.0, "Scale of the pull of the value to its slow copy.", ge=0)


class ImaginationLossConfig(ReplayLossConfig):
    """Policy and value loss on imagined trajectories."""

    actent: Float = option(3e-4, "Scale of the policy entropy bonus.", ge=0)
    slowtar: Bool = option(False, "Bootstrap with the slow copy in place of the value head.")


class AgentConfig(Section):
    """World model, heads, losses, optimizer."""

    enc: EncoderConfig = EncoderConfig()
    dec: DecoderConfig = DecoderConfig()
    dyn: DynamicsConfig = DynamicsConfig()
    rewhead: RewardHeadConfig = RewardHeadConfig()
    conhead: ContinueHeadConfig = ContinueHeadConfig()
    policy: PolicyConfig = PolicyConfig()
    value: ValueConfig = ValueConfig()
    loss_scales: LossScalesConfig = LossScalesConfig()
    opt: OptimizerConfig = OptimizerConfig()
    retnorm: ReturnNormConfig = ReturnNormConfig()
    valnorm: NormConfig = NormConfig()
    advnorm: NormConfig = NormConfig()
    slowvalue: SlowValueConfig = SlowValueConfig()
    objectives: tuple[ObjectiveName, ...] = option(
        ("dynamics", "reconstruction", "reward", "continue", "actor_critic"),
        "What is learnt, each with its losses and heads.",
        fixed=STATE,
        expects="a list of 'dynamics', 'reconstruction', 'reward', 'continue', 'actor_critic' and "
        "functions of your own as 'module:function'",
    )
    extra: Keywords = option(
        {}, "Keyword arguments of objectives of your own, by the name of their function."
    )
    horizon: Int = option(
        333, "Discount horizon in agent steps: discount 1 - 1/horizon.", fixed=HORIZON, ge=1
    )
    contdisc: Bool = option(True, "The continue head predicts the discount as well.", fixed=HORIZON)
    imag_last: Int = option(
        0, "Imagine from the last so many steps of each sequence; 0: from all.", ge=0
    )
    imag_length: Int = option(15, "Length of imagined trajectories, in steps.", ge=1, le=1000)
    imag_loss: ImaginationLossConfig = ImaginationLossConfig()
    repl_loss: ReplayLossConfig = ReplayLossConfig()
    reward_grad: Bool = option(True, "Reward gradients flow into the representation.")
    repval_loss: Bool = option(True, "Train the value head on replayed trajectories too.")
    repval_grad: Bool = option(True, "Replay value gradients flow into the representation.")
    ac_grads: Bool = option(False, "Policy and value gradients flow into the representation.")
    report: Bool = option(True, "Compute the open-loop report.")
