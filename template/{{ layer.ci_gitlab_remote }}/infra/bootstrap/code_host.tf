# GitLab, whose tokens name the project and the branch of a job, but not its environment.
# https://docs.gitlab.com/ci/secrets/id_token_authentication
#
# So a token is for one role, which the job's file on main asks for as the token's audience: a job for staging, given
# a token for staging, cannot take the roles of production. Who may change that file, and who may start the jobs of
# an environment, GitLab decides: protect main and the environments.

locals {
  issuer             = "gitlab.com"
  fixed_audience     = null # .gitlab/ci/cloud.yml says for whom a token is
  one_audience_a_job = true
  subject            = "project_path:${module.project.repository}:ref_type:branch:ref"

  # How a token names the jobs that may take a role.
  subjects = merge(
    { plan = ["${local.subject}:*"], train = ["${local.subject}:main"] }, # plan: branches of changes
    merge([
      for name in keys(module.project.environments) :
      { for purpose in ["apply", "deploy"] : "${purpose}/${name}" => ["${local.subject}:main"] }
    ]...),
  )
}
