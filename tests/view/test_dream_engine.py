"""Dreams against what the agent itself computes, and as a tree that is never rewritten."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")
jnp = jax.numpy

from reverie.agent.agent import Agent  # noqa: E402
from reverie.agent.imagination import imagine  # noqa: E402
from reverie.agent.predictions.openloop import open_loop  # noqa: E402
from reverie.replay.files import format  # noqa: E402
from reverie.replay.files.archive import path_of  # noqa: E402
from reverie.run.load import open_saved  # noqa: E402
from reverie.run.saved.folder import RunFolder  # noqa: E402
from reverie.spaces import FLAGS  # noqa: E402
from reverie.view.dream import recording as recordings  # noqa: E402
from reverie.view.dream import tree  # noqa: E402
from reverie.view.dream.model import Model, load_model  # noqa: E402
from reverie.view.dream.reality import Reality, open_reality  # noqa: E402
from reverie.view.dream.recording import Recording, episodes  # noqa: E402
from reverie.view.dream.said import Chance  # noqa: E402
from reverie.view.dream.tree import dream_of_reality, dream_of_recording  # noqa: E402
from reverie.view.dream.truth import DreamError  # noqa: E402
from reverie.world.rssm import State  # noqa: E402
from tests.support.fixed_draws import FixedDraws  # noqa: E402

OBSERVED, AHEAD = 5, 6


@pytest.fixture(scope="module")
def run(hybrid):
    return open_saved(hybrid / "hybrid")


@pytest.fixture(scope="module")
def model(run):
    return load_model(run)


@pytest.fixture(scope="module")
def exact(run):
    """The same model without chance."""
    config, spaces = run.config, run.converter.spaces
    agent = Agent(config.agent, *spaces, context=config.replay_context, draws=FixedDraws())
    return Model(agent, run.folder.root, jax.devices()[0], fast_compile=True)


@pytest.fixture(scope="module")
def place(run):
    """A step of replay with enough steps of its episode on both sides."""
    for episode in episodes(run[0]):
        if episode.end - episode.begin > OBSERVED + AHEAD and episode.begin > 0:
            return episode.serial, episode.begin + OBSERVED
    pytest.fail("replay has no episode that is long enough")


@pytest.fixture
def recording(run, place, model):
    return Recording(run[0], "replay", model.agent, *place, OBSERVED)


@pytest.fixture
def dream(model, recording):
    return dream_of_recording(model, recording)


@pytest.fixture
def reality(run):
    world = open_reality(run, 3)
    yield world
    world.close()


def follow(dream, frame, steps, driver="policy", **how):
    """Frames of some more steps."""
    frames = []
    for _ in range(steps):
        frame = dream.step(frame.number, dream.choose(frame.number, driver, **how), driver)
        frames.append(frame)
    return frames


def close(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), one, other)


def actions(model, value):
    """The same action for every entry."""
    spaces = model.agent.act_space.items()
    return {k: np.full(s.shape, value, s.dtype) for k, s in spaces}


def test_recorded_actions_give_the_open_loop_report_of_the_agent(run, exact, place):
    serial, row = place
    agent, first = exact.agent, row - OBSERVED + 1
    _, steps = format.read(path_of(run[0].replay, serial, "chunk"))
    _, latents = format.read(path_of(run[0].replay, serial, "latents"))
    # The report observes half of a sequence.
    rows = slice(first - 1, first + 2 * OBSERVED)
    batch = {k: x[None, rows] for k, x in steps.items()}
    batch |= {k: x[None, first - 1 : first] for k, x in latents.items()}
    batch["consec"] = np.zeros(1, np.int32)
    start, data = agent.align(agent.init_carry(1), jax.tree.map(jnp.asarray, batch))
    nets = jax.tree.unflatten(jax.tree.structure(exact._shapes), exact._leaves)
    report = jax.jit(lambda *args: open_loop(agent.spec, *args, jax.random.key(0)))(
        nets, start.state, data
    )

    dream = dream_of_recording(exact, Recording(run[0], "replay", agent, serial, row, OBSERVED))
    assert [frame.horizon for frame in dream.frames] == [0] * OBSERVED
    follow(dream, dream.frames[-1], OBSERVED, "recording")
    assert set(report.pred) == set(agent.obs_space)
    for key, pred in report.pred.items():
        told = np.stack([frame.said.obs[key] for frame in dream.frames])
        true = np.stack([frame.known.step.obs[key] for frame in dream.frames])
        np.testing.assert_array_equal(true, report.true[key][0])
        if agent.obs_space[key].kind == "image":
            assert np.abs(told - np.clip(np.asarray(pred[0]) * 255, 0, 255)).max() < 1.01
        else:
            close(told, np.asarray(pred[0], np.float32))
    for name, said in (("reward", "reward"), ("value", "value"), ("continue", "con")):
        told = np.stack([getattr(frame.said, said) for frame in dream.frames])
        close(told, np.minimum(report.said[name][0], 1 if name == "continue" else np.inf))
    assert [frame.horizon for frame in dream.frames[OBSERVED:]] == [*range(1, OBSERVED + 1)]


def test_policy_dreams_what_it_imagines_in_training(run, exact, place):
    dream = dream_of_recording(exact, Recording(run[0], "replay", exact.agent, *place, OBSERVED))
    start = dream.frames[-1]
    frames = [start, *follow(dream, start, AHEAD, likely=False)]
    nets = jax.tree.unflatten(jax.tree.structure(exact._shapes), exact._leaves)
    agent = exact.agent
    how = AHEAD, jax.random.key(0)
    imagined = jax.jit(
        lambda nets, state: imagine(agent.spec, nets, nets.heads["val"], state, *how)
    )(nets, State(*map(jnp.asarray, start.state)))
    close(np.stack([f.state.deter[0] for f in frames]), imagined.state.deter[:, 0])
    np.testing.assert_array_equal([f.state.stoch[0] for f in frames], imagined.state.stoch[:, 0])
    close(np.stack([f.said.reward for f in frames]), imagined.reward[:, 0])
    close(np.stack([f.said.value for f in frames]), imagined.slow_value[:, 0])
    con = np.stack([f.said.con for f in frames]) * (1 - 1 / agent.config.horizon)
    close(con, np.minimum(imagined.con[:, 0], 1 - 1 / agent.config.horizon))
    for key in agent.act_space:
        done = np.stack([f.action[key] for f in frames[1:]])
        close(done.astype(np.float32), np.clip(imagined.action[key][:-1, 0], -9, 9))


def test_going_back_and_on_gives_the_frames_of_before(dream, model, run, place):
    start = dream.frames[-1]
    first = follow(dream, start, 4)
    assert follow(dream, start, 4) == first
    assert len(dream.frames) == OBSERVED + 4
    # Not because they were kept: another dream of the same seed has the same ones.
    again = dream_of_recording(model, Recording(run[0], "replay", model.agent, *place, OBSERVED))
    for one, other in zip(follow(again, again.frames[-1], 4), first, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one.said, other.said)
    other = dream_of_recording(model, Recording(run[0], "replay", model.agent, *place, 5), seed=1)
    drawn = follow(other, other.frames[-1], 4)
    assert any((a.state.stoch != b.state.stoch).any() for a, b in zip(drawn, first, strict=True))


def test_a_branch_leaves_its_parent_as_it_was(dream, model):
    main = follow(dream, dream.frames[-1], 4)
    before = [jax.tree.map(np.copy, f.said) for f in main]
    branch = dream.step(main[0].number, actions(model, 1), "you")
    tip = dream.step(branch.number, actions(model, 0), "you")
    assert branch.parent == main[0].number
    assert dream.path(tip.number) == [*dream.frames[:OBSERVED], main[0], branch, tip]
    assert dream.path(main[-1].number) == [*dream.frames[:OBSERVED], *main]
    for frame, said in zip(main, before, strict=True):
        jax.tree.map(np.testing.assert_array_equal, frame.said, said)


def test_truth_of_replay_ends_with_the_recorded_actions(dream, model):
    on = follow(dream, dream.frames[-1], 2, "recording")
    assert all(frame.known and frame.known.seen.surprise >= 0 for frame in on)
    keys = set(model.agent.obs_space)
    assert set(on[0].known.seen.dream_error) == set(on[0].known.seen.seen_error) == keys
    other = {k: v + 1 if v.dtype.kind == "i" else v for k, v in actions(model, 0).items()}
    off = dream.step(on[-1].number, other, "you")
    assert off.known is None
    with pytest.raises(DreamError, match="other actions were taken than in it"):
        dream.choose(off.number, "recording")
    with pytest.raises(DreamError, match="only the dream is known"):
        dream.step(off.number, other, "you", awake=True)


def test_recording_is_followed_to_its_end_and_no_further(dream):
    frame, count = dream.frames[-1], 0
    while dream.truth.action(frame.step) is not None:
        frame, count = follow(dream, frame, 1, "recording")[0], count + 1
    assert count >= AHEAD
    with pytest.raises(DreamError, match="The recording ends here"):
        dream.choose(frame.number, "recording")
    (beyond,) = follow(dream, frame, 1)
    assert beyond.known is None


def test_reality_takes_the_same_actions_and_waking_sees_it(model, reality):
    dream = dream_of_reality(model, reality, 4)
    assert [f.horizon for f in dream.frames] == [0, 0, 0, 0]
    assert dream.frames[0].known.step.is_first
    asleep = follow(dream, dream.frames[-1], 3)
    assert [f.horizon for f in asleep] == [1, 2, 3]
    # `count` is one less than the number of steps.
    assert [int(f.known.step.obs["count"]) for f in dream.frames] == [*range(7)]
    last = asleep[-1]
    woken = dream.step(last.number, last.said.likely, "policy", awake=True)
    assert woken.horizon == 0
    assert int(woken.known.step.obs["count"]) == 7
    np.testing.assert_array_equal(woken.state.deter, woken.known.state.deter)


def test_reality_goes_back_by_its_seed(model, reality):
    dream = dream_of_reality(model, reality, 2)
    follow(dream, dream.frames[-1], 4)
    branch = dream.step(2, actions(model, 1), "you")
    assert branch.known.step.obs["count"] == dream.frames[3].known.step.obs["count"]
    np.testing.assert_array_equal(
        branch.known.step.obs["vector"], dream.frames[3].known.step.obs["vector"]
    )
    assert reality.note == ""


def test_reality_ends_and_the_dream_goes_on(model, reality):
    dream = dream_of_reality(model, reality, 2)
    frames = follow(dream, dream.frames[-1], 20)
    ends = [f for f in frames if f.known and f.known.step.is_last]
    assert [f.step for f in ends] == [20]
    assert ends[0].known.step.is_terminal
    assert frames[-1].known is None


def test_an_environment_that_does_not_repeat_itself_is_left_out(model, reality):
    class Drifting:
        """Another start at each reset."""

        seeds = iter(range(9))

        def __getattr__(self, name):
            return getattr(reality._env, name)

        def reset(self, seed):
            return reality._env.reset(seed=next(self.seeds))

    dream = dream_of_reality(model, Reality(Drifting(), model.agent.obs_space, 3), 2)
    follow(dream, dream.frames[-1], 2)
    branch = dream.step(1, actions(model, 1), "you")
    assert branch.known is None
    assert "does not repeat itself" in dream.truth.note


@pytest.mark.parametrize(
    ("key", "value"),
    [("choice", 5), ("choice", -1), ("choice", [1, 2]), ("force", [0.0, 1.0, float("nan")]),
     ("force", "fast"), ("switches", [0, 2]), ("force", None)],
)  # fmt: skip
def test_actions_that_do_not_fit_are_told(dream, model, key, value):
    with pytest.raises(DreamError, match=f"The action '{key}' is .*: expected"):
        dream.step(0, {**actions(model, 0), key: value}, "you")


def test_a_dream_has_a_bounded_size(dream, model, monkeypatch):
    monkeypatch.setattr(tree, "LIMIT", dream._size)
    assert dream.room == 0
    frame = dream.step(dream.frames[-1].number, actions(model, 0), "you")
    with pytest.raises(DreamError, match="which fill its"):
        dream.step(frame.number, actions(model, 0), "you")
    # What is there may still be looked at.
    assert dream.step(dream.frames[-2].number, actions(model, 0), "you") == frame


def test_steps_of_replay_that_are_gone_are_told(run, model, place):
    source, serial = (run[0], "replay"), place[0]
    with pytest.raises(DreamError, match="Chunk 999 of replay is no longer there"):
        Recording(*source, model.agent, 999, 0, 3)
    with pytest.raises(DreamError, match="Step 99999 is not in chunk"):
        Recording(*source, model.agent, serial, 99999, 3)


def test_episodes_of_replay_are_found_newest_first(run):
    found = episodes(run[0])
    assert len(found) > 3
    assert [e.serial for e in found] == sorted((e.serial for e in found), reverse=True)
    whole = [e for e in found if e.whole]
    assert all(e.end - e.begin == 21 and e.terminal for e in whole)
    assert episodes(RunFolder(run[0].root / "none")) == []


def test_a_file_that_a_training_replaces_meanwhile_is_read_as_it_was(tmp_path, monkeypatch):
    def write(rows):
        arrays = {"reward": np.ones(rows, np.float32)}
        arrays |= {key: np.arange(rows) == (rows - 1) * (key != "is_first") for key in FLAGS}
        format.write(path_of(tmp_path / "replay", 3, "chunk"), {"rows": rows}, arrays)

    class Replaced(format.File):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            write(40)

    write(10)
    monkeypatch.setattr(recordings, "File", Replaced)
    (found,) = episodes(RunFolder(tmp_path))
    assert (found.end, found.score, found.whole, found.terminal) == (10, 10.0, True, True)


def test_parts_of_episodes_begin_with_the_stored_latents(run, model):
    parts = [e for e in episodes(run[0]) if e.begin <= 1 and not e.whole]
    assert parts
    for part in parts:
        state, action = Recording(run[0], "replay", model.agent, part.serial, part.begin, 1).before(
            model.initial()
        )
        assert part.begin == 1
        assert state.deter.any()
        assert any(x.any() for x in action.values())


def test_nothing_is_written_into_the_run(run, model, reality):
    folder = run[0].root
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    dream = dream_of_reality(model, reality, 3)
    follow(dream, dream.frames[-1], 3)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_draws_do_not_depend_on_what_was_asked_before(model):
    state, idle = model.initial(), model.idle()
    one = model.imagine(state, idle, Chance(3, 7))
    model.imagine(state, idle, Chance(4, 7))
    other = model.imagine(state, idle, Chance(3, 7))
    jax.tree.map(np.testing.assert_array_equal, one, other)
