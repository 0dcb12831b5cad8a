"""What the service asks of a kind of input: how requests are read, checked, told and shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from numpy.typing import NDArray

Detail = dict[str, Any]
# Of the tensors of the Open Inference Protocol.
DATATYPES: Final = {
    *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "FP32", "FP64", "BYTES"),
}


class RefusedError(Exception):
    """A request that cannot be answered, for a reason that its sender can put right."""

    def __init__(self, status: int, error: str, details: Sequence[Detail] = (), *, rows: int = 1) -> None:
        """Keep the HTTP status, one sentence, the problems, and how many rows are refused with it."""
        super().__init__(error)
        self.status = status
        self.error = error
        self.details = list(details)
        self.rows = max(1, rows)


class Schema(Protocol):
    """The type of a model's requests. What it reads is opaque to the service until `encode`."""

    def from_json(self, body: bytes) -> Sequence[Any]:
        """Read one record, or a list of them.

        Raises:
            RefusedError: 400 for what is not JSON, 413 for too many records, 422 for what breaks the contract.
        """

    def from_objects(self, objects: Any) -> Sequence[Any]:
        """Read one record, or a list of them, parsed already; raises as `from_json` does."""

    def from_wrapped(self, body: bytes) -> Sequence[Any]:
        """Read records as other servers' clients wrap them; raises as `from_json` does."""

    def from_csv(self, body: bytes) -> Sequence[Any]:
        """Read CSV with a header; raises as `from_json` does."""

    def from_tensors(self, content: Any) -> Sequence[Any]:
        """Read an inference request of the Open Inference Protocol, parsed already; raises as `from_json` does."""

    def encode(self, records: Sequence[Any]) -> tuple[NDArray[Any], list[str | None]]:
        """Return what the model reads, shape [records, ...], and each record's entity.

        Raises:
            RefusedError: 422, a value is not known.
        """

    def event_times(self, records: Sequence[Any]) -> list[str | None]:
        """Return when each record's values were known, as the request tells it: labels are joined by it later."""

    def example(self, reference: Mapping[str, Any]) -> dict[str, Any]:
        """Return a typical request, of statistics alone."""

    def tensor_inputs(self) -> list[dict[str, Any]]:
        """Return the inputs of the Open Inference Protocol: name, datatype and shape of each."""

    def tensors(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return a request as the tensors of an inference request."""

    def openapi(self) -> dict[str, Any]:
        """Return the JSON schema of one record."""
