"""The names and the layout that parameters have in the original implementation."""

import re
from collections.abc import Mapping

import numpy as np

# Name there -> path in our networks. The first rule that matches a name is used.
_RULES = [
    (r"enc/mlp(\d+)norm/(.*)", r"enc/mlp/layers/\1/norm/\2"),
    (r"enc/mlp(\d+)/(.*)", r"enc/mlp/layers/\1/linear/\2"),
    (r"enc/cnn(\d+)norm/(.*)", r"enc/stages/\1/norm/\2"),
    (r"enc/cnn(\d+)/(.*)", r"enc/stages/\1/conv/\2"),
    (r"dyn/dynin0norm/(.*)", r"dyn/core/deter_in/norm/\1"),
    (r"dyn/dynin1norm/(.*)", r"dyn/core/stoch_in/norm/\1"),
    (r"dyn/dynin2norm/(.*)", r"dyn/core/action_in/norm/\1"),
    (r"dyn/dynin0/(.*)", r"dyn/core/deter_in/linear/\1"),
    (r"dyn/dynin1/(.*)", r"dyn/core/stoch_in/linear/\1"),
    (r"dyn/dynin2/(.*)", r"dyn/core/action_in/linear/\1"),
    (r"dyn/dynhid(\d+)norm/(.*)", r"dyn/core/hidden_norms/\1/\2"),
    (r"dyn/dynhid(\d+)/(.*)", r"dyn/core/hidden/\1/\2"),
    (r"dyn/dyngru/(.*)", r"dyn/core/gates/linear/\1"),
    (r"dyn/prior(\d+)norm/(.*)", r"dyn/prior_layers/\1/norm/\2"),
    (r"dyn/prior(\d+)/(.*)", r"dyn/prior_layers/\1/linear/\2"),
    (r"dyn/priorlogit/(.*)", r"dyn/prior_logits/\1"),
    (r"dyn/obs(\d+)norm/(.*)", r"dyn/post_layers/\1/norm/\2"),
    (r"dyn/obs(\d+)/(.*)", r"dyn/post_layers/\1/linear/\2"),
    (r"dyn/obslogit/(.*)", r"dyn/post_logits/\1"),
    (r"dec/mlp/linear(\d+)/(.*)", r"heads/dec/mlp/layers/\1/linear/\2"),
    (r"dec/mlp/norm(\d+)/(.*)", r"heads/dec/mlp/layers/\1/norm/\2"),
    (r"dec/vec/(.+)/(?:pred|logits)/([^/]*)", r"heads/dec/outputs/\1/\2"),
    (r"dec/sp0/(.*)", r"heads/dec/image/from_deter/\1"),
    (r"dec/sp1/(.*)", r"heads/dec/image/from_stoch/linear/\1"),
    (r"dec/sp1norm/(.*)", r"heads/dec/image/from_stoch/norm/\1"),
    (r"dec/(?:sp2|space)/(.*)", r"heads/dec/image/from_hidden/\1"),
    (r"dec/(?:sp|space)norm/(.*)", r"heads/dec/image/norm/\1"),
    (r"(rew|con|pol|val)/mlp/linear(\d+)/(.*)", r"heads/\1/mlp/layers/\2/linear/\3"),
    (r"(rew|con|pol|val)/mlp/norm(\d+)/(.*)", r"heads/\1/mlp/layers/\2/norm/\3"),
    (r"(rew|con|val)/head/logits?/(.*)", r"heads/\1/out/\2"),
    (r"pol/head/(.+)/(logits|mean|stddev)/([^/]*)", r"heads/pol/outs/\1/\2/\3"),
]
_STATES = "states/actor_critic/"
_NORMALIZERS = {"retnorm": "ret", "valnorm": "val", "advnorm": "adv"}
_STATISTICS = {
    "lo": "first",
    "mean": "first",
    "hi": "second",
    "sqrs": "second",
    "corr": "weight",
}


def our_name(name: str, stages: int = 4) -> str:
    """Path in our networks of a parameter of the original; KeyError if there is none.

    Args:
        name: Its name there, such as `dyn/dynin0/kernel`.
        stages: Number of convolutions of the decoder, which are counted from the image there.
    """
    if found := re.fullmatch(r"dec/(?:conv(\d+)(norm)?|imgout())/(.*)", name):
        index = stages - 1 if found[1] is None else stages - 2 - int(found[1])
        return f"heads/dec/image/stages/{index}/{found[2] or 'conv'}/{found[4]}"
    for pattern, replacement in _RULES:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    raise KeyError(name)


def our_layout(name: str, x: np.ndarray, deter: int, stoch: int, classes: int) -> np.ndarray:
    """Brings a parameter of the original into the order of our flattened one-hot vectors.

    Args:
        name: Its name there.
        x: The parameter.
        deter: Units of the recurrent state.
        stoch: Categorical variables.
        classes: Classes of each of them.
    """
    order = (stoch, classes)
    if re.fullmatch(r"dyn/(prior|obs)logit/(kernel|bias)", name):
        return _class_major(x, *order, axis=-1)
    if name in ("dyn/dynin1/kernel", "dec/sp1/kernel"):
        return _class_major(x, *order)
    if name in ("dec/mlp/linear0/kernel", "dec/space/kernel"):
        return np.concatenate([_class_major(x[:-deter], *order), x[-deter:]])
    if re.fullmatch(r"(rew|con|pol|val|slowval)/mlp/linear0/kernel", name):
        return np.concatenate([x[:deter], _class_major(x[deter:], *order)])
    return x


def convert(
    params: Mapping[str, np.ndarray], sizes: tuple[int, int, int] | None
) -> dict[str, np.ndarray]:
    """Parameters, slow value and normalizers of the original under our names.

    What has no counterpart keeps its name below `params/`, so that it is found not to fit. The
    state of the optimizer and the counts are left out.

    Args:
        params: Arrays under the names of the original.
        sizes: Units of the recurrent state, categorical variables, and classes of each; None
            leaves the layout as it is.

    Raises:
        ValueError: If a parameter is not of these sizes.
    """
    stages = 1 + len({name for name in params if re.fullmatch(r"dec/conv\d+/kernel", name)})
    converted = {}
    for name, value in params.items():
        first, _, rest = name.partition("/")
        if first in ("opt", "slowval_count"):
            continue
        if first in _NORMALIZERS:
            statistic = _STATISTICS.get(rest.removesuffix("/value"), rest)
            converted[f"{_STATES}norms/{_NORMALIZERS[first]}/{statistic}"] = value
            continue
        plain = f"val/{rest}" if first == "slowval" else name
        try:
            path = our_name(plain, stages)
        except KeyError:
            path = name
        slow = path.replace("heads/val/", f"{_STATES}slow/", 1)
        path = slow if first == "slowval" else f"params/{path}"
        converted[path] = our_layout(name, value, *sizes) if sizes else value
    return converted


def _class_major(x: np.ndarray, stoch: int, classes: int, axis: int = 0) -> np.ndarray:
    """Reorders a flattened [stoch, classes] axis to our order, classes first."""
    x = np.moveaxis(x, axis, 0)
    x = x.reshape(stoch, classes, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)
    return np.moveaxis(x, 0, axis)
