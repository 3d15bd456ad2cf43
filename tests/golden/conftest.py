"""Golden cases: inputs, parameters and results that the agent must reproduce."""

import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reverie.agent import Agent, AgentState
from reverie.agent.actor_critic import Norms
from reverie.agent.normalize import NormState
from reverie.config.agent import AgentConfig
from reverie.nn.draws import FixedDraws
from reverie.spaces import FLAGS, Space

# Vector name -> path in our parameter tree. The first rule that matches a name is used.
RULES = [
    (r"enc/mlp(\d)norm/(.*)", r"world/enc/mlp/layers/\1/norm/\2"),
    (r"enc/mlp(\d)/(.*)", r"world/enc/mlp/layers/\1/linear/\2"),
    (r"enc/cnn(\d)norm/(.*)", r"world/enc/stages/\1/norm/\2"),
    (r"enc/cnn(\d)/(.*)", r"world/enc/stages/\1/conv/\2"),
    (r"dyn/dynin0norm/(.*)", r"world/dyn/core/deter_in/norm/\1"),
    (r"dyn/dynin1norm/(.*)", r"world/dyn/core/stoch_in/norm/\1"),
    (r"dyn/dynin2norm/(.*)", r"world/dyn/core/action_in/norm/\1"),
    (r"dyn/dynin0/(.*)", r"world/dyn/core/deter_in/linear/\1"),
    (r"dyn/dynin1/(.*)", r"world/dyn/core/stoch_in/linear/\1"),
    (r"dyn/dynin2/(.*)", r"world/dyn/core/action_in/linear/\1"),
    (r"dyn/dynhid(\d)norm/(.*)", r"world/dyn/core/hidden_norms/\1/\2"),
    (r"dyn/dynhid(\d)/(.*)", r"world/dyn/core/hidden/\1/\2"),
    (r"dyn/dyngru/(.*)", r"world/dyn/core/gates/linear/\1"),
    (r"dyn/prior(\d)norm/(.*)", r"world/dyn/prior_layers/\1/norm/\2"),
    (r"dyn/prior(\d)/(.*)", r"world/dyn/prior_layers/\1/linear/\2"),
    (r"dyn/priorlogit/(.*)", r"world/dyn/prior_logits/\1"),
    (r"dyn/obs(\d)norm/(.*)", r"world/dyn/post_layers/\1/norm/\2"),
    (r"dyn/obs(\d)/(.*)", r"world/dyn/post_layers/\1/linear/\2"),
    (r"dyn/obslogit/(.*)", r"world/dyn/post_logits/\1"),
    (r"dec/mlp/linear(\d)/(.*)", r"world/dec/mlp/layers/\1/linear/\2"),
    (r"dec/mlp/norm(\d)/(.*)", r"world/dec/mlp/layers/\1/norm/\2"),
    (r"dec/vec/(\w+)/(?:pred|logits)/(.*)", r"world/dec/outputs/\1/\2"),
    (r"dec/sp0/(.*)", r"world/dec/image/from_deter/\1"),
    (r"dec/sp1/(.*)", r"world/dec/image/from_stoch/linear/\1"),
    (r"dec/sp1norm/(.*)", r"world/dec/image/from_stoch/norm/\1"),
    (r"dec/sp2/(.*)", r"world/dec/image/from_hidden/\1"),
    (r"dec/spnorm/(.*)", r"world/dec/image/norm/\1"),
    (r"dec/conv2norm/(.*)", r"world/dec/image/stages/0/norm/\1"),
    (r"dec/conv1norm/(.*)", r"world/dec/image/stages/1/norm/\1"),
    (r"dec/conv0norm/(.*)", r"world/dec/image/stages/2/norm/\1"),
    (r"dec/conv2/(.*)", r"world/dec/image/stages/0/conv/\1"),
    (r"dec/conv1/(.*)", r"world/dec/image/stages/1/conv/\1"),
    (r"dec/conv0/(.*)", r"world/dec/image/stages/2/conv/\1"),
    (r"dec/imgout/(.*)", r"world/dec/image/stages/3/conv/\1"),
    (r"(rew|con)/mlp/linear(\d)/(.*)", r"world/\1/mlp/layers/\2/linear/\3"),
    (r"(rew|con)/mlp/norm(\d)/(.*)", r"world/\1/mlp/layers/\2/norm/\3"),
    (r"(rew|con)/head/logits?/(.*)", r"world/\1/out/\2"),
    (r"(pol|val)/mlp/linear(\d)/(.*)", r"\1/mlp/layers/\2/linear/\3"),
    (r"(pol|val)/mlp/norm(\d)/(.*)", r"\1/mlp/layers/\2/norm/\3"),
    (r"val/head/logits/(.*)", r"val/out/\1"),
    (r"pol/head/(\w+)/(logits|mean|stddev)/(.*)", r"pol/outs/\1/\2/\3"),
]


def our_name(name: str) -> str:
    """Path in our parameter tree of a parameter of the vectors."""
    for pattern, replacement in RULES:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    raise KeyError(name)


def class_major(x: np.ndarray, stoch: int, classes: int, axis: int = 0) -> np.ndarray:
    """Reorders a flattened [stoch, classes] axis to our order, classes first."""
    x = np.moveaxis(x, axis, 0)
    x = x.reshape(stoch, classes, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)
    return np.moveaxis(x, 0, axis)


def our_layout(name: str, x: np.ndarray, deter: int, stoch: int, classes: int) -> np.ndarray:
    """Brings a parameter of the vectors into the order of our flattened one-hot vectors."""
    order = (stoch, classes)
    if re.fullmatch(r"dyn/(prior|obs)logit/(kernel|bias)", name):
        return class_major(x, *order, axis=-1)
    if name in ("dyn/dynin1/kernel", "dec/sp1/kernel"):
        return class_major(x, *order)
    if name == "dec/mlp/linear0/kernel":
        return np.concatenate([class_major(x[:-deter], *order), x[-deter:]])
    if re.fullmatch(r"(rew|con|pol|val)/mlp/linear0/kernel", name):
        return np.concatenate([x[:deter], class_major(x[deter:], *order)])
    return x


def leaf_names(tree) -> list[str]:
    """Slash-separated path of every leaf."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]


class Case:
    """One golden file with the agent and state that it describes."""

    def __init__(self, name: str):
        path = pathlib.Path(__file__).parent / f"{name}.npz"
        with np.load(path) as file:
            self.arrays = {key: file[key] for key in file.files}
        self.meta = json.loads(bytes(self.arrays["meta"]).decode())
        self.obs_space = _spaces(self.meta["obs"])
        self.act_space = _spaces(self.meta["act"])
        self.config = _config(self.meta["agent"])
        self.agent = Agent(
            self.config, self.obs_space, self.act_space, context=1, draws=FixedDraws()
        )
        self.state = self.state_of("params")

    def sub(self, prefix: str) -> dict[str, np.ndarray]:
        """All arrays below a prefix."""
        prefix += "/"
        return {k[len(prefix) :]: v for k, v in self.arrays.items() if k.startswith(prefix)}

    def params_of(self, prefix: str, template):
        """Arrays below a prefix in the structure of our networks."""
        values = {our_name(k): self._ours(k, v) for k, v in self.sub(prefix).items() if _trained(k)}
        names = leaf_names(template)
        assert sorted(values) == sorted(names)
        leaves, treedef = jax.tree.flatten(template)
        for name, leaf in zip(names, leaves, strict=True):
            assert values[name].shape == leaf.shape, name
        return treedef.unflatten([jnp.asarray(values[name]) for name in names])

    def _ours(self, name: str, x: np.ndarray) -> np.ndarray:
        dyn = self.config.dyn
        return our_layout(name, x, dyn.deter, dyn.stoch, dyn.classes)

    def state_of(self, prefix: str) -> AgentState:
        """The agent state stored below a prefix, with a fresh optimizer."""
        state = self.agent.init(jax.random.key(0))
        params = self.params_of(prefix, state.params)
        arrays = self.sub(prefix)
        slow = {
            our_name(k.replace("slowval", "val")): self._ours(k.replace("slowval", "val"), v)
            for k, v in arrays.items()
            if k.startswith("slowval/")
        }
        names = ["val/" + name for name in leaf_names(state.slow)]
        slow = jax.tree.structure(state.slow).unflatten([jnp.asarray(slow[n]) for n in names])
        low, high = arrays["retnorm/lo/value"], arrays["retnorm/hi/value"]
        ret = NormState(jnp.asarray(low), jnp.asarray(high), jnp.zeros(()))
        return AgentState(params, slow, Norms(ret, *state.norms[1:]), state.opt)

    def batch(self) -> dict[str, jax.Array]:
        """The batch in our format: latents as class indices, of the context row only."""
        batch = self.sub("batch")
        batch = {k: v for k, v in batch.items() if k != "stepid"}
        batch["latent/deter"] = batch.pop("dyn/deter")[:, :1]
        batch["latent/stoch"] = batch.pop("dyn/stoch")[:, :1].argmax(-1).astype(np.uint8)
        batch["consec"] = batch["consec"][:, 0]
        return {k: jnp.asarray(v) for k, v in batch.items()}


def _trained(name: str) -> bool:
    return name.split("/")[0] not in ("slowval", "slowval_count", "retnorm")


def _spaces(meta: dict) -> dict[str, Space]:
    spaces = {}
    for key, entry in meta.items():
        if key in FLAGS or key == "reward":
            continue
        shape = tuple(entry["shape"])
        if entry["dtype"] == "uint8":
            spaces[key] = Space("image", shape, "uint8")
        elif entry["discrete"]:
            count = int(np.prod(shape, dtype=int))
            spaces[key] = Space("discrete", shape, "int32", (int(entry["high"]),) * count)
        else:
            spaces[key] = Space("continuous", shape, "float32")
    return spaces


def _config(meta: dict) -> AgentConfig:
    """Our agent configuration from the flat hyperparameters of the vectors."""
    fixed = {"act", "norm", "winit", "output"}  # Not options here: always silu, rms, ...
    tree: dict = {}
    for path, value in meta.items():
        path = path.replace("dyn.rssm.", "dyn.")
        keys = path.split(".")
        if keys[-1] in fixed or path in (
            "dyn.typ",
            "dec.typ",
            "policy_dist_disc",
            "policy_dist_cont",
        ):
            continue
        if path in ("policy.unimix", "report_gradnorms", "report", "repl_loss.slowtar"):
            continue
        node = tree
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        node[keys[-1]] = value
    return AgentConfig(**tree)


@pytest.fixture(scope="session", params=["proprio", "mixed"])
def case(request) -> Case:
    return Case(request.param)
