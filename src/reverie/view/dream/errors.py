"""What can go wrong in a dream, in words for whoever dreams."""


class DreamError(RuntimeError):
    """A dream cannot begin or go on; the message says why and what to do."""
