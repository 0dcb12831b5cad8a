"""The service as an ASGI application: from a request to an answer.

There is no web framework between the server and this module: for one row its routing alone would
take as long as the model.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from twoloops import config
from twoloops.contracts.captures import TRIAL, is_trial
from twoloops.contracts.serving import Detail, RefusedError, Schema
from twoloops.errors import ProjectError
from twoloops.json_body import parse, shown
from twoloops.params import ServeParams
from twoloops.service import openapi, protocols
from twoloops.service.access import ADMIN, PROBES, Access
from twoloops.service.capture import Capture
from twoloops.service.log import RateLimitedLog, log
from twoloops.service.metrics import CONTENT_TYPE, Metrics
from twoloops.service.models import Model, ModelError, Models

MEGABYTE: Final = 1_000_000
LARGE_BODIES: Final = 32  # so many of the largest size may be half received; beyond, clients shall come back
GOOD_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,100}")
JSON: Final = b"application/json"
CSV: Final = b"text/csv"
# What a browser asks before it lets a page call.
PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"authorization, content-type, x-request-id"),
    (b"access-control-max-age", b"600"),
)

Scope = Mapping[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Request(NamedTuple):
    """What a handler gets."""

    id: str
    path: str
    headers: Mapping[bytes, bytes]
    content_type: bytes
    body: bytes
    at_admin: bool = False  # came over the admin port


class Answer(NamedTuple):
    """What a handler returns."""

    body: bytes
    status: int = 200
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Prediction(NamedTuple):
    """What a model said about the rows of a request."""

    model: Model
    columns: dict[str, Any]  # each a NumPy array of shape [rows]; `prediction` first

    def rows(self) -> list[dict[str, Any]]:
        """Return the columns as one mapping a row."""
        if len(self.columns["prediction"]) == 1:  # most requests, in less time
            return [{name: column.item() for name, column in self.columns.items()}]
        names = tuple(self.columns)
        values = zip(*[column.tolist() for column in self.columns.values()], strict=True)
        return [dict(zip(names, each, strict=True)) for each in values]


class BusyError(Exception):
    """Too much is under way to begin with this request."""


class HeadedError(RefusedError):
    """A refusal whose answer needs a header."""

    def __init__(self, status: int, error: str, header: tuple[bytes, bytes]) -> None:
        """Keep the header."""
        super().__init__(status, error)
        self.header = header


Handler = Callable[[Request], Awaitable[Answer]]
Read = Callable[[Schema], Sequence[Any]]


@dataclass(frozen=True)
class Route:
    """What is done at an address."""

    name: str  # in the metrics: the address without what varies in it
    get: Handler | None = None
    post: Handler | None = None
    accepts: tuple[bytes, ...] = (JSON,)
    unnamed: bytes = b""  # what a body is taken for whose kind is not named; nothing: it is refused
    plain_errors: bool = False  # {"error": …} alone, as the Open Inference Protocol wants it


@dataclass
class Load:
    """How much is under way; the server counts it."""

    pending: int = 0  # requests that have arrived as a whole and wait for their answer
    half_received: int = 0  # bytes of bodies that are not complete


@dataclass
class Service:
    """The ASGI application."""

    models: Models
    settings: ServeParams
    load: Load = field(default_factory=Load)
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    access: Access = field(default_factory=Access)
    capture: Capture | None = None
    draining: bool = False  # told to stop: what is under way is answered, nothing new is invited

    def __post_init__(self) -> None:
        """Lay out the routes."""
        self.name = config.current().package  # asked once: a request has no time for it
        # KServe's clients ask for a model by the name of the InferenceService.
        self._names = {self.name, self.environment.get("SERVE_MODEL_NAME") or self.name}
        self.metrics = Metrics(lambda: self.load.pending)
        self.metrics.show_deployed(self.models.current)
        self._limit = int(self.settings.maximum_body_mb * MEGABYTE)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._prefix = os.urandom(6).hex()
        self._numbers = itertools.count(1)
        self._limited_log = RateLimitedLog()
        self._encoder = msgspec.json.Encoder()
        self._routes = self._all_routes()
        self._probes = {*PROBES, self.environment.get("AIP_HEALTH_ROUTE", "")}
        self._checks_all = self.access.guards or self.access.admin_port is not None
        self._answered_requests = self._answered_rows = 0

    def _all_routes(self) -> dict[str, Route]:
        predict = Route("/predict", post=self._predict)
        health = Route("/health/ready", get=self._ready)
        instances = Route("/invocations", post=self._invocations, accepts=(JSON, CSV))
        routes = {
            "/": Route("/", get=self._live),
            "/predict": predict,
            "/health/live": Route("/health/live", get=self._live),
            "/health/ready": health,
            "/metrics": Route("/metrics", get=self._metrics),
            "/openapi.json": Route("/openapi.json", get=self._openapi),
            "/ping": Route("/ping", get=self._ready),
            "/invocations": instances,
            "/score": Route("/score", post=self._score),
            "/v2": Route("/v2", get=self._v2_server, plain_errors=True),
            "/v1/models": Route("/v1/models", get=self._models),
            "/v2/models": Route("/v2/models", get=self._models, plain_errors=True),
            "/v2/health/live": Route("/v2/health/live", get=self._v2_live, plain_errors=True),
            "/v2/health/ready": Route("/v2/health/ready", get=self._v2_ready, plain_errors=True),
        }
        for each in self._names:
            routes[f"/v1/models/{each}"] = Route("/v1/models/{name}", get=self._v1_model)
            routes[f"/v1/models/{each}:predict"] = Route("/v1/models/{name}:predict", post=self._score)
        # Vertex AI chooses the addresses: https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
        if "AIP_HEALTH_ROUTE" in self.environment:
            routes[self.environment["AIP_HEALTH_ROUTE"]] = health
        if "AIP_PREDICT_ROUTE" in self.environment:
            routes[self.environment["AIP_PREDICT_ROUTE"]] = instances
        return routes

    def _route(self, path: str) -> Route | None:
        """Return the route of an address that has a model's name in it."""
        parts = path.split("/")
        if parts[:3] == ["", "v2", "models"] and len(parts) > 3 and parts[3] in self._names:
            rest = parts[4:]
            versioned = len(rest) > 1 and rest[0] == "versions"
            name = "/v2/models/{name}" + ("/versions/{version}" if versioned else "")
            end = rest[2:] if versioned else rest
            if versioned and self.models.current.find(rest[1]) is None:
                return None
            if not end:
                return Route(name, get=self._v2_model, plain_errors=True)
            if end == ["ready"]:
                return Route(f"{name}/ready", get=self._v2_ready, plain_errors=True)
            if end == ["infer"]:
                # Triton's own client names no content type.
                return Route(f"{name}/infer", post=self._v2_infer, unnamed=JSON, plain_errors=True)
        if len(parts) == 4 and parts[1] == "endpoints" and parts[3] == "invocations":
            return self._routes["/invocations"]  # as SageMaker's own clients call it
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        headers = dict(scope["headers"])
        # SageMaker lets no other header through: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
        given = headers.get(b"x-request-id") or headers.get(b"x-amzn-sagemaker-custom-attributes", b"")
        request_id = given.decode("ascii") if given and GOOD_REQUEST_ID.fullmatch(given) else ""
        if not request_id or (request_id.startswith(TRIAL) and not self._is_trial(request_id)):
            request_id = f"{self._prefix}-{next(self._numbers):x}"
        route = self._routes.get(scope["path"]) or self._route(scope["path"])
        origin = headers.get(b"origin")
        is_known_page = origin is not None and self.access.allows(origin)
        if is_known_page and scope["method"] == "OPTIONS":
            answer: Answer | None = Answer(b"", 204, headers=PREFLIGHT)
        else:
            answer = await self._answer(route, scope, headers, request_id, receive)
        if answer is None:
            return  # the client has gone
        answer_headers = [
            (b"content-type", answer.content_type),
            (b"content-length", b"%d" % len(answer.body)),
            (b"x-request-id", request_id.encode("ascii")),
            *answer.headers,
        ]
        if self.draining:
            answer_headers.append((b"connection", b"close"))
        if origin is not None and is_known_page:
            answer_headers += ((b"access-control-allow-origin", origin), (b"vary", b"origin"))
        await send({"type": "http.response.start", "status": answer.status, "headers": answer_headers})
        await send({"type": "http.response.body", "body": answer.body})
        self.metrics.request(route.name if route else "other", answer.status, time.perf_counter() - began)

    async def _answer(
        self, route: Route | None, scope: Scope, headers: Mapping[bytes, bytes], request_id: str, receive: Receive
    ) -> Answer | None:
        predicts = at_admin = False
        try:
            if self._checks_all or b"origin" in headers:
                at_admin = self._check_access(scope, headers)
            if route is None:
                raise RefusedError(
                    404, f"There is nothing at {scope['path'][:200]}. GET /openapi.json tells what there is."
                )
            handler = self._handler(route, scope["method"])
            predicts = handler is route.post
            content_type, body = b"", b""
            if predicts:
                if self.load.pending > self.settings.maximum_pending:
                    return self._refuse_busy(route, request_id)
                content_type = _content_type(headers, route.accepts, route.unnamed)
                received = await self._body(headers, receive)
                if received is None:
                    return None
                body = received
            return await handler(Request(request_id, scope["path"], headers, content_type, body, at_admin))
        except RefusedError as refusal:
            if predicts and refusal.status < 500 and not request_id.startswith(TRIAL):
                self._count_refused(refusal.rows)
            return self._refuse(route, refusal, request_id)
        except BusyError:
            return self._refuse_busy(route, request_id)
        except Exception as error:  # a mistake of ours must not show its inside, and must not end the service
            about = type(error).__name__
            self._limited_log.log("error", about, request_id=request_id, traceback=traceback.format_exc())
            return self._refuse(route, RefusedError(500, "The service could not answer; its log says why."), request_id)

    def _is_trial(self, request_id: str) -> bool:
        """Say whether a request of this name is the deployment's own: the monitor does not look at those."""
        current = self.models.current
        return is_trial(request_id, [model.predictor.trial_key for model in (current.stable, current.canary) if model])

    def _count_refused(self, rows: int) -> None:
        """Count a refused request: once, as the usual answered one, whatever number of rows it claims to have.

        One request must not tip the share of refused rows, by which the monitor judges the quality of data.
        """
        usual = self._answered_rows // self._answered_requests if self._answered_requests else 1
        counted = min(rows, max(1, usual))
        self.metrics.refused.inc(counted)
        if self.capture:
            self.capture.count_refused(counted)

    def _check_access(self, scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
        """Demand that whoever asks may do so, and say whether the request came over the admin port.

        Raises:
            RefusedError: 401 without a token, 403 from a page that may not call, 404 at the wrong port.
        """
        access, path = self.access, scope["path"]
        if (origin := headers.get(b"origin")) is not None and not access.allows(origin):
            raise RefusedError(403, f"Pages of {shown(origin.decode('latin-1'))} may not call this service.")
        server = scope.get("server")
        at_admin = access.admin_port is not None and server is not None and server[1] == access.admin_port
        if access.admin_port is not None and path not in self._probes and (path in ADMIN) != at_admin:
            raise RefusedError(404, "There is nothing at this address of this port.")
        needs_token = access.guards and not at_admin and path not in self._probes
        if needs_token and not access.knows(headers):
            error = "A token is needed: send the header Authorization: Bearer TOKEN."
            raise HeadedError(401, error, (b"www-authenticate", b"Bearer"))
        return at_admin

    def _handler(self, route: Route, method: str) -> Handler:
        handler = route.post if method == "POST" else route.get if method in ("GET", "HEAD") else None
        if handler is None:
            allowed = "POST" if route.post else "GET, HEAD"
            raise HeadedError(405, f"{method} is not possible here, only {allowed}.", (b"allow", allowed.encode()))
        return handler

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes | None:
        """Return the whole body, or None when the client goes away before it is complete."""
        announced = headers.get(b"content-length", b"")
        if announced.isdigit() and int(announced[:20]) > self._limit:
            raise self._too_large()
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body: bytes = message.get("body", b"")
        if not message.get("more_body"):
            if len(body) > self._limit:
                raise self._too_large()
            return body
        parts = [body]
        size = len(body)
        self.load.half_received += size
        try:
            while message.get("more_body"):
                if size > self._limit:
                    raise self._too_large()
                if self.load.half_received > LARGE_BODIES * self._limit:
                    raise BusyError
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                part = message.get("body", b"")
                parts.append(part)
                size += len(part)
                self.load.half_received += len(part)
        finally:
            self.load.half_received -= size
        if size > self._limit:
            raise self._too_large()
        return b"".join(parts)

    def _too_large(self) -> RefusedError:
        return RefusedError(413, f"The body is larger than the {self.settings.maximum_body_mb:g} MB that are allowed.")

    def _refuse(self, route: Route | None, refusal: RefusedError, request_id: str) -> Answer:
        headers = (refusal.header,) if isinstance(refusal, HeadedError) else ()
        content: dict[str, Any] = {"error": refusal.error}
        if route is None or not route.plain_errors:
            content |= {"details": refusal.details, "request_id": request_id}
        elif refusal.details:
            content["error"] += " " + _sentence(refusal.details[1:])
            content["error"] = content["error"].strip()
        return Answer(self._encoder.encode(content), refusal.status, headers=headers)

    def _refuse_busy(self, route: Route | None, request_id: str) -> Answer:
        refusal = RefusedError(503, "Too many requests wait already. Ask again in a second.")
        answer = self._refuse(route, refusal, request_id)
        return answer._replace(headers=((b"retry-after", b"1"),))

    # ------------------------------------------------------------------ predictions

    async def predict(self, read: Read, request_id: str, version: str | None = None) -> Prediction:
        """Answer the rows of a request: the one way to a prediction, whatever the protocol.

        Args:
            read: reads the rows of the request for a model's schema.
            request_id: is captured with the rows.
            version: of the model that must answer; without it, stable and canary share the requests.

        Raises:
            RefusedError: the request breaks the contract, or (500) the stable model fails.
        """
        deployed = self.models.current
        chosen = deployed.find(version) if version else self.models.choose(deployed)
        if chosen is None:
            raise RefusedError(404, f"Version {version} does not answer now.")
        if version or chosen is deployed.stable:
            return await self._predict_or_fail(chosen, read, request_id)
        try:
            return await self._predict_with(chosen, read, request_id)
        except (ModelError, RefusedError) as error:
            # The same request, answered by the stable model. If that refuses it too, the canary is not to blame.
            answered = await self._predict_or_fail(deployed.stable, read, request_id)
            self.metrics.model_error(chosen)
            self._limited_log.log("canary failed", chosen.version, request_id=request_id, error=str(error))
            return answered

    async def _predict_or_fail(self, model: Model, read: Read, request_id: str) -> Prediction:
        try:
            return await self._predict_with(model, read, request_id)
        except ModelError as error:
            self.metrics.model_error(model)
            self._limited_log.log("model failed", model.version, request_id=request_id, error=str(error))
            raise RefusedError(500, f"The model, version {model.version}, could not answer: {error}.") from error

    async def _predict_with(self, model: Model, read: Read, request_id: str) -> Prediction:
        rows = read(model.schema)
        inputs, entities = model.schema.encode(rows)
        began = time.perf_counter()
        if len(inputs) <= model.rows_in_loop:
            scores = model.scores(inputs)
        else:
            scores = await asyncio.get_running_loop().run_in_executor(self._worker, model.scores, inputs)
        seconds = time.perf_counter() - began
        columns = model.predictor.problem.predictions(scores, model.predictor.signature)
        self.metrics.answer(model, seconds, scores, columns["prediction"])
        self._answered_requests += 1
        self._answered_rows += len(scores)
        if self.capture:
            keys = (entities, model.schema.event_times(rows))
            self.capture.add(request_id, model, keys, model.predictor.problem.watch(inputs), scores)
        return Prediction(model, columns)

    def _json(self, content: Any, prediction: Prediction) -> Answer:
        return Answer(self._encoder.encode(content), headers=prediction.model.headers)

    async def _predict(self, request: Request) -> Answer:
        prediction = await self.predict(lambda schema: schema.from_json(request.body), request.id)
        return self._answer_in_json(prediction, request)

    async def _invocations(self, request: Request) -> Answer:
        def read(schema: Schema) -> Sequence[Any]:
            as_csv = request.content_type == CSV
            return schema.from_csv(request.body) if as_csv else schema.from_wrapped(request.body)

        prediction = await self.predict(read, request.id)
        return self._answer_in_json(prediction, request)

    def _answer_in_json(self, prediction: Prediction, request: Request) -> Answer:
        content = {
            "model_version": prediction.model.version,
            "request_id": request.id,
            "predictions": prediction.rows(),
        }
        return self._json(content, prediction)

    async def _score(self, request: Request) -> Answer:
        prediction = await self.predict(lambda schema: schema.from_wrapped(request.body), request.id)
        return self._json({"predictions": prediction.rows()}, prediction)

    # ------------------------------------------------------------------ KServe's first protocol

    async def _models(self, request: Request) -> Answer:
        return Answer(self._encoder.encode({"models": sorted(self._names)}))

    async def _v1_model(self, request: Request) -> Answer:
        ready = not self.draining
        name = request.path.rpartition("/")[2]
        return Answer(self._encoder.encode({"name": name, "ready": ready}), 200 if ready else 503)

    # ------------------------------------------------------------------ Open Inference Protocol

    async def _v2_server(self, request: Request) -> Answer:
        return Answer(self._encoder.encode(protocols.server_metadata(self.name, self.models.current.stable.version)))

    async def _v2_live(self, request: Request) -> Answer:
        return Answer(b'{"live":true}')

    async def _v2_ready(self, request: Request) -> Answer:
        ready = not self.draining
        content = {"name": self.name, "live": True, "ready": ready}
        return Answer(self._encoder.encode(content), 200 if ready else 503)

    async def _v2_model(self, request: Request) -> Answer:
        deployed = self.models.current
        model = deployed.find(_version(request.path) or deployed.stable.version) or deployed.stable
        versions = [each.version for each in (deployed.stable, deployed.canary) if each]
        metadata = protocols.model_metadata(self.name, versions, model.schema.tensor_inputs(), model.answers)
        return Answer(self._encoder.encode(metadata))

    async def _v2_infer(self, request: Request) -> Answer:
        if b"inference-header-content-length" in request.headers:
            raise RefusedError(
                415, "Binary tensors are not read: send them as JSON (in Triton's client, binary_data=False)."
            )
        content = parse(request.body)
        prediction = await self.predict(lambda schema: schema.from_tensors(content), request.id, _version(request.path))
        outputs = protocols.wanted_outputs(content, prediction.columns)
        answer = protocols.inference_response(self.name, prediction.model.version, content, prediction.columns, outputs)
        return self._json(answer, prediction)

    # ------------------------------------------------------------------ about the service

    async def _live(self, request: Request) -> Answer:
        return Answer(b'{"live":true}')

    async def _ready(self, request: Request) -> Answer:
        models, ready, access = self.models, not self.draining, self.access
        content: dict[str, Any] = {"ready": ready}
        may_know = access.knows(request.headers) if access.guards else access.admin_port is None
        if request.at_admin or may_know:
            in_private = request.at_admin or access.guards or access.tells
            content |= {
                "stable": _role(models.current.stable),
                "canary": _role(models.current.canary, share=models.current.share),
                "deployment": models.deployment,
                "problem": models.problem if in_private or not models.problem else "The service's log tells it.",
            }
        return Answer(self._encoder.encode(content), 200 if ready else 503)

    async def _metrics(self, request: Request) -> Answer:
        return Answer(self.metrics.text(), content_type=CONTENT_TYPE)

    async def _openapi(self, request: Request) -> Answer:
        return Answer(self._encoder.encode(openapi.document(self.name, self.models.current, self.settings)))

    # ------------------------------------------------------------------ beside the requests

    async def refresh(self) -> None:
        """Follow the deployment and the tokens, if they have changed."""
        try:
            if self.access.refresh():
                log("tokens read again", file=self.access.token_file)
        except ProjectError as error:
            self._limited_log.log("tokens refused", str(self.access.token_file), problem=str(error))
        before = self.models.current
        try:
            if not await self.models.refresh():
                return
        except ProjectError as error:
            self.metrics.swap_failures.inc()
            log("deployment refused", problem=str(error))
            return
        current = self.models.current
        self.metrics.show_deployed(current)
        canary = current.canary.version if current.canary else None
        log("models swapped", stable=current.stable.version, before=before.stable.version, canary=canary)

    def close(self) -> None:
        """End the worker thread, and write what is captured."""
        self._worker.shutdown()
        if self.capture:
            self.capture.stop()


def _role(model: Model | None, **more: float) -> dict[str, Any] | None:
    return {"version": model.version, "identity": model.identity} | more if model else None


def _version(path: str) -> str | None:
    parts = path.split("/")
    return parts[5] if len(parts) > 5 and parts[4] == "versions" else None


def _content_type(headers: Mapping[bytes, bytes], accepted: tuple[bytes, ...], unnamed: bytes) -> bytes:
    """Return the kind of the body.

    Args:
        headers: of the request.
        accepted: the kinds that are read here.
        unnamed: what a body is taken for whose kind is not named; nothing: it is refused.

    Raises:
        RefusedError: 415, it is not accepted, or it is compressed or not in UTF-8.
    """
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise RefusedError(415, "Compressed bodies are not accepted.")
    text = headers.get(b"content-type") or unnamed
    if text in accepted:
        return text
    kind, _, more = text.lower().partition(b";")
    kind = kind.strip()
    if kind not in accepted:
        known = b" or ".join(accepted).decode()
        if not kind:
            raise RefusedError(415, f"The request has no Content-Type; accepted is {known}.")
        raise RefusedError(415, f"The content type is {shown(kind.decode('latin-1'))}; accepted is {known}.")
    charset = more.partition(b"charset=")[2].partition(b";")[0].strip(b' "')
    if charset not in (b"", b"utf-8", b"utf8"):
        raise RefusedError(415, "Only UTF-8 is accepted.")
    return kind


def _sentence(details: Iterable[Detail]) -> str:
    """Tell problems in one line, for protocols whose errors are one text."""
    told = [f"row {each['row']}, {each['field'] or 'the row'}: {each['problem']}" for each in details]
    return "Also: " + "; ".join(told) + "." if told else ""
