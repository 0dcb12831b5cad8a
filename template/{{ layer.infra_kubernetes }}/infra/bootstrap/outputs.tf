output "settings" {
  description = "What the verbs and the flows need to know; also in the ConfigMap settings of the project's namespace."
  value       = local.settings
}

output "environments" {
  description = "The names of the environments, for bootstrap.sh."
  value       = join(" ", keys(module.project.environments))
}

# https://kubernetes.io/docs/reference/access-authn-authz/authentication/#using-authentication-configuration
output "authentication" {
  description = "How whoever runs the API server tells it of the code host: an AuthenticationConfiguration."
  value = yamlencode({
    apiVersion = "apiserver.config.k8s.io/v1"
    kind       = "AuthenticationConfiguration"
    jwt = [{
      issuer = {
        url                 = "https://${local.issuer}"
        audienceMatchPolicy = "MatchAny"
        audiences = local.one_audience_a_job ? sort([
          for role in values(module.project.roles) : "${module.project.cluster}#${role}"
        ]) : [coalesce(local.fixed_audience, module.project.cluster)]
      }
      claimMappings = {
        username = { expression = join(" + ", concat(
          ["'${var.username_prefix}' + claims.sub"],
          local.one_audience_a_job ? ["'${var.audience_separator}' + claims.aud"] : [],
        )) }
        # By which the roles know a repository's jobs, where a subject names more than one.
        groups = { expression = "has(claims.project_path) ? ['${var.username_prefix}' + claims.project_path] : []" }
      }
    }]
  })
}
