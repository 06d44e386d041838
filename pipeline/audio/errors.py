"""The error that every module of this package raises."""


class AudioError(Exception):
    """A recording that cannot be used.

    The message is `reason: detail`, or only `reason`. The reason is a fixed
    short text, such as `truncated`, by which dead letters are grouped.
    """
