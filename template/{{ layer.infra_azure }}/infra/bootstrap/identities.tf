# Who may do what. Each identity has rights in its own workspace and below its own paths, and in no other.

locals {
  learning = "Microsoft.MachineLearningServices/workspaces"
  # Every operation that takes a while is followed by these.
  operations = ["Microsoft.MachineLearningServices/locations/mfeOperationsStatus/read", "Microsoft.MachineLearningServices/locations/mfeOperationResults/read"]

  roles = {
    train = {
      description = "Runs the inner loop"
      actions = [
        "${local.learning}/read", "${local.learning}/computes/read", "${local.learning}/datastores/read",
        "${local.learning}/jobs/read", "${local.learning}/jobs/write", "${local.learning}/jobs/cancel/action",
        "${local.learning}/components/versions/read", "${local.learning}/components/versions/write",
        "${local.learning}/environments/versions/read", "${local.learning}/environments/versions/write",
        "${local.learning}/models/read", "${local.learning}/models/versions/read", "${local.learning}/models/versions/write",
        "${local.learning}/experiments/read", "${local.learning}/experiments/write",
        "${local.learning}/experiments/runs/read", "${local.learning}/experiments/runs/write",
      ]
    }
    deploy = {
      description = "Deploys models"
      actions = [
        "${local.learning}/read", "${local.learning}/computes/read", "${local.learning}/datastores/read",
        "${local.learning}/onlineEndpoints/read", "${local.learning}/onlineEndpoints/write", "${local.learning}/onlineEndpoints/delete",
        "${local.learning}/onlineEndpoints/score/action",
        "${local.learning}/onlineEndpoints/deployments/read", "${local.learning}/onlineEndpoints/deployments/write",
        "${local.learning}/onlineEndpoints/deployments/delete", "${local.learning}/onlineEndpoints/deployments/getLogs/action",
        "${local.learning}/environments/versions/read", "${local.learning}/environments/versions/write",
        "${local.learning}/models/versions/read", "${local.learning}/models/versions/write",
        "${local.learning}/components/versions/read", "${local.learning}/components/versions/write",
        "${local.learning}/schedules/read", "${local.learning}/schedules/write", "${local.learning}/schedules/delete",
        "${local.learning}/jobs/read", "${local.learning}/jobs/write", "${local.learning}/jobs/cancel/action",
        "Microsoft.Insights/diagnosticSettings/read", "Microsoft.Insights/diagnosticSettings/write",
      ]
    }
    register = {
      description = "Reads and names versions in the registry of models"
      actions     = ["${local.learning}/read", "${local.learning}/models/read", "${local.learning}/models/versions/read", "${local.learning}/models/versions/write"]
    }
    look = {
      description = "Sees what runs"
      actions     = ["${local.learning}/onlineEndpoints/read", "${local.learning}/onlineEndpoints/deployments/read"]
    }
    apply = {
      description = "Changes alarms and pictures"
      actions = [
        "Microsoft.Resources/subscriptions/resourceGroups/read",
        "Microsoft.Insights/actionGroups/*", "Microsoft.Insights/scheduledQueryRules/*", "Microsoft.Insights/workbooks/*",
        "Microsoft.OperationalInsights/workspaces/read", "Microsoft.OperationalInsights/workspaces/query/read",
        # What deployments have left is looked at before an environment is destroyed.
        "${local.learning}/read", "${local.learning}/onlineEndpoints/read", "${local.learning}/onlineEndpoints/deployments/read",
        "${local.learning}/schedules/read", "Microsoft.ManagedIdentity/userAssignedIdentities/read",
      ]
    }
    operations = {
      description = "Follows operations that take a while"
      actions     = local.operations
    }
    log = {
      description = "Lets logs go to the workspace of logs"
      actions     = ["Microsoft.OperationalInsights/workspaces/read", "Microsoft.OperationalInsights/workspaces/sharedKeys/action"]
    }
    score = {
      description = "Asks endpoints"
      actions     = ["${local.learning}/onlineEndpoints/score/action"]
    }
  }

  group_ids = { for name, group in module.project.groups : name => azurerm_resource_group.this[group].id }
  flows = merge(
    { for role in ["plan", "train"] : role => { purpose = role, room = "SHARED" } },
    merge([
      for name in keys(local.rooms) : { for purpose in ["apply", "deploy"] : "${purpose}/${name}" => { purpose = purpose, room = name } }
    ]...),
  )
}

resource "azurerm_role_definition" "this" {
  for_each = local.roles

  name              = "${module.project.project}-${module.project.registry}-${each.key}"
  scope             = local.group_ids.SHARED
  description       = each.value.description
  assignable_scopes = concat(values(azurerm_resource_group.this)[*].id, each.key == "operations" ? ["/subscriptions/${module.project.subscription}"] : [])

  permissions {
    actions = each.value.actions
  }
}

module "flow" {
  source   = "../modules/identity"
  for_each = local.flows

  name     = "${module.project.identities[each.value.room]}-ci-${each.value.purpose}"
  group    = azurerm_resource_group.this[module.project.groups[each.value.room]].name
  region   = module.project.region
  issuer   = local.issuer
  audience = local.trust[each.key].audience
  subjects = local.trust[each.key].subjects
}

module "training" {
  source = "../modules/identity"

  name   = "${module.project.identities.SHARED}-training"
  group  = azurerm_resource_group.this[module.project.groups.SHARED].name
  region = module.project.region
}

module "serving" {
  source   = "../modules/identity"
  for_each = local.rooms

  name   = "${module.project.identities[each.key]}-serving"
  group  = azurerm_resource_group.this[module.project.groups[each.key]].name
  region = module.project.region
}

# ---------------------------------------------------------------------------------------- rights by role

locals {
  assignments = merge(
    {
      "plan/SHARED" = { who = module.flow["plan"].principal_id, scope = local.group_ids.SHARED, built_in = "Reader", own = null }
      "plan/STATE"  = { who = module.flow["plan"].principal_id, scope = module.data.container_ids["state"], built_in = "Storage Blob Data Reader", own = null }

      "train/workspace" = { who = module.flow["train"].principal_id, scope = module.workspace["SHARED"].id, built_in = null, own = "train" }
      "train/group"     = { who = module.flow["train"].principal_id, scope = module.training.id, built_in = "Reader", own = null }
      "train/images"    = { who = module.flow["train"].principal_id, scope = module.images.id, built_in = "AcrPush", own = null }
      "train/follow"    = { who = module.flow["train"].principal_id, scope = "/subscriptions/${module.project.subscription}", built_in = null, own = "operations" }

      "training/images"    = { who = module.training.principal_id, scope = module.images.id, built_in = "AcrPull", own = null }
      "training/workspace" = { who = module.training.principal_id, scope = module.workspace["SHARED"].id, built_in = null, own = "train" }
    },
    {
      for name, room in local.rooms : "plan/${name}" => { who = module.flow["plan"].principal_id, scope = local.group_ids[name], built_in = "Reader", own = null }
      if room != ""
    },
    merge([
      for name in keys(local.rooms) : {
        # Every verb looks whether bootstrap/ has been applied: at the workspace that all share.
        "apply/${name}/shared" = { who = module.flow["apply/${name}"].principal_id, scope = module.workspace["SHARED"].id, built_in = "Reader", own = null }
        "apply/${name}"        = { who = module.flow["apply/${name}"].principal_id, scope = local.group_ids[name], built_in = null, own = "apply" }
        "apply/${name}/logs"   = { who = module.flow["apply/${name}"].principal_id, scope = azurerm_log_analytics_workspace.this.id, built_in = "Log Analytics Reader", own = null }

        "deploy/${name}"          = { who = module.flow["deploy/${name}"].principal_id, scope = module.workspace[local.workspace_of[name]].id, built_in = null, own = "deploy" }
        "deploy/${name}/registry" = { who = module.flow["deploy/${name}"].principal_id, scope = module.workspace["SHARED"].id, built_in = null, own = "register" }
        "deploy/${name}/images"   = { who = module.flow["deploy/${name}"].principal_id, scope = module.images.id, built_in = "AcrPull", own = null }
        "deploy/${name}/logs"     = { who = module.flow["deploy/${name}"].principal_id, scope = azurerm_log_analytics_workspace.this.id, built_in = null, own = "log" }
        "deploy/${name}/serving"  = { who = module.flow["deploy/${name}"].principal_id, scope = module.serving[name].id, built_in = "Managed Identity Operator", own = null }
        "deploy/${name}/follow"   = { who = module.flow["deploy/${name}"].principal_id, scope = "/subscriptions/${module.project.subscription}", built_in = null, own = "operations" }

        "serving/${name}/images" = { who = module.serving[name].principal_id, scope = module.images.id, built_in = "AcrPull", own = null }
      }
    ]...),
    # A version on trial in one environment is compared with what runs in the last one.
    merge([
      for name in keys(local.rooms) : {
        for other in keys(local.rooms) :
        "look/${name}/${other}" => { who = module.flow["deploy/${name}"].principal_id, scope = module.workspace[local.workspace_of[other]].id, built_in = null, own = "look" }
        if other != name
      }
    ]...),
  )
}

resource "azurerm_role_assignment" "this" {
  for_each = local.assignments

  scope                = each.value.scope
  role_definition_name = each.value.built_in
  role_definition_id   = each.value.own == null ? null : azurerm_role_definition.this[each.value.own].role_definition_resource_id
  principal_id         = each.value.who
  principal_type       = "ServicePrincipal"
}

# An environment's state, and no other's: its blob ends with the workspace's name.
resource "azurerm_role_assignment" "state_of_environment" {
  for_each = local.rooms

  scope                = module.data.container_ids["state"]
  role_definition_name = "Storage Blob Data Contributor"
  principal_id         = module.flow["apply/${each.key}"].principal_id
  principal_type       = "ServicePrincipal"
  condition_version    = "2.0"
  condition = join("", [
    "((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'}) AND ",
    "!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action'}) AND ",
    "!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete'})) OR ",
    "(@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringEquals 'environment.tfstateenv:${each.key}'))",
  ])
}

resource "azurerm_role_assignment" "callers" {
  for_each = merge([
    for name, groups in var.callers : { for group in groups : "${name}/${group}" => { environment = name, group = group } }
  ]...)

  scope              = module.workspace[local.workspace_of[each.value.environment]].id
  role_definition_id = azurerm_role_definition.this["score"].role_definition_resource_id
  principal_id       = each.value.group
  principal_type     = "Group"
}

# ---------------------------------------------------------------------------------------- rights by path

module "blobs" {
  source = "../modules/blob_access"
  for_each = merge(
    {
      training = { who = module.training.principal_id, reads = ["data/*"], writes = ["models/*", "monitoring/*"], keeps = [] }
      train    = { who = module.flow["train"].principal_id, reads = ["captures/*", "predictions/*"], writes = ["data/*", "models/*", "monitoring/*"], keeps = [] }
      plan     = { who = module.flow["plan"].principal_id, reads = [var.changes_read_data ? "data/*" : "data/sample/*", "models/*"], writes = [], keeps = [] }
    },
    merge([
      for name in keys(local.rooms) : {
        "serving/${name}" = { who = module.serving[name].principal_id, reads = ["models/*", "data/*"], writes = ["captures/${name}/*", "predictions/${name}/*"], keeps = [] }
        "deploy/${name}" = {
          who    = module.flow["deploy/${name}"].principal_id, reads = ["data/*", "predictions/${name}/*", "records/*"],
          writes = ["models/*", "locks/*", "captures/${name}/*", "monitoring/*"],
          # What was tried in an environment, its own deployments alone say; and what was champion, those of the last one.
          keeps = concat(["records/trials/${name}/*"], name == module.project.last_environment ? ["records/champions/*"] : [])
        }
      }
    ]...),
  )

  container_id = module.data.container_ids["project"]
  principal_id = each.value.who
  reads        = each.value.reads
  writes       = each.value.writes
  keeps        = each.value.keeps
}
