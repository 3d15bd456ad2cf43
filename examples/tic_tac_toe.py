"""An environment with an action mask: tic-tac-toe against a player who moves at random.

python examples/tic_tac_toe.py
"""

import gymnasium
import numpy as np

import reverie

LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))


class TicTacToe(gymnasium.Env):
    """Three in a row win 1, and lose 1 for the other side; only empty cells may be chosen."""

    observation_space = gymnasium.spaces.Dict(
        {
            # 0 is empty, 1 is the agent, 2 the other player.
            "board": gymnasium.spaces.MultiDiscrete([3] * 9),
            "action_mask": gymnasium.spaces.MultiBinary(9),
        }
    )
    action_space = gymnasium.spaces.Discrete(9)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._board = np.zeros(9, np.int64)
        if self.np_random.random() < 0.5:
            self._answer()
        return self._observe(), {}

    def step(self, action):
        if self._board[action]:
            raise ValueError(f"Cell {action} is taken: {self._board}")
        self._board[action] = 1
        if not self._over():
            self._answer()
        reward = float(self._won(1)) - float(self._won(2))
        return self._observe(), reward, self._over(), False, {}

    def _answer(self):
        self._board[self.np_random.choice(np.flatnonzero(self._board == 0))] = 2

    def _won(self, player):
        return any((self._board[list(line)] == player).all() for line in LINES)

    def _over(self):
        return self._won(1) or self._won(2) or bool(self._board.all())

    def _observe(self):
        return {"board": self._board.copy(), "action_mask": self._board == 0}


if __name__ == "__main__":
    print(reverie.train(TicTacToe, configs="small").summary())
