"""From a training, staging or change identity no path leads to what production runs, nor a change's to the data.

What Terraform writes is evaluated as Azure does it: the conditions of rights to blobs, and the actions of roles.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from commands.rendering import TEMPLATE
from tests.support.azure.roles import FILE, allows, read_roles
from tests.support.tools import need

BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
LEARNING = "Microsoft.MachineLearningServices/workspaces"
LAST, FIRST = "production", "staging"
OTHERS = ("plan", "train", "training", f"deploy/{FIRST}", f"serving/{FIRST}")
BUILT_IN = {  # https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
    "Reader": ["*/read"],
    "Log Analytics Reader": ["*/read", "Microsoft.OperationalInsights/workspaces/search/action"],
    "AcrPull": ["Microsoft.ContainerRegistry/registries/pull/read"],
    "AcrPush": [f"Microsoft.ContainerRegistry/registries/{each}" for each in ("pull/read", "push/write")],
    "Managed Identity Operator": [
        f"Microsoft.ManagedIdentity/userAssignedIdentities/{each}" for each in ("*/read", "*/assign/action")
    ],
    "Storage Blob Data Reader": [f"{BLOBS}/read"],
}
# What changes what production runs, or lends its identity.
HARM = (
    *(f"{LEARNING}/{each}" for each in (
        "onlineEndpoints/write", "onlineEndpoints/delete", "onlineEndpoints/deployments/write", "schedules/write",
        "onlineEndpoints/deployments/delete", "jobs/write", "schedules/delete", "models/versions/write",
        "components/versions/write", "environments/versions/write",
    )),
    "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",
    "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/write",
    "Microsoft.Authorization/roleAssignments/write",
    "Microsoft.Authorization/roleDefinitions/write",
)  # fmt: skip


def patterns(text: str, environment: str) -> list[str]:
    """Return the paths of a list in identities.tf, for one environment of two."""
    if "var.changes_read_data ?" in text:  # by itself false
        text = re.sub(r'var\.changes_read_data \? "[^"]*" : ', "", text)
    found = re.findall(r'"([^"]+)"', text)
    return [each.replace("${name}", environment) for each in found]


def blob_rights() -> dict[str, dict[str, list[str]]]:
    """Return which paths each identity reads, writes and keeps."""
    text = FILE.read_text(encoding="utf-8")
    text = text[text.index('module "blobs" {') :]
    found = {}
    form = r"^ +\"?([\w/${}]+)\"? += \{\s*who +=.*?reads += \[(.*?)\],\s+writes += \[(.*?)\],?.*?keeps += (.*?)\n? *\}$"
    for name, reads, writes, keeps in re.findall(form, text, re.DOTALL | re.MULTILINE):
        for environment in (FIRST, LAST) if "${name}" in name else (FIRST,):
            conditional = keeps
            if environment != LAST and "last_environment" in keeps:
                conditional = keeps[: keeps.index("name ==")]
            found[name.replace("${name}", environment)] = {
                "reads": patterns(reads, environment),
                "writes": patterns(writes, environment),
                "keeps": [each for each in patterns(conditional, environment) if "/" in each],
            }
    assert set(found) >= {*OTHERS, f"deploy/{LAST}", f"serving/{LAST}"}, found
    return found


@pytest.fixture(scope="module")
def conditions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the condition that modules/blob_access makes for each identity, worked out by Terraform itself."""
    need("terraform")
    folder = tmp_path_factory.mktemp("alone")
    module = TEMPLATE / "template" / "{{ layer.infra_azure }}" / "infra/modules/blob_access"
    text = (module / "main.tf").read_text(encoding="utf-8")
    (folder / "main.tf").write_text(text[: text.index("resource ")], encoding="utf-8")  # a console wants no provider
    shutil.copy(module / "variables.tf", folder)
    found = {}
    for role, rights in blob_rights().items():
        options = [f"-var={name}={json.dumps(value)}" for name, value in rights.items()]
        expression = 'length(var.writes) > 0 ? "${local.read_only} AND ${local.write_only}" : local.read_only'
        assert expression in text.replace("condition            = ", ""), "as the resource has it"
        done = subprocess.run(
            ["terraform", "console", *options, "-var=container_id=c", "-var=principal_id=p"],
            cwd=folder, input=expression, capture_output=True, text=True, check=True,
        )  # fmt: skip
        found[role] = str(json.loads(done.stdout))
    return found


def may(condition: str, writes: bool, action: str, path: str) -> bool:
    """Evaluate a condition as Azure does; without it the role alone decides.

    https://learn.microsoft.com/azure/role-based-access-control/conditions-format
    """
    if action != "read" and not writes:
        return False  # Storage Blob Data Reader
    asked = f"{BLOBS}/{action}"
    said = re.sub(r"ActionMatches\{'([^']*)'\}", lambda hit: str(fnmatchcase(asked, hit[1])), condition)
    said = re.sub(r"SubOperationMatches\{'[^']*'\}", "False", said).replace("Sub", "")
    said = re.sub(r"@Resource\[[^]]*\] StringLike '([^']*)'", lambda hit: str(fnmatchcase(path, hit[1])), said)
    said = said.replace("!(", "not (").replace(" AND ", " and ").replace(" OR ", " or ").replace("NOT ", "not ")
    assert re.fullmatch(r"(?:True|False|and|or|not|[() ])+", said), said
    return bool(eval(said))  # noqa: S307 - of these words alone


BLOB_PATHS = {
    "note a champion": ("write", "records/champions/a1/1.json"),
    "note a trial of production": ("write", f"records/trials/{LAST}/a1/1.json"),
    "remove a note": ("delete", f"records/trials/{LAST}/a1/1.json"),
    "remove the champion's note": ("delete", "records/champions/a1/1.json"),
    "write what was answered": ("write", f"predictions/{LAST}/rows.parquet"),
    "write what was asked": ("write", f"captures/{LAST}/rows.parquet"),
}


def test_no_note_and_no_result_of_production_is_anybody_else_s(conditions: dict[str, str]) -> None:
    rights = blob_rights()
    paths = {
        (role, name)
        for role, condition in conditions.items()
        for name, (action, path) in BLOB_PATHS.items()
        if may(condition, bool(rights[role]["writes"]), action, path)
    }
    assert {role for role, _ in paths} == {f"deploy/{LAST}", f"serving/{LAST}"}
    assert not {name for _, name in paths if "remove" in name}, "nobody takes a note away"
    assert (f"deploy/{LAST}", "note a champion") in paths
    assert (f"deploy/{FIRST}", "note a champion") not in paths
    own = f"records/trials/{FIRST}/a1/1.json"
    assert may(conditions[f"deploy/{FIRST}"], True, "write", own)
    assert not may(conditions[f"deploy/{LAST}"], True, "write", own), "staging alone says that"


def test_a_change_reads_the_sample_and_writes_nothing(conditions: dict[str, str]) -> None:
    assert may(conditions["plan"], False, "read", "data/sample/rows-0123456789abcdef.parquet")
    for path in ("data/rows.parquet", "data/dvc/files/md5/00/1", "captures/production/a.parquet", "predictions/a"):
        assert not may(conditions["plan"], False, "read", path), path
    assert may(conditions["train"], True, "read", "data/rows.parquet")
    assert not any(may(conditions["plan"], False, action, "data/sample/a") for action in ("write", "delete"))


def test_no_role_elsewhere_changes_what_production_runs() -> None:
    text = FILE.read_text(encoding="utf-8")
    text = text[text.index("  assignments = merge(") : text.index('resource "azurerm_role_assignment" "this"')]
    scoped = r"scope = (.+?), built_in = (null|\"[^\"]+\"), own = (\S+) \}"
    found = re.findall(r"\{ who = module\.(\S+)\.principal_id, " + scoped, text)
    assert len(found) == text.count("who = "), "each of them is read"
    custom, harm = read_roles(), set[tuple[str, str]]()
    for who, scope, built_in, own in found:
        for environment in (FIRST, LAST):
            role = who.replace("${name}", environment).replace("[name]", f"/{environment}")
            role = re.sub(r'flow\["(.*)"\]', r"\1", role)
            place = scope.replace("[name]", f'["{environment}"]').replace("[other]", f'["{LAST}"]')
            if LAST not in place and "/subscriptions/" not in place:
                continue  # of another environment, or of what all share and nothing runs in
            actions = BUILT_IN[built_in.strip('"')] if built_in != "null" else custom[own.strip('"')]
            harm |= {(role, action) for action in HARM if allows(actions, action)}
    assert {role for role, _ in harm} == {f"deploy/{LAST}"}, harm
    assert len(harm) > 5, "it deploys"
    assert {"plan", "train", "training"} <= {re.sub(r'flow\["(.*)"\]', r"\1", who) for who, *_ in found}


def test_this_reads_what_is_written(tmp_path: Path) -> None:
    condition = "((!(ActionMatches{'%s/read'} AND NOT SubOperationMatches{'Blob.List'})) OR (%s StringLike 'a/*'))"
    said = condition % (BLOBS, "@Resource[x:path]")
    assert may(said, False, "read", "a/b")
    assert not may(said, False, "read", "b/a")
