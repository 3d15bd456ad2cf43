"""What a run may have as its replay."""

from typing import TYPE_CHECKING, Union

from reverie.replay.replay import Replay

if TYPE_CHECKING:
    from reverie.replay.shards.sharded import ShardedReplay

AnyReplay = Union[Replay, "ShardedReplay"]
