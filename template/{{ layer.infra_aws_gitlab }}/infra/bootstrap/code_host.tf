# GitLab, whose tokens name the project and the branch of a job, but not its environment.
# https://docs.gitlab.com/ci/secrets/id_token_authentication
#
# So the environment is in the audience, which the job's own file asks for: a job for staging that was given a
# token for staging cannot take the roles of production. Who may change that file on main, and who may start the
# jobs of an environment, GitLab decides: protect main and the environments.

locals {
  issuer   = "gitlab.com"
  audience = "https://gitlab.com/${module.project.repository}"
  subject  = "project_path:${module.project.repository}:ref_type:branch:ref"

  trust = merge(
    {
      plan  = { audience = "${local.audience}/plan", subjects = ["${local.subject}:*"] } # branches of changes
      train = { audience = "${local.audience}/train", subjects = ["${local.subject}:main"] }
    },
    merge([
      for name in keys(module.project.environments) : {
        for purpose in ["apply", "deploy"] :
        "${purpose}/${name}" => { audience = "${local.audience}/${purpose}/${name}", subjects = ["${local.subject}:main"] }
      }
    ]...),
  )
}
