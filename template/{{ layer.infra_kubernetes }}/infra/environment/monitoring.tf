# Alerts, which pods Prometheus reads, and a dashboard. page: somebody is wanted at once. ticket: it can wait for the next working day.

locals {
  monitored = {
    name      = module.project.name
    namespace = local.namespace
    labels    = merge(module.project.labels, local.wanted.labels)
  }
  here     = "namespace=\"${local.namespace}\""
  urgent   = terraform.workspace == module.project.last_environment ? "page" : "ticket"
  requests = "service_requests_total{${local.here}"
  scores   = module.project.batch && terraform.workspace == module.project.last_environment

  service_alerts = [
    {
      alert       = "ServiceDown"
      expr        = "sum(up{${local.here}, job=\"${local.namespace}/${module.project.name}\"}) == 0 and on() kube_deployment_spec_replicas{${local.here}, deployment=\"${module.project.deployment}\"} > 0"
      for         = "2m"
      labels      = { severity = local.urgent, namespace = local.namespace }
      annotations = { summary = "No pod of the service answers.", runbook_url = "docs/runbooks.md#servicedown" }
    },
    {
      alert       = "ServiceErrors"
      expr        = "sum(rate(${local.requests}, code=~\"5..\", code!=\"503\"}[5m])) / sum(rate(${local.requests}}[5m])) > ${local.wanted.error_percent / 100}"
      for         = "5m"
      labels      = { severity = local.urgent, namespace = local.namespace }
      annotations = { summary = "{{ $value | humanizePercentage }} of the requests fail.", runbook_url = "docs/runbooks.md#serviceerrors" }
    },
    {
      alert       = "ServiceSlow"
      expr        = "histogram_quantile(0.99, sum by (le) (rate(service_request_seconds_bucket{${local.here}, route=\"/predict\"}[5m]))) > ${local.wanted.latency_milliseconds / 1000}"
      for         = "10m"
      labels      = { severity = "ticket", namespace = local.namespace }
      annotations = { summary = "One in a hundred requests takes {{ $value | humanizeDuration }}.", runbook_url = "docs/runbooks.md#serviceslow" }
    },
    {
      alert       = "ServiceOverloaded"
      expr        = "sum(rate(${local.requests}, code=\"503\", route!~\"/health/.*\"}[5m])) / sum(rate(${local.requests}, route!~\"/health/.*\"}[5m])) > 0.01"
      for         = "5m"
      labels      = { severity = local.urgent, namespace = local.namespace }
      annotations = { summary = "The service sends away {{ $value | humanizePercentage }} of the requests.", runbook_url = "docs/runbooks.md#serviceoverloaded" }
    },
    {
      alert       = "CanaryTooLong"
      expr        = "max by (model_version) (service_model_info{${local.here}, role=\"canary\"}) == 1"
      for         = "1h"
      labels      = { severity = "ticket", namespace = local.namespace }
      annotations = { summary = "Version {{ $labels.model_version }} has been the canary for an hour.", runbook_url = "docs/runbooks.md#canarytoolong" }
    },
  ]

  scoring_alerts = [
    {
      alert       = "ScoringFailed"
      expr        = "max by (job_name) (kube_job_failed{${local.here}, job_name=~\".*score.*\"}) > 0"
      for         = "1m"
      labels      = { severity = "ticket", namespace = local.namespace }
      annotations = { summary = "The job {{ $labels.job_name }} that scores has failed.", runbook_url = "docs/runbooks.md#scoringfailed" }
    },
  ]

  alerts = concat([for each in local.service_alerts : each if module.project.online], [for each in local.scoring_alerts : each if local.scores])

  rules = {
    apiVersion = "monitoring.coreos.com/v1"
    kind       = "PrometheusRule"
    metadata   = local.monitored
    spec       = { groups = [{ name = "${module.project.name}-${terraform.workspace}", rules = local.alerts }] }
  }

  monitor = {
    apiVersion = "monitoring.coreos.com/v1"
    kind       = "PodMonitor"
    metadata   = local.monitored
    spec = {
      selector            = { matchLabels = { "app.kubernetes.io/name" = module.project.name, "app.kubernetes.io/component" = "service" } }
      podMetricsEndpoints = [{ port = "http", path = "/metrics", interval = "15s" }]
    }
  }

  panels = [
    { title = "Requests", unit = "reqps", queries = {
      "{{code}}" = "sum by (code) (rate(${local.requests}, route=\"/predict\"}[$__rate_interval]))"
    } },
    { title = "Failed requests", unit = "percentunit", queries = {
      "5xx" = "sum(rate(${local.requests}, code=~\"5..\", route=\"/predict\"}[$__rate_interval])) / sum(rate(${local.requests}, route=\"/predict\"}[$__rate_interval]))"
    } },
    { title = "Time of a request", unit = "s", queries = {
      "p50" = "histogram_quantile(0.5, sum by (le) (rate(service_request_seconds_bucket{${local.here}, route=\"/predict\"}[$__rate_interval])))"
      "p99" = "histogram_quantile(0.99, sum by (le) (rate(service_request_seconds_bucket{${local.here}, route=\"/predict\"}[$__rate_interval])))"
    } },
    { title = "Pods with a model", unit = "none", queries = {
      "{{role}}: version {{model_version}}" = "count by (role, model_version) (service_model_info{${local.here}} == 1)"
    } },
    { title = "Rows", unit = "rowsps", queries = {
      "version {{model_version}}" = "sum by (model_version) (rate(service_rows_total{${local.here}}[$__rate_interval]))"
    } },
    { title = "Waiting requests", unit = "none", queries = {
      "{{pod}}" = "service_pending_requests{${local.here}}"
    } },
  ]

  prometheus = { type = "prometheus", uid = "$${datasource}" } # the reader's choice; their Grafana has its own names

  # Grafana's sidecar finds it by its label, as kube-prometheus-stack sets it up.
  dashboard = {
    apiVersion = "v1"
    kind       = "ConfigMap"
    metadata = {
      name      = "${module.project.name}-dashboard"
      namespace = local.namespace
      labels    = merge(local.monitored.labels, { grafana_dashboard = "1" })
    }
    data = {
      "${local.namespace}.json" = jsonencode({
        uid           = sha1(local.namespace) # as long as Grafana allows
        title         = "Service in ${local.namespace}"
        schemaVersion = 42
        refresh       = "30s"
        time          = { from = "now-6h", to = "now" }
        templating    = { list = [{ name = "datasource", type = "datasource", query = "prometheus" }] }
        panels = [for place, panel in local.panels : {
          id          = place + 1
          type        = "timeseries"
          title       = panel.title
          datasource  = local.prometheus
          gridPos     = { h = 8, w = 8, x = 8 * (place % 3), y = 8 * floor(place / 3) }
          fieldConfig = { defaults = { unit = panel.unit }, overrides = [] }
          targets = [for number, legend in keys(panel.queries) : {
            refId = ["A", "B"][number], datasource = local.prometheus, legendFormat = legend, expr = panel.queries[legend]
          }]
        }]
      })
    }
  }
}

# Terraform would want to know kinds that an operator brings before they are there; a chart does not.
resource "helm_release" "monitoring" {
  count = local.wanted.monitors ? 1 : 0

  name      = "${module.project.name}-monitoring"
  namespace = local.namespace
  chart     = "${path.module}/chart"

  values = [jsonencode({
    manifests = concat([for each in [local.rules] : each if length(local.alerts) > 0], [for each in [local.monitor, local.dashboard] : each if module.project.online])
  })]

  depends_on = [terraform_data.environment]
}
