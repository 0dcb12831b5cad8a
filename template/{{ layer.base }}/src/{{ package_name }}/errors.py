"""The one kind of error that people are meant to read."""


class ProjectError(Exception):
    """Something the user can put right: what happened, and what to do next.

    The command prints both and exits with 1; a traceback means a bug of the project itself.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        """Keep `message` (what happened, and where) and `hint` (the way out)."""
        super().__init__(message)
        self.hint = hint
