"""Inference near the learner (`ray.inference: server`): one process that acts for all actors."""
