# Which tokens of the code host may take which identity. code_host.tf says who issues them, and how they name a job.

locals {
  # For whom a token has to be: the one audience that the code host knows; or, where nothing else in a token tells
  # what its job is for, the very role that it may take; or Azure.
  trust = {
    for role, subjects in local.subjects : role => {
      # Azure compares to the letter. A pattern becomes the one branch that everybody's changes end on.
      subjects = [for subject in subjects : replace(subject, "/[*]$/", "main")]
      audience = coalesce(local.fixed_audience, local.one_audience_a_job ? (
        "api://AzureADTokenExchange/${replace(role, "/", "-")}"
      ) : "api://AzureADTokenExchange")
    }
  }
}
