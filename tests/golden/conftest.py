"""Golden cases: inputs, parameters and results that the agent must reproduce."""

import json
import pathlib
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from fixed_draws import FixedDraws

from reverie.agent.agent import Agent, AgentState
from reverie.agent.objectives.actor_critic import ActorCriticState, Norms
from reverie.agent.training.normalize import NormState
from reverie.config.sections.agent import AgentConfig
from reverie.learner.checkpoints.reference_names import our_layout, our_name
from reverie.spaces import FLAGS, Space


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
        behavior = state.states["actor_critic"]
        names = ["heads/val/" + name for name in leaf_names(behavior.slow)]
        slow = jax.tree.structure(behavior.slow).unflatten([jnp.asarray(slow[n]) for n in names])
        low, high = arrays["retnorm/lo/value"], arrays["retnorm/hi/value"]
        ret = NormState(jnp.asarray(low), jnp.asarray(high), jnp.zeros(()))
        behavior = ActorCriticState(slow, Norms(ret, *behavior.norms[1:]))
        return AgentState(params, {**state.states, "actor_critic": behavior}, state.opt)

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


@pytest.fixture
def reference_run(case, tmp_path):
    """Writes the run folder that the original implementation leaves; returns it."""

    def write(shards: int = 1, **agent) -> pathlib.Path:
        newest = tmp_path / "reference" / "ckpt" / "20261120T194623F623934"
        newest.mkdir(parents=True)
        params = case.sub("params")
        # The state of the optimizer lies under the names of the parameters.
        params |= {f"opt/state/1/1/{name}": value + 1 for name, value in params.items()}
        for index in range(shards):
            part = {name: params[name] for name in sorted(params)[index::shards]}
            content = pickle.dumps({"params": part, "counters": {"updates": 0}})
            (newest / ("agent.pkl" if shards == 1 else f"agent-{index}.pkl")).write_bytes(content)
        (newest / "step.pkl").write_bytes(pickle.dumps(1234))
        (newest / "done").touch()
        (newest.parent / "latest").write_text(newest.name)
        options = {f"agent.{key}": x for key, x in {**case.meta["agent"], **agent}.items()}
        content = {"task": "dummy_disc", "batch_length": 32, "method": "name", **_nested(options)}
        (newest.parents[1] / "config.yaml").write_text(yaml.safe_dump(content))
        return newest.parents[1]

    return write


def _nested(options: dict) -> dict:
    tree: dict = {}
    for key, value in options.items():
        *parents, name = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree
