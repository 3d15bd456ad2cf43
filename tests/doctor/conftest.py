"""Records of a healthy run, to be made sick."""

import pytest

from reverie.config.load import load
from reverie.doctor.records import Records
from reverie.spaces import Space

HEALTHY = {
    "train/loss/rew": 0.66,
    "train/loss/con": 0.06,
    "train/loss/value": 1.2,
    "train/loss/repval": 1.6,
    "train/loss/dyn": 1.04,
    "train/dyn_ent": 20.2,
    "train/rep_ent": 19.3,
    "train/adv": 0.01,
    "train/adv_std": 0.05,
    "train/rand/action": 0.2,
    "train/ent/action": 0.14,
    "train/opt/grad_norm": 3.0,
    "train/opt/update_rms": 1e-4,
    "train/opt/param_rms": 0.13,
    "time/environment": 0.01,
}
"""As the newest metrics of a CartPole run after 4,000 updates."""


@pytest.fixture(scope="session")
def make_records():
    """Records of 20 log intervals; `changes` replaces metrics, or removes them with None."""

    def make(changes=None, *, scores=None, updates=4000, kind="discrete", words=()):
        row = {k: v for k, v in {**HEALTHY, **(changes or {})}.items() if v is not None}
        rows = [
            {
                **row,
                "step": 500 * n,
                "train/opt/updates": updates * n / 20,
                "replay/inserts": 500 * n,
                "replay/samples": 500 * n * 128 // 32,
            }
            for n in range(1, 21)
        ]
        classes = (2,) if kind == "discrete" else ()
        dtype = "int32" if kind == "discrete" else "float32"
        config = load(["--configs", "quickstart", *words])
        scores = [20.0 + 5 * n for n in range(60)] if scores is None else scores
        return Records(rows, scores, config, {"action": Space(kind, (), dtype, classes)})

    return make
