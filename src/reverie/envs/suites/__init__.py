"""One file per suite, each with `make(name, **options) -> gymnasium.Env` and `tasks()`.

Nothing is imported here: a suite's package is loaded when one of its tasks is built.
"""
