"""Definitions of SageMaker's pipelines, read strictly: what is not known here is an error.

After AWS's JSON schema 2020-12-01, which has no licence and so is not copied:
https://github.com/aws-sagemaker-mlops/sagemaker-model-building-pipeline-definition-JSON-schema
And after the limits of CreateProcessingJob. Steps of other types can be added when a pipeline has them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from botocore.session import get_session
from botocore.validate import ParamValidator

STEP = re.compile(r"[A-Za-z0-9\-_]{1,64}\Z")
JOB = get_session().get_service_model("sagemaker").operation_model("CreateProcessingJob").input_shape
PARAMETER = "Parameters."
# CreateProcessingJob has a pattern or a length for each; botocore checks neither.
LONGEST = 256  # of an argument and of a value of the environment


class WrongError(ValueError):
    """A definition, or parameters, that SageMaker would refuse."""


def read(text: str) -> dict[str, Any]:
    """Return a definition when every key of it is known and every reference leads somewhere.

    Raises:
        WrongError: something is not so.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise WrongError(f"the definition is no JSON: {error}") from error
    _keys("the definition", content, {"Version", "Parameters", "Steps"}, {"Metadata", "PipelineExperimentConfig"})
    _demand(content["Version"] == "2020-12-01", f"the version is {content['Version']}")
    parameters = {}
    for each in content["Parameters"]:
        _keys("a parameter", each, {"Name", "Type"}, {"DefaultValue"})
        _demand(each["Type"] == "String", f"parameter {each['Name']}: the type {each['Type']} is not known here")
        parameters[each["Name"]] = each.get("DefaultValue", "s")
    before: set[str] = set()
    _demand(bool(content["Steps"]), "there is no step")
    for each in content["Steps"]:
        name = each.get("Name", "")
        _keys(f"step {name}", each, {"Name", "Type", "Arguments"}, {"DependsOn"})
        _demand(bool(STEP.match(name)) and name not in before, f"step {name}: a wrong name, or one that is taken")
        _demand(each["Type"] == "Processing", f"step {name}: the type {each['Type']} is not known here")
        _demand(set(each.get("DependsOn", [])) <= before, f"step {name} depends on what does not come before it")
        job(each, parameters)
        before.add(name)
    return content


def job(step: Mapping[str, Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of a step's job, with every reference resolved, as CreateProcessingJob takes them.

    Raises:
        WrongError: it would not take them.
    """
    arguments = resolve(step["Arguments"], parameters)
    _demand("ProcessingJobName" not in arguments, "SageMaker names the jobs of a pipeline")
    report = ParamValidator().validate({**arguments, "ProcessingJobName": "pipelines-0"}, JOB)
    _demand(not report.has_errors(), f"step {step['Name']}: {report.generate_report()}")
    container = arguments["AppSpecification"]
    texts = [*container["ContainerArguments"], *arguments["Environment"].values()]
    _demand(all(0 < len(text) <= LONGEST for text in texts), f"step {step['Name']}: a text is empty or too long")
    _demand(len(container["ContainerEntrypoint"]) <= 100, f"step {step['Name']}: the entry point is too long")
    return arguments


def resolve(value: Any, parameters: Mapping[str, str]) -> Any:
    """Return a value of a definition with its functions, Get and Std:Join, replaced by what they give."""
    if isinstance(value, list):
        return [resolve(each, parameters) for each in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Get"}:
        name = value["Get"].removeprefix(PARAMETER)
        _demand(value["Get"].startswith(PARAMETER) and name in parameters, f"nothing is called {value['Get']}")
        return parameters[name]
    if set(value) == {"Std:Join"}:
        _keys("Std:Join", value["Std:Join"], {"On", "Values"}, set())
        return str(value["Std:Join"]["On"]).join(resolve(value["Std:Join"]["Values"], parameters))
    return {key: resolve(each, parameters) for key, each in value.items()}


def _keys(what: str, found: Mapping[str, Any], needed: set[str], allowed: set[str]) -> None:
    _demand(needed <= set(found) <= needed | allowed, f"{what} has the keys {sorted(found)}")


def _demand(held: bool, otherwise: str) -> None:
    if not held:
        raise WrongError(otherwise)
