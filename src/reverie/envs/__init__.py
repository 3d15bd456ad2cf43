"""Environments: tasks by name, one chain of wrappers, and vectors that speak transitions.

    env = registry.make("gym_CartPole-v1")
    envs = vector.VectorEnv([registry.factory_of("dummy_disc")] * 4, seeds=0)

Nothing here imports the device library, so that environment processes stay small.
"""
