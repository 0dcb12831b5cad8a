# Which tokens of the code host may take which role. code_host.tf says who issues them, and how they name a job.

locals {
  role_names = merge(
    { plan = module.project.roles.plan, train = module.project.roles.train },
    merge([
      for name, roles in module.project.roles.environments :
      { for purpose in ["apply", "deploy"] : "${purpose}/${name}" => roles[purpose] }
    ]...),
  )

  # For whom a token has to be: the one audience that the code host knows; or, where nothing else in a token tells
  # what its job is for, the very role that it may take; or AWS.
  trust = {
    for purpose, subjects in local.subjects : purpose => {
      subjects = subjects
      audience = coalesce(local.fixed_audience, local.one_audience_a_job ? (
        "arn:aws:iam::${module.project.account}:role/${local.role_names[purpose]}"
      ) : "sts.amazonaws.com")
    }
  }
}
