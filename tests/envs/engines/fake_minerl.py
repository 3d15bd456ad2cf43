"""A stand-in for the package `minerl`, as strict as the real one and stricter.

It has the part of the interface of MineRL 0.4.4 that builds an environment out of handlers, with
the same names, signatures, spaces, observations and failures. Behind it is a little world instead
of the game: blows bring whatever the tool in the hand can break, and recipes are the real ones.
"""

import abc
import importlib.machinery
import sys
import types
from collections import OrderedDict

import numpy as np

ITEMS = (
    *("stick", "air", "cobblestone", "crafting_table", "diamond", "dirt", "furnace", "iron_ingot"),
    *("iron_ore", "iron_pickaxe", "log", "log2", "planks", "stone_pickaxe", "wooden_pickaxe"),
)
MINED = {"wooden_pickaxe": "cobblestone", "stone_pickaxe": "iron_ore", "iron_pickaxe": "diamond"}
RECIPES = {
    ("craft", "planks"): ({"log": 1}, 4, None),
    ("craft", "stick"): ({"planks": 2}, 4, None),
    ("craft", "crafting_table"): ({"planks": 4}, 1, None),
    ("nearbyCraft", "wooden_pickaxe"): ({"planks": 3, "stick": 2}, 1, "crafting_table"),
    ("nearbyCraft", "stone_pickaxe"): ({"cobblestone": 3, "stick": 2}, 1, "crafting_table"),
    ("nearbyCraft", "furnace"): ({"cobblestone": 8}, 1, "crafting_table"),
    ("nearbySmelt", "iron_ingot"): ({"iron_ore": 1, "planks": 1}, 1, "furnace"),
    ("nearbyCraft", "iron_pickaxe"): ({"iron_ingot": 3, "stick": 2}, 1, "crafting_table"),
}


class Fake:
    """What tests look at and change: `games` that were built, and `faults` to come.

    A fault is a pair of a method, `reset` or `step`, and an exception to raise in its next call;
    a text in place of the exception is a lost connection as MineRL reports it in `info`.
    """

    def __init__(self):
        self.games = []
        self.faults = []

    @property
    def game(self):
        return self.games[-1]

    def fault(self, method):
        if self.faults and self.faults[0][0] == method:
            return self.faults.pop(0)[1]
        return None


class Box:
    def __init__(self, low, high, shape=(), dtype=np.float32):
        self.low, self.high, self.shape, self.dtype = low, high, tuple(shape), np.dtype(dtype)

    def no_op(self):
        return np.zeros(self.shape, self.dtype)

    def __contains__(self, value):
        value = np.asarray(value, self.dtype)
        return value.shape == self.shape and bool(
            ((value >= self.low) & (value <= self.high)).all()
        )


class Discrete:
    def __init__(self, n):
        self.n = n

    def no_op(self):
        return 0

    def __contains__(self, value):
        return type(value) is int and 0 <= value < self.n


class Enum:
    def __init__(self, *values, default):
        self.values, self.default = np.array(sorted(values)), default

    def no_op(self):
        return self.default

    def __contains__(self, value):
        return type(value) is str and value in self.values


class Dict:
    def __init__(self, spaces):
        self.spaces = OrderedDict(sorted(spaces.items()))

    def __getitem__(self, key):
        return self.spaces[key]

    def no_op(self):
        return OrderedDict((key, space.no_op()) for key, space in self.spaces.items())


class Handler:
    def __init__(self, name, space=None, **settings):
        self.name, self.space = name, space
        vars(self).update(settings)


def pov(video_resolution, include_depth=False):
    width, height = video_resolution
    return Handler("pov", Box(0, 255, (height, width, 3), np.uint8))


def inventory(item_list, _other="other"):
    return Handler("inventory", Dict({key: Box(0, 2304, (), np.int32) for key in item_list}))


def equipped(items, *, _default="none", _other="other"):
    hand = {
        "type": Enum(*{*items, _default, _other}, default=_default),
        "damage": Box(-1, 1562, (), np.int32),
        "maxDamage": Box(-1, 1562, (), np.int32),
    }
    return Handler("equipped_items", Dict({"mainhand": Dict(hand)}))


def location():
    # Like MineRL, with the names that numpy no longer has.
    place = {key: Box(-640000.0, 640000.0, (), np.float) for key in ("xpos", "ypos", "zpos")}
    return Handler("location_stats", Dict({**place, "biome_id": Box(0, 167, (), np.int)}))


def life():
    bars = {"life": Box(0, 20, (), np.float), "food": Box(0, 20, (), np.int)}
    return Handler("life_stats", Dict({**bars, "air": Box(0, 300, (), np.int)}))


def key_command(command, *keys):
    assert keys == (INVERSE_KEYMAP[command],)
    return Handler(command, Discrete(len(keys) + 1))


def item_command(name):
    def build(items, *, _other, _default):
        assert "none" in items
        return Handler(name, Enum(*{*items, _other, _default}, default=_default))

    return build


CODES = {
    "forward": 17,
    "back": 31,
    "left": 30,
    "right": 32,
    "jump": 57,
    "sneak": 42,
    "attack": -100,
}
INVERSE_KEYMAP = {key: str(code) for key, code in CODES.items()}

HANDLERS = {
    "POVObservation": pov,
    "FlatInventoryObservation": inventory,
    "EquippedItemObservation": equipped,
    "ObservationFromCurrentLocation": location,
    "ObservationFromLifeStats": life,
    "KeybasedCommandAction": key_command,
    "CameraAction": lambda: Handler("camera", Box(-180, 180, (2,), np.float32)),
    "PlaceBlock": item_command("place"),
    "EquipAction": item_command("equip"),
    "CraftAction": item_command("craft"),
    "CraftNearbyAction": item_command("nearbyCraft"),
    "SmeltItemNearby": item_command("nearbySmelt"),
    "AgentStartBreakSpeedMultiplier": lambda multiplier=1.0: Handler("speed", value=multiplier),
    "DefaultWorldGenerator": lambda force_reset=True, generator_options="{}": Handler(
        "world", force_reset=force_reset
    ),
    "TimeInitialCondition": lambda allow_passage_of_time, start_time=None: Handler("time"),
    "SpawningInitialCondition": lambda allow_spawning: Handler("spawning", allow=allow_spawning),
    "ServerQuitWhenAnyAgentFinishes": lambda: Handler("quit"),
}

LISTS = (
    *("observables", "actionables", "rewardables", "agent_handlers", "monitors", "agent_start"),
    *("server_initial_conditions", "server_world_generators", "server_decorators"),
    "server_quit_producers",
)
OTHERS = ("is_from_folder", "determine_success_from_rewards", "get_docstring")


def env_spec(fake):
    """The base class of descriptions of environments."""

    class EnvSpec(abc.ABC):  # noqa: B024 (its methods are added below)
        def __init__(self, name, max_episode_steps=None, reward_threshold=None, agent_count=None):
            assert max_episode_steps is reward_threshold is agent_count is None
            self.name = name
            self.reset()

        def reset(self):
            for part in LISTS:
                setattr(self, part, list(getattr(self, f"create_{part}")()))
            self.observation_space = Dict({each.name: each.space for each in self.observables})
            self.action_space = Dict({each.name: each.space for each in self.actionables})

        def make(self, fake=False):
            assert not fake
            return Game(self, state)

    state = fake
    for name in (*(f"create_{part}" for part in LISTS), *OTHERS):
        setattr(EnvSpec, name, abc.abstractmethod(lambda self, *args: None))
    abc.update_abstractmethods(EnvSpec)
    return EnvSpec


class Game:
    """The environment of MineRL: old gym interface, one process of the game behind it."""

    def __init__(self, spec, fake):
        self.task, self._fake = spec, fake
        self.observation_space, self.action_space = spec.observation_space, spec.action_space
        self.actions, self.seeds = [], []
        self.launched = self.closed = self.lost = False
        self.done = True
        self._seed = None
        fake.games.append(self)

    def seed(self, seed=None, seed_spaces=True):
        assert type(seed) is int
        self._seed = seed

    def reset(self):
        assert not self.closed
        others = [game for game in self._fake.games if game is not self]
        assert all(game.closed for game in others if game.launched), "two games at once"
        self.launched = True
        if fault := self._fake.fault("reset"):
            raise fault
        if self.lost:
            raise OSError("the game's process is gone")
        self.task.reset()
        assert self._seed is not None
        self.seeds.append(self._seed)
        self.world = World(self._seed)
        self._seed, self.done = None, False
        return self._observe()

    def step(self, action):
        if self.done or self.closed:
            raise RuntimeError("Attempted to step an environment server with done=True")
        assert set(action) == set(self.action_space.spaces), sorted(action)
        for key, value in action.items():
            assert value in self.action_space[key], (key, value)
        self.actions.append(action)
        fault = self._fake.fault("step")
        if isinstance(fault, str):
            self.done = self.lost = True
            self.world = World(99)
            return self._observe(), 0, True, {"error": fault}
        if fault:
            raise fault
        self.done = self.world.step(action)
        return self._observe(), 0.0, self.done, {}

    def close(self):
        self.closed = True

    def _observe(self):
        world, height_width = self.world, self.observation_space["pov"].shape
        image = np.frombuffer(world.rng.bytes(int(np.prod(height_width))), np.uint8)
        self.picture = image.reshape(height_width)[::-1]
        counts = {item: np.array(0) for item in ITEMS}
        for item, count in world.inventory.items():
            counts[item] += count
        counts["air"] += 36 - sum(count > 0 for count in world.inventory.values())
        hand = {"type": world.hand, "damage": np.array(0), "maxDamage": np.array(0)}
        return {
            "pov": self.picture,
            "inventory": counts,
            "equipped_items": {"mainhand": hand},
            "life_stats": {key: np.array(getattr(world, key)) for key in ("life", "food", "air")},
            "location_stats": {
                "xpos": np.array(0.5),
                "ypos": np.array(world.height),
                "zpos": np.array(0.5),
                "biome_id": np.array(4),
            },
        }


class World:
    """Rules enough to find a diamond."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.inventory = dict.fromkeys(set(ITEMS) - {"air"}, 0)
        self.hand, self.near = "air", set()
        self.life, self.food, self.air = 20.0, 20, 300
        self.height = 60.0 + int(self.rng.integers(10))
        self.blows = 0

    def step(self, action):
        if action["attack"]:
            tree = ("log", "log2")[self.blows % 2]
            self.inventory[MINED.get(self.hand, tree)] += 1
            self.blows += 1
        for recipe, (parts, count, near) in RECIPES.items():
            if action[recipe[0]] == recipe[1] and (near is None or near in self.near):
                self._craft(recipe[1], parts, count)
        if self.inventory.get(action["place"], 0):
            self.inventory[action["place"]] -= 1
            self.near.add(action["place"])
        if self.inventory.get(action["equip"], 0):
            self.hand = action["equip"]
        self.height += 1.25 * action["jump"] - 0.25 * action["back"]
        return self.life <= 0

    def _craft(self, item, parts, count):
        if "log" in parts and not self.inventory["log"]:
            parts = {"log2": 1}
        if all(self.inventory[part] >= need for part, need in parts.items()):
            for part, need in parts.items():
                self.inventory[part] -= need
            self.inventory[item] += count


def install(monkeypatch):
    """Puts the package in place for one test; returns its `Fake`."""
    fake = Fake()
    contents = {
        "minerl": {},
        "minerl.herobraine": {},
        "minerl.herobraine.env_spec": {"EnvSpec": env_spec(fake)},
        "minerl.herobraine.hero": {},
        "minerl.herobraine.hero.handlers": HANDLERS,
        "minerl.herobraine.hero.mc": {"ALL_ITEMS": list(ITEMS), "INVERSE_KEYMAP": INVERSE_KEYMAP},
    }
    for name, entries in contents.items():
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        vars(module).update(entries)
        monkeypatch.setitem(sys.modules, name, module)
    return fake
