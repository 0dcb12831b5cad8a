"""A small, faithful runner for Azure Pipelines: what it knows it does as documented, anything else is an error.

`compile_pipeline` expands a file as the server does; `Execution` runs the result on this machine.
tests/flows/test_azure_runner.py holds both against the tables and examples of Microsoft's documentation.
"""

from .agent import RunError, Source
from .scheduling import Execution, Run, Server
from .tasks import stand_ins
from .templates import TemplateError, compile_pipeline

__all__ = [
    "Execution",
    "Run",
    "RunError",
    "Server",
    "Source",
    "TemplateError",
    "compile_pipeline",
    "stand_ins",
]
