"""From data to a model in production: the inner loop, the outer loop and the command that runs both."""


class ProjectError(Exception):
    """The one kind of error that people are meant to read: what happened, and what to do next.

    It is something that the user can put right. The command prints both and exits with 1; a
    traceback means a bug of the project itself.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        """Keep `message` (what happened, and where) and `hint` (the way out)."""
        super().__init__(message)
        self.hint = hint
