"""The runner for Azure Pipelines against the tables and examples of Microsoft's documentation.

The pages are those below https://learn.microsoft.com/azure/devops/pipelines/process/ that each section names.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from .hosts.azure_pipelines import Execution, Run, RunError, Server, Source, TemplateError, compile_pipeline, stand_ins
from .hosts.azure_pipelines.expressions import Context, ExpressionError, Version, evaluate
from .project import GIT

Go = Callable[..., Run]


# ----------------------------------------------------------------------------- expressions (expressions.md)

LETTERS = Context(
    {
        "variables": {"letters": "ABC", "numbers": "123", "empty": "", "Build.Reason": "Manual"},
        "foo": [{"id": 1, "a": "avalue1"}, {"id": 2, "a": "avalue2"}, {"id": 3, "a": "avalue3"}],
        "object": {"one": "x", "two": "Y"},
    }
)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        # Literals
        ("true", True), ("FALSE", False), ("-1.2", -1.2), (".5", 0.5),
        ("'a b c'", "a b c"), ("1.2.3", Version((1, 2, 3))),
        ("'It''s OK if they''re using contractions.'", "It's OK if they're using contractions."),
        ("variables['noSuch']", None), ("variables.LETTERS", "ABC"), ("variables['build.reason']", "Manual"),
        # The example of each function
        ("and(eq(variables.letters, 'ABC'), eq(variables.numbers, 123))", True),
        ("coalesce(variables.couldBeNull, variables.empty, 'literal so it works')", "literal so it works"),
        ("contains('ABCDE', 'BCD')", True), ("contains('ABCDE', 'bcd')", True), ("contains('ABCDE', 'XY')", False),
        ("endsWith('ABCDE', 'DE')", True), ("startsWith('ABCDE', 'AB')", True), ("startsWith('ABCDE', 'ab')", True),
        ("format('Hello {0} {1}', 'John', 'Doe')", "Hello John Doe"),
        ("format('literal left {{ and literal right brace }}')", "literal left { and literal right brace }"),
        ("ge(5, 5)", True), ("gt(5, 2)", True), ("le(2, 2)", True), ("lt(2, 5)", True), ("ne(1, 2)", True),
        ("in('B', 'A', 'B', 'C')", True), ("notIn('D', 'A', 'B', 'C')", True), ("not(eq(1, 2))", True),
        ("or(eq(1, 1), eq(2, 3))", True), ("xor(True, False)", True), ("xor(True, True)", False),
        ("join(';', foo.*.a)", "avalue1;avalue2;avalue3"), ("join(';', 'x')", "x"), ("join('-', foo)", "--"),
        ("length('fabrikam')", 8), ("length(foo)", 3), ("lower('FOO')", "foo"), ("upper('bah')", "BAH"),
        ("replace('https://www.tinfoilsecurity.com/saml/consume', 'https://www.tinfoilsecurity.com', 'http://server')",
         "http://server/saml/consume"),
        ("split('a;b,c', ';,')", ["a", "b", "c"]), ("trim('  variable  ')", "variable"), ("iif(true, 'a', 'b')", "a"),
        ("containsValue(foo.*.a, 'AVALUE2')", True),
        ("containsValue(object, 'y')", True), ("containsValue(object, 'z')", False),
        ("foo.*.id", [1, 2, 3]), ("foo[1].a", "avalue2"), ("foo[9]", None),
        # Equality: the right side is converted to the type of the left; a failed conversion is unequal
        ("eq('a', 'A')", True), ("eq(true, 'False')", True), ("eq('true', true)", True), ("eq('false', false)", True),
        ("eq(variables.nothing, '')", True), ("eq(variables.nothing, 'x')", False),
        ("eq(0, '')", True), ("eq(1, '1')", True),
        ("eq(1000, '1,000')", True), ("eq(1, 'x')", False), ("ne(1, 'x')", True), ("eq('', variables.nothing)", True),
        ("eq('1.5', 1.5)", True), ("eq(1.2.3, '1.2.3')", True), ("eq(1.2.3, 'x')", False), ("eq(true, 1)", True),
        ("gt(10, '9')", True), ("gt('10', '9')", False), ("lt(1.2.3, '1.10.0')", True),
        # Casts to Boolean and to String
        ("not('')", True), ("not('false')", False), ("not(0)", True),
        ("not(variables.nothing)", True), ("not(1.2.3)", False),
        ("format('{0}|{1}|{2}|{3}|{4}', true, variables.nothing, 1.5, 2, 1.2.3)", "True||1.5|2|1.2.3"),
    ],
)  # fmt: skip
def test_expressions(expression: str, value: Any) -> None:
    assert evaluate(expression, LETTERS) == value


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("lt(1, 'x')", "cannot compare"),
        ("unknown(1)", "unknown function 'unknown'"),
        ("secrets.x", "unrecognized value 'secrets'"),
        ("eq(1)", "eq takes 2 to 2 arguments, not 1"),
        ("and(true)", "and takes 2"),
        ('eq("a", 1)', "unexpected"),
        ("eq(1, 2", "expected"),
        ("1 2", "unexpected '2'"),
        ("format('{0:yyyyMMdd}', 'x')", "has no argument"),
        ("succeeded()", "unknown function"),  # only in conditions
    ],
)
def test_expressions_that_are_refused(expression: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message.replace("(", r"\(")):
        evaluate(expression, LETTERS)


def test_and_or_coalesce_stop_early() -> None:
    for expression in ("and(false, lt(1, 'x'))", "or(true, lt(1, 'x'))", "coalesce('a', lt(1, 'x'))"):
        evaluate(expression, LETTERS)


# ------------------------------------------------------- template expressions, parameters, templates (templates.md)


def expanded(folder: Path, files: Mapping[str, str], variables: Mapping[str, str] | None = None, **given: Any) -> Any:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return compile_pipeline(folder, "azure-pipelines.yml", given, variables)


def steps(folder: Path, text: str, **given: Any) -> list[Any]:
    found: list[Any] = expanded(folder, {"azure-pipelines.yml": text}, **given)["stages"][0]["jobs"][0]["steps"]
    return found


def test_if_elseif_else(tmp_path: Path) -> None:
    text = """
variables:
  - name: foo
    value: fabrikam
steps:
- script: echo "start"
- ${{ if eq(variables.foo, 'adaptum') }}:
  - script: echo "this is adaptum"
- ${{ elseif eq(variables.foo, 'contoso') }}:
  - script: echo "this is contoso"
- ${{ else }}:
  - script: echo "the value is not adaptum or contoso"
  - script: ${{ if true }}
"""
    text = text.replace("  - script: ${{ if true }}\n", "")
    shown = [step["script"] for step in steps(tmp_path, text)]
    assert shown == ['echo "start"', 'echo "the value is not adaptum or contoso"']
    shown = [step["script"] for step in steps(tmp_path, text.replace("fabrikam", "contoso"))]
    assert shown == ['echo "start"', 'echo "this is contoso"']


def test_if_in_a_mapping_and_insert(tmp_path: Path) -> None:
    text = """
parameters:
- {name: debug, type: boolean, default: false}
- {name: additional, type: object, default: {arch: x64, os: linux}}
jobs:
- job: build
  variables:
    configuration: debug
    ${{ insert }}: ${{ parameters.additional }}
    ${{ if eq(parameters.debug, true) }}:
      verbose: "yes"
    ${{ else }}:
      verbose: "no"
  steps:
  - script: echo ${{ variables.arch }} ${{ variables.verbose }}
"""
    job = expanded(tmp_path, {"azure-pipelines.yml": text})["stages"][0]["jobs"][0]
    assert {each["name"]: each["value"] for each in job["variables"]} == {
        "configuration": "debug", "arch": "x64", "os": "linux", "verbose": "no",
    }  # fmt: skip
    assert job["steps"] == [{"script": "echo x64 no"}]
    job = expanded(tmp_path, {"azure-pipelines.yml": text}, debug="true")["stages"][0]["jobs"][0]
    assert job["steps"] == [{"script": "echo x64 yes"}]


def test_each(tmp_path: Path) -> None:
    text = """
parameters:
- name: listOfStrings
  type: object
  default: [one, two]
- name: listOfFruits
  type: object
  default:
  - fruitName: apple
    colors: [red, green]
  - fruitName: lemon
    colors: [yellow]
- name: env
  type: object
  default: {A: 1, B: 2}
steps:
- ${{ each value in parameters.listOfStrings }}:
  - script: echo ${{ value }}
- ${{ each fruit in parameters.listOfFruits }}:
  - ${{ each fruitColor in fruit.colors }}:
    - script: echo ${{ fruit.fruitName }} ${{ fruitColor }}
- script: env
  env:
    ${{ each pair in parameters.env }}:
      X_${{ pair.key }}: ${{ pair.value }}
"""
    found = steps(tmp_path, text)
    assert [step["script"].removeprefix("echo ") for step in found[:-1]] == [
        "one", "two", "apple red", "apple green", "lemon yellow",
    ]  # fmt: skip
    assert found[-1]["env"] == {"X_A": "1", "X_B": "2"}


PARAMETERS = """
parameters:
- {name: myString, type: string, default: a string}
- {name: myMultiString, type: string, default: default, values: [default, ubuntu]}
- {name: myNumber, type: number, default: 2, values: [1, 2, 4, 8, 16]}
- {name: myBoolean, type: boolean, default: true}
- {name: must, type: string}
- {name: mySteps, type: stepList, default: [{script: echo step one}]}
steps:
- script: echo ${{ parameters.myString }} ${{ parameters.myNumber }} ${{ parameters.myBoolean }} ${{ parameters.must }}
- ${{ parameters.mySteps }}
"""


def test_parameters(tmp_path: Path) -> None:
    shown = [step["script"] for step in steps(tmp_path, PARAMETERS, must="x", myNumber="16")]
    assert shown == ["echo a string 16 True x", "echo step one"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "a value for the 'must' parameter must be provided"),
        ({"must": "x", "other": "y"}, "unexpected parameter 'other'"),
        ({"must": "x", "myMultiString": "mac"}, "'myMultiString' is not one of default, ubuntu"),
        ({"must": "x", "myNumber": "3"}, "'myNumber' is not one of"),
        ({"must": "x", "myNumber": "many"}, "'myNumber' is no number"),
        ({"must": "x", "myBoolean": "1"}, "'myBoolean' is no boolean"),
        ({"must": ["x"]}, "'must' is no string"),
        ({"must": "x", "mySteps": "echo"}, "'mySteps' is no list"),
    ],
)
def test_parameters_that_are_refused(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=message):
        steps(tmp_path, PARAMETERS, **given)


TREE = {
    "azure-pipelines.yml": """
variables:
- template: vars/common.yml
  parameters: {region: west}
- name: after
  value: ${{ variables.place }}!
stages:
- template: templates/stage.yml
  parameters:
    name: build
    pre: [{script: echo pre}]
""",
    "vars/common.yml": """
parameters: [{name: region, type: string}]
variables:
- {name: place, value: "${{ parameters.region }}-europe"}
""",
    "templates/stage.yml": """
parameters:
- {name: name, type: string}
- {name: pre, type: stepList, default: []}
stages:
- stage: ${{ parameters.name }}
  variables: {inner: stage}
  jobs:
  - template: jobs/job.yml   # beside this file
    parameters: {pre: "${{ parameters.pre }}"}
""",
    "templates/jobs/job.yml": """
parameters: [{name: pre, type: stepList}]
jobs:
- job: A
  steps:
  - ${{ parameters.pre }}
  - template: /templates/steps.yml   # from the root of the repository
""",
    "templates/steps.yml": "steps: [{script: 'echo ${{ variables.place }} ${{ variables.inner }}'}]",
}


def test_templates(tmp_path: Path) -> None:
    document = expanded(tmp_path, TREE)
    assert document["variables"] == [
        {"name": "place", "value": "west-europe"}, {"name": "after", "value": "west-europe!"},
    ]  # fmt: skip
    assert document["stages"][0]["stage"] == "build"
    assert document["stages"][0]["jobs"][0]["steps"] == [{"script": "echo pre"}, {"script": "echo west-europe stage"}]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("templates/steps.yml", "steps:", "jobs:", "expected steps alone"),
        ("vars/common.yml", "name: region", "name: zone", "unexpected parameter 'region'"),
        ("templates/stage.yml", "jobs/job.yml", "jobs/none.yml", "no such file"),
        ("azure-pipelines.yml", "name: build", "nmae: build", "unexpected parameter 'nmae'"),
        ("azure-pipelines.yml", "variables:", "trigger: [\"${{ 'x' }}\"]\nvariables:", "not allowed in trigger"),
        ("templates/steps.yml", "'echo", "&anchor 'echo", "."),
        ("templates/stage.yml", "variables: {inner: stage}", "jobs: []", "'jobs' is already defined"),
        ("templates/jobs/job.yml", "- ${{ parameters.pre }}", "- ${{ else }}: [{script: x}]", "else without if"),
    ],
)
def test_templates_that_are_refused(file: str, old: str, new: str, message: str, tmp_path: Path) -> None:
    text = TREE[file].replace(old, new)
    if "&anchor" in new:
        text = "steps: [&a {script: x}, *a]"
        message = "anchors and aliases"
    with pytest.raises(TemplateError, match=message):
        expanded(tmp_path, {**TREE, file: text})


def test_extends(tmp_path: Path) -> None:
    files = {
        "start.yml": """
parameters:
- {name: buildSteps, type: stepList, default: []}
stages:
- stage: secure_buildstage
  jobs:
  - job: secure_buildjob
    steps:
    - script: echo This happens before code
    - ${{ each step in parameters.buildSteps }}:
      - ${{ each pair in step }}:
          ${{ pair.key }}: ${{ pair.value }}
    - script: echo This happens after code
""",
        "azure-pipelines.yml": """
trigger: [main]
extends:
  template: start.yml
  parameters:
    buildSteps:
    - bash: echo Test
      displayName: Test
""",
    }
    document = expanded(tmp_path, files)
    assert document["trigger"] == ["main"]
    assert document["stages"][0]["jobs"][0]["steps"][1] == {"bash": "echo Test", "displayName": "Test"}


def test_predefined_variables_are_known_in_templates(tmp_path: Path) -> None:
    text = "steps: [{\"${{ if eq(variables['Build.Reason'], 'Schedule') }}\": [{script: a}]}, {script: b}]"
    files = {"azure-pipelines.yml": text}
    shown = expanded(tmp_path, files, {"Build.Reason": "Schedule"})["stages"][0]["jobs"][0]["steps"]
    assert shown == [{"script": "a"}, {"script": "b"}]
    assert expanded(tmp_path, files)["stages"][0]["jobs"][0]["steps"] == [{"script": "b"}]


# ------------------------------------------------------------------------------------------------ running


@pytest.fixture
def go(tmp_path: Path) -> Go:
    """Return a function that runs a pipeline's text on a little repository."""
    repository = tmp_path / "repository"
    repository.mkdir()

    def git(*words: str) -> str:
        return subprocess.run([*GIT, *words], cwd=repository, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet", "--initial-branch=main")
    git("config", "uploadpack.allowAnySHA1InWant", "true")
    for text in ("one", "two"):
        (repository / "file.txt").write_text(text)
        git("add", ".")
        git("commit", "--quiet", f"--message={text}")
    source = Source(str(repository), "refs/heads/main", git("rev-parse", "HEAD"))

    def run(text: str, given: Mapping[str, Any] | None = None, server: Server | None = None, **settings: Any) -> Run:
        server = server or Server(tmp_path / "server", dict(os.environ), stand_ins(), **settings)
        files = {"azure-pipelines.yml": text}
        document = expanded(tmp_path / "pipeline", files, None, **(given or {}))
        predefined = {
            "Build.SourceBranch": "refs/heads/main",
            "Build.DefinitionName": "p",
            "System.AccessToken": "t0ken",
        }
        return Execution(document, server, source, predefined).go()

    return run


def test_macro_template_and_runtime_variables(go: Go) -> None:
    """variables.md, "Understand variable syntax"."""
    run = go("""
variables:
- {name: one, value: initialValue}
- {name: isMain, value: "$[eq(variables['Build.SourceBranch'], 'refs/heads/main')]"}
- {name: missing, value: "$[variables.nothing]"}
- {name: nested, value: "in $(one)"}
steps:
- checkout: none
- script: echo ${{ variables.one }} $(one) $(ONE) $(isMain) [$(missing)] $(nested) '$(nothing)' $ONE
- bash: echo "##vso[task.setvariable variable=one]secondValue"
- script: echo ${{ variables.one }} $(one) $(nested)
""")
    steps = run.stages["__default"].jobs["Job"].steps
    assert steps[1].log == "initialValue initialValue initialValue True [] in initialValue $(nothing) initialValue"
    assert steps[3].log == "initialValue secondValue in secondValue"


def test_scopes_of_variables(go: Go) -> None:
    """variables.md, "Variable scopes"."""
    run = go("""
variables: {where: root, root: r}
stages:
- stage: S
  variables: {where: stage, stage: s}
  jobs:
  - job: J
    variables: {where: job, job: j}
    steps: [{checkout: none}, {script: "echo $(where) $(root)$(stage)$(job) $WHERE"}]
  - job: K
    steps: [{checkout: none}, {script: "echo $(where) '$(job)'"}]
- stage: T
  jobs: [{job: L, steps: [{checkout: none}, {script: "echo $(where) '$(stage)'"}]}]
""")
    shown = {name: job.steps[1].log for stage in run.stages.values() for name, job in stage.jobs.items()}
    assert shown == {"J": "job rsj job", "K": "stage $(job)", "L": "root $(stage)"}


def test_secrets(go: Go) -> None:
    """set-secret-variables.md: not in the environment unless mapped, and masked in the log."""
    run = go(
        """
variables: [{group: vault}]
steps:
- checkout: none
- script: echo "env=[$KEY] macro=$(key) mapped=$MAPPED plain=$PLAIN token=[$SYSTEM_ACCESSTOKEN]"
  env: {MAPPED: $(key), OTHER: $(System.AccessToken)}
- script: echo "##vso[task.setvariable variable=made;isSecret=true]s3cret-made"
- script: echo "[$MADE] $(made)"
- script: echo "##vso[task.setvariable variable=made]s3cret-again"
- script: echo "[$MADE] $(made)"
""",
        groups={"vault": {"key": "s3cret", "plain": "p"}},
        secrets=frozenset({"key"}),
    )
    logs = [step.log for step in run.stages["__default"].jobs["Job"].steps]
    assert logs[1] == "env=[] macro=*** mapped=*** plain=p token=[]"
    assert logs[3] == "[] ***"
    assert logs[5] == "[] ***"


CONDITIONS = """
jobs:
- job: J
  steps:
  - checkout: none
  - script: exit 1
    name: breaks
  - {script: "true", name: default}
  - {script: "true", name: succeeded, condition: succeeded()}
  - {script: "true", name: failed, condition: failed()}
  - {script: "true", name: always, condition: always()}
  - {script: "true", name: either, condition: succeededOrFailed()}
  - {script: "true", name: custom, condition: "eq(variables['Build.SourceBranch'], 'refs/heads/main')"}
  - {script: "true", name: custom2, condition: "and(succeeded(), ne(variables['Build.Reason'], 'x'))"}
  - {script: "true", name: status, condition: "eq(variables['Agent.JobStatus'], 'Failed')"}
  - {script: "true", name: disabled, condition: always(), enabled: false}
"""


def ran(run: Run, job: str = "__default/J") -> list[str]:
    stage, name = job.split("/")
    steps = run.stages[stage].jobs[name].steps
    return [step.name for step in steps if step.result != "Skipped" and not step.name.startswith("checkout")]


def test_conditions_of_steps(go: Go) -> None:
    """conditions.md, and its table of settings."""
    after_failure = go(CONDITIONS)
    assert ran(after_failure) == ["breaks", "failed", "always", "either", "custom", "status"]
    assert after_failure.result == "failed"
    well = go(CONDITIONS.replace("exit 1", "true"))
    assert ran(well) == ["breaks", "default", "succeeded", "always", "either", "custom", "custom2"]
    # A cancelled run: only what does not ask for success, or asks for nothing but always().
    canceled = go(CONDITIONS.replace("exit 1", "true"), cancel=lambda step: step == "breaks")
    assert ran(canceled) == ["breaks", "always", "custom"]
    assert canceled.result == "canceled"


def test_continue_on_error_and_the_worst_outcome(go: Go) -> None:
    """runs.md, "State and conditions"; steps.*.continueOnError."""
    run = go("""
jobs:
- job: J
  steps: [{checkout: none}, {script: exit 1, continueOnError: true}, {script: echo on, name: on}]
- job: K
  continueOnError: true
  steps: [{checkout: none}, {script: exit 1}]
- job: L
  dependsOn: [J, K]
  condition: eq(dependencies.J.result, 'SucceededWithIssues')
  steps: [{checkout: none}, {script: "true"}]
""")
    assert run.results() == {
        "__default": "SucceededWithIssues", "__default/J": "SucceededWithIssues",
        "__default/K": "SucceededWithIssues", "__default/L": "Succeeded",
    }  # fmt: skip
    assert run.result == "partiallySucceeded"


JOBS = """
jobs:
- job: a
  condition: false
  steps: [{checkout: none}, {script: echo Job A}]
- job: b
  steps: [{checkout: none}, {script: echo Job B}]
- job: c
  dependsOn: [a, b]
  condition: |
    and
    (
      in(dependencies.a.result, 'Succeeded', 'SucceededWithIssues', 'Skipped'),
      in(dependencies.b.result, 'Succeeded', 'SucceededWithIssues', 'Skipped')
    )
  steps: [{checkout: none}, {script: echo Job C}]
- job: d
  dependsOn: [a, b]
  steps: [{checkout: none}, {script: echo not reached}]
- job: e
  dependsOn: d
  condition: succeededOrFailed()
  steps: [{checkout: none}, {script: echo Job E}]
- job: f
  dependsOn: e
  steps: [{checkout: none}, {script: echo not reached}]
- job: g
  dependsOn: [a, b]
  condition: and(succeeded('b'), not(failed()))
  steps: [{checkout: none}, {script: echo Job G}]
"""


def test_conditions_of_jobs(go: Go) -> None:
    """expressions.md, "Dependencies"; indirect dependencies count, by which f is skipped."""
    results = go(JOBS).results()
    assert {name[-1]: result for name, result in results.items() if "/" in name} == {
        "a": "Skipped", "b": "Succeeded", "c": "Succeeded", "d": "Skipped", "e": "Succeeded", "f": "Skipped",
        "g": "Succeeded",
    }  # fmt: skip
    failing = go(JOBS.replace("echo Job B", "exit 1")).results()
    assert failing["__default/c"] == "Skipped"
    assert failing["__default/g"] == "Skipped"
    assert failing["__default"] == "Failed"


def test_the_order_of_stages_and_jobs(go: Go) -> None:
    """stages.md: without dependsOn a stage waits for the one before it; jobs wait for none."""
    text = """
stages:
- stage: Test
  jobs: [{job: t, steps: [{checkout: none}, {script: "exit 1"}]}]
- stage: DeployUS1
  dependsOn: Test
  jobs: [{job: u, steps: [{checkout: none}]}]
- stage: Apart
  dependsOn: []
  jobs: [{job: p, dependsOn: q, steps: [{checkout: none}]}, {job: q, steps: [{checkout: none}]}]
- stage: Then
  jobs: [{job: n, steps: [{checkout: none}]}]
- stage: Rollback
  dependsOn: [DeployUS1, Test]
  condition: failed('Test')
  jobs: [{job: r, steps: [{checkout: none}]}]
"""
    run = go(text)
    assert {name: stage.result for name, stage in run.stages.items()} == {
        "Test": "Failed", "DeployUS1": "Skipped", "Apart": "Succeeded", "Then": "Succeeded", "Rollback": "Succeeded",
    }  # fmt: skip
    assert list(run.stages["Apart"].jobs) == ["q", "p"]
    for old, new, message in (
        ("dependsOn: Test", "dependsOn: Tset", "unknown Tset"),
        ("dependsOn: []", "dependsOn: Then", "circle"),
        ("stage: Then", "stage: Apart", "unique|same name"),
        ("job: t,", "job: t, jobs: [],", "unexpected 'jobs'"),
    ):
        with pytest.raises(RunError, match=message):
            go(text.replace(old, new))


def test_outputs_across_steps_jobs_and_stages(go: Go) -> None:
    """variables.md, "Set an output variable for use in the same job / in future jobs / in future stages"."""
    run = go("""
stages:
- stage: A
  jobs:
  - job: A1
    steps:
    - checkout: none
    - bash: echo "##vso[task.setvariable variable=myStageVal;isOutput=true]this is a stage output var"
      name: MyOutputVar
    - bash: echo "$(MyOutputVar.myStageVal) / $MYOUTPUTVAR_MYSTAGEVAL /" '$(myStageVal)'
  - job: A2
    dependsOn: A1
    variables:
      fromA1: $[ dependencies.A1.outputs['MyOutputVar.myStageVal'] ]
    steps: [{checkout: none}, {script: echo $(fromA1)}]
- stage: B
  dependsOn: A
  condition: eq(dependencies.A.outputs['A1.MyOutputVar.myStageVal'], 'this is a stage output var')
  variables:
    myVarfromStageA: $[ stageDependencies.A.A1.outputs['MyOutputVar.myStageVal'] ]
  jobs:
  - job: B1
    condition: eq(stageDependencies.A.A1.result, 'Succeeded')
    steps: [{checkout: none}, {script: echo $(myVarfromStageA)}]
- stage: C   # depends on B alone: A's outputs are out of reach
  variables:
    lost: $[ stageDependencies.A.A1.outputs['MyOutputVar.myStageVal'] ]
  jobs: [{job: C1, steps: [{checkout: none}, {script: "echo [$(lost)]"}]}]
""")
    shown = "this is a stage output var"
    jobs = {name: job for stage in run.stages.values() for name, job in stage.jobs.items()}
    assert jobs["A1"].steps[2].log == f"{shown} / {shown} / $(myStageVal)"
    assert jobs["A2"].steps[1].log == shown
    assert jobs["B1"].steps[1].log == shown
    assert jobs["C1"].steps[1].log == "[]"


DEPLOYMENT = """
stages:
- stage: Build
  jobs: [{job: b, steps: [{script: echo built > built.txt}, {publish: built.txt, artifact: drop}]}]
- stage: Production
  jobs:
  - deployment: A
    environment: production
    strategy:
      runOnce:
        preDeploy: {steps: [{script: echo pre}]}
        deploy:
          steps:
          - bash: echo "##vso[task.setvariable variable=out;isOutput=true]v"; cat ../drop/built.txt; ls -A
            name: setvarStep
        postRouteTraffic: {steps: [{script: "true"}]}
        on:
          failure: {steps: [{script: echo Restore from backup}]}
          success: {steps: [{script: echo Notify}]}
  - job: B
    dependsOn: A
    variables: {fromA: "$[ dependencies.A.outputs['A.setvarStep.out'] ]"}
    steps: [{checkout: none}, {script: echo $(fromA)}]
"""


def test_deployment_jobs(go: Go) -> None:
    """deployment-jobs.md: hooks in order, no checkout, artifacts fetched unasked, outputs under the job's name."""
    run = go(DEPLOYMENT)
    jobs = run.stages["Production"].jobs
    assert [step.log for step in jobs["A"].steps] == [
        "pre", "", "##vso[task.setvariable variable=out;isOutput=true]v\nbuilt", "", "Notify",
    ]  # fmt: skip
    assert jobs["B"].steps[1].log == "v"
    assert run.deployments == ["production"]
    broken = go(DEPLOYMENT.replace('steps: [{script: "true"}]', "steps: [{script: exit 1}]"))
    assert broken.stages["Production"].jobs["A"].steps[-1].log == "Restore from backup"
    assert broken.results()["Production/B"] == "Skipped"


def test_approval_of_environments(go: Go) -> None:
    """approvals.md: all checks of a stage come before it; if one is refused the stage is not executed."""
    asked: list[str] = []

    def approve(environment: str) -> bool:
        asked.append(environment)
        return environment != "production"

    run = go(DEPLOYMENT, approve=approve)
    assert asked == ["production"]
    assert run.stages["Production"].jobs == {}
    assert run.deployments == []
    assert run.result == "failed"
    skipped = go(DEPLOYMENT.replace("echo built > built.txt", "exit 1"), approve=approve)
    assert skipped.stages["Production"].result == "Skipped"
    assert asked == ["production"], "a stage that does not run asks nobody"


CONNECTED = """
jobs:
  - job: A
    steps:
      - {checkout: none}
      - {task: any@1, condition: false, inputs: {serviceEndpoint: mine}}
      - {script: echo $(System.OidcRequestUri)}
  - job: B
    steps: [{checkout: none}, {script: echo $(System.OidcRequestUri)}]
"""


def test_service_connections(go: Go) -> None:
    """approvals.md: they have checks as environments have; a job may ask for the tokens of those that it uses."""
    run = go(
        CONNECTED,
        tokens=lambda pipeline, connections: f"http://host.invalid/{'-'.join(connections)}",
    )
    jobs = run.stages["__default"].jobs
    assert [jobs[name].steps[-1].log for name in "AB"] == ["http://host.invalid/mine", "http://host.invalid/"]
    refused = go(CONNECTED, approve=lambda resource: resource != "mine")
    assert refused.result == "failed"
    assert refused.stages["__default"].jobs == {}, "the step that names it need not be one that runs"


def test_logging_commands(go: Go) -> None:
    """scripts/logging-commands.md."""
    run = go("""
steps:
- bash: |
    echo "##vso[task.logissue type=warning;sourcepath=a.py;linenumber=1]mind%0Athis"
    echo "##vso[task.logissue type=error]bad"
    mkdir tool; printf '#!/bin/sh\\necho tool ran\\n' > tool/mine; chmod +x tool/mine
    echo "##vso[task.prependpath]$PWD/tool"
    echo "# Summary" > page.md
    echo "##vso[task.uploadsummary]$PWD/page.md"
    echo "##vso[build.addbuildtag]green"
    echo "##vso[task.setvariable variable=lines]a%0Ab%AZP25"
  name: talks
- bash: mine; printf '%s' "$LINES_SEEN"
  env: {LINES_SEEN: $(lines)}
- bash: echo "##vso[task.complete result=SucceededWithIssues]done"
- bash: echo "##vso[task.complete result=Failed]no"
- bash: echo never
""")
    steps = run.stages["__default"].jobs["Job"].steps
    assert [step.result for step in steps[1:]] == [
        "Succeeded", "Succeeded", "SucceededWithIssues", "Failed", "Skipped",
    ]  # fmt: skip
    assert run.records.issues == [("warning", "mind\nthis"), ("error", "bad")]
    assert run.records.summaries == ["# Summary\n"]
    assert run.records.tags == ["green"]
    assert steps[2].log == "tool ran\na\nb%"
    with pytest.raises(RunError, match=r"unknown logging command task\.nonsense"):
        go('steps: [{checkout: none}, {bash: "echo \\"##vso[task.nonsense]\\""}]')


def test_a_script_goes_on_after_an_error(go: Go) -> None:
    """steps.script: the last command's exit code counts."""
    assert go("steps: [{script: 'false\n\n\n  true'}]").result == "succeeded"
    assert go("steps: [{script: 'true\n\n\n  false'}]").result == "failed"


def test_checkout_on_hosted_machines_and_on_ones_own(go: Go, tmp_path: Path) -> None:
    """steps.checkout: one commit unless fetchDepth says otherwise; `clean` matters where the folder is kept."""
    text = "{pool}\nsteps: [{{checkout: self{more}}}, {{script: 'git rev-list --count HEAD; ls -A; echo x > left'}}]"

    def shown(pool: str, more: str, server: Server | None = None) -> list[str]:
        run = go(text.format(pool=pool, more=more), None, server)
        return run.stages["__default"].jobs["Job"].steps[1].log.split()

    assert shown("", "") == ["1", ".git", "file.txt"]
    assert shown("", ", fetchDepth: 0") == ["2", ".git", "file.txt"]
    own = Server(tmp_path / "own", dict(os.environ), stand_ins(), pools=frozenset({"mine"}))
    mine = "pool: {name: mine}"
    assert shown(mine, "", own) == ["1", ".git", "file.txt"]
    assert shown(mine, ", clean: false", own) == ["1", ".git", "file.txt", "left"]
    assert shown(mine, ", clean: true", own) == ["1", ".git", "file.txt"]
    assert shown("variables: {P: mine}\npool: {name: $(P)}", ", clean: false", own)[-1] == "left"
    with pytest.raises(RunError, match="Could not find a pool with name other"):
        shown("pool: other", "", own)


def test_artifacts(go: Go) -> None:
    run = go("""
stages:
- stage: A
  jobs:
  - job: a
    steps:
    - script: mkdir out; echo 1 > out/one.txt
    - {publish: out, artifact: results}
    - {publish: none, artifact: other, condition: succeededOrFailed(), continueOnError: true}
- stage: B
  jobs:
  - job: b
    steps: [{checkout: none}, {download: current, artifact: results}, {script: cat ../results/one.txt}]
""")
    assert run.stages["B"].jobs["b"].steps[2].log == "1"
    assert run.stages["A"].result == "SucceededWithIssues"
    assert (run.records.artifacts / "results/one.txt").read_text() == "1\n"
    twice = "steps: [{script: echo > x}, {publish: x, artifact: r}, {publish: x, artifact: r}]"
    assert "Artifact r already exists" in go(twice).log()


def test_tasks_check_what_they_are_given(go: Go, tmp_path: Path) -> None:
    text = """
steps:
- task: Cache@2
  inputs: {{key: '{key}', path: kept, restoreKeys: '{restore}'}}
- script: cat kept/x; mkdir -p kept; echo was > kept/x
- task: PublishTestResults@2
  inputs: {{testResultsFormat: JUnit, testResultsFiles: "none/*.xml"}}
"""
    server = Server(tmp_path / "kept", dict(os.environ), stand_ins())
    shown = [
        go(text.format(key=key, restore=restore), None, server).stages["__default"].jobs["Job"].steps[2].log
        for key, restore in (
            ('a | "Linux" | file.txt', ""), ('a | "Linux" | file.txt', ""), ("a | one", ""), ("a | two", "a"),
        )
    ]  # fmt: skip
    assert ["was" in log for log in shown] == [False, True, False, True]
    missing = go(text.format(key="a | uv.lock", restore=""), None, server)
    assert "No matching files found for pattern: uv.lock" in missing.log()
    assert "Input required: path" in go("steps: [{task: Cache@2, inputs: {key: x}}]").log()
    with pytest.raises(RunError, match="no stand-in for the task Someone"):
        go("steps: [{task: SomeonesTask@1, inputs: {}}]")
    with pytest.raises(RunError, match="unexpected 'shell' in script"):
        go("steps: [{script: x, shell: bash}]")
    own = Server(tmp_path / "own", dict(os.environ), stand_ins(), pools=frozenset({"mine"}))
    python = "pool: mine\nsteps: [{task: UsePythonVersion@0, inputs: {versionSpec: '3.12'}}]"
    assert "did not match any version" in go(python, None, own).log()


def test_groups_must_exist(go: Go) -> None:
    with pytest.raises(RunError, match="Variable group none could not be found"):
        go("variables: [{group: none}]\nsteps: [{script: x}]")


def test_the_examples_are_yaml() -> None:
    """The texts above would else prove less than they seem to."""
    for text in (CONDITIONS, JOBS, DEPLOYMENT, PARAMETERS, *TREE.values()):
        assert isinstance(yaml.safe_load(text), dict)
