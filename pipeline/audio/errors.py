"""The error that every module of this package raises."""


class AudioError(Exception):
    """A recording that cannot be used.

    The message is `reason: detail`, or only `reason`. The reason is a short
    fixed text, such as `truncated`; dead letters are grouped by it.
    """
