# What an identity may do with the project's container: read below some paths, and write below others. Names may be listed.

locals {
  blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
  path  = "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path]"
  reads = join(" OR ", [for path in concat(var.reads, var.writes, var.keeps) : "${local.path} StringLike '${path}'"])
  write = join(" OR ", [for path in concat(var.writes, var.keeps) : "${local.path} StringLike '${path}'"])
  take  = join(" OR ", [for path in var.writes : "${local.path} StringLike '${path}'"])
  writing = join(" AND ", [
    for action in ["write", "add/action"] : "!(ActionMatches{'${local.blobs}/${action}'})"
  ])
  taking = join(" AND ", [
    for action in ["delete", "deleteBlobVersion/action", "move/action"] : "!(ActionMatches{'${local.blobs}/${action}'})"
  ])
  read_only  = "((!(ActionMatches{'${local.blobs}/read'} AND NOT SubOperationMatches{'Blob.List'})) OR (${local.reads}))"
  write_only = "((${local.writing}) OR (${local.write})) AND ((${local.taking}) OR (${local.take}))"
}

resource "azurerm_role_assignment" "this" {
  scope                = var.container_id
  role_definition_name = length(var.writes) > 0 ? "Storage Blob Data Contributor" : "Storage Blob Data Reader"
  principal_id         = var.principal_id
  principal_type       = "ServicePrincipal"
  condition_version    = "2.0"
  condition            = length(var.writes) > 0 ? "${local.read_only} AND ${local.write_only}" : local.read_only
}
