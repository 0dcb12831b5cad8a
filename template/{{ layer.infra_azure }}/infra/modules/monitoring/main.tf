# Who is told when the service fails or is slow, or scoring fails. Drift is the flow monitor's.
#
# Alarms are queries of the logs: a metric's alarm wants an endpoint that is there already, and a deployment makes that.

locals {
  endpoint = "AmlOnlineEndpointTrafficLog | where EndpointName == '${var.endpoint}'"
  failed   = "countif(ResponseCode >= 500 or ModelStatusCode startswith '5' or ResponseCode in (408, 429))"
  alarms = merge(
    var.online ? {
      errors = {
        severity    = 1
        description = "More than ${var.error_percent} % of the requests fail."
        query       = "${local.endpoint} | summarize bad = ${local.failed}, total = count() | where total >= 20 and 100.0 * bad / total > ${var.error_percent}"
      }
      latency = {
        severity    = 2
        description = "One answer in a hundred takes longer than ${var.latency_milliseconds} ms."
        query       = "${local.endpoint} | summarize slow = percentile(TotalDurationMs, 99), total = count() | where total >= 20 and slow > ${var.latency_milliseconds}"
      }
    } : {},
    var.batch ? {
      scoring-failed = {
        severity    = 2
        description = "A run of the schedule ended with an error."
        query       = "AmlRunStatusChangedEvent | where Status == 'Failed'"
      }
    } : {},
  )
}

resource "azurerm_monitor_action_group" "this" {
  name                = var.name
  resource_group_name = var.group
  short_name          = substr(replace(var.name, "-", ""), 0, 12)

  email_receiver {
    name                    = "contact"
    email_address           = var.contact
    use_common_alert_schema = true
  }
}

resource "azurerm_monitor_scheduled_query_rules_alert_v2" "this" {
  for_each = local.alarms

  name                             = "${var.name}-${each.key}"
  resource_group_name              = var.group
  location                         = var.region
  scopes                           = [var.logs_id]
  description                      = "${each.value.description} docs/runbooks.md says what to do."
  severity                         = each.value.severity
  evaluation_frequency             = "PT5M"
  window_duration                  = "PT15M"
  auto_mitigation_enabled          = true
  workspace_alerts_storage_enabled = false
  skip_query_validation            = true # a table is there when the first line has come

  criteria {
    query                   = each.value.query
    time_aggregation_method = "Count"
    operator                = "GreaterThan"
    threshold               = 0

    failing_periods {
      minimum_failing_periods_to_trigger_alert = 1
      number_of_evaluation_periods             = 1
    }
  }

  action {
    action_groups = [azurerm_monitor_action_group.this.id]
  }
}

# The name of a workbook is a GUID; this one follows from what it belongs to.
resource "azurerm_application_insights_workbook" "this" {
  name                = uuidv5("url", "${var.group}/${var.name}")
  resource_group_name = var.group
  location            = var.region
  display_name        = var.name
  source_id           = lower(var.logs_id)

  data_json = jsonencode({
    version = "Notebook/1.0"
    items = [
      for title, query in var.online ? {
        "Requests and failures" = "${local.endpoint} | summarize requests = count(), failed = ${local.failed} by bin(TimeGenerated, 5m) | render timechart"
        "Times of answers, ms"  = "${local.endpoint} | summarize median = percentile(TotalDurationMs, 50), p99 = percentile(TotalDurationMs, 99) by bin(TimeGenerated, 5m) | render timechart"
        } : {
        "Runs" = "AmlRunStatusChangedEvent | summarize runs = count() by Status, bin(TimeGenerated, 1d) | render timechart"
      } :
      { type = 3, name = title, content = { version = "KqlItem/1.0", title = title, query = query, queryType = 0, resourceType = "microsoft.operationalinsights/workspaces" } }
    ]
  })
}
