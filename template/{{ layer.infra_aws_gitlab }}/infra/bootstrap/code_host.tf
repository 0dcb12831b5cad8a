# GitLab, whose tokens name the project and the branch of a job, but not its environment.
# https://docs.gitlab.com/ci/secrets/id_token_authentication
#
# So a token is for one role, which the job's file on main asks for as the token's audience: a job for staging, given
# a token for staging, cannot take the roles of production. Who may change that file, and who may start the jobs of
# an environment, GitLab decides: protect main and the environments.

locals {
  issuer  = "gitlab.com"
  subject = "project_path:${module.project.repository}:ref_type:branch:ref"
  role    = "arn:aws:iam::${module.project.account}:role"

  trust = merge(
    {
      plan  = { audience = "${local.role}/${module.project.roles.plan}", subjects = ["${local.subject}:*"] } # branches of changes
      train = { audience = "${local.role}/${module.project.roles.train}", subjects = ["${local.subject}:main"] }
    },
    merge([
      for name, roles in module.project.roles.environments : {
        for purpose in ["apply", "deploy"] :
        "${purpose}/${name}" => { audience = "${local.role}/${roles[purpose]}", subjects = ["${local.subject}:main"] }
      }
    ]...),
  )
}
