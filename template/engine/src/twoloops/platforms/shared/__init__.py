"""What knows no cloud and serves each: running Terraform, images, the loop's steps elsewhere, files on their way.

A platform's own part is small and is given as a parameter: an `ObjectStore`, an `ImageRegistry`, a `Runner`, or a class
that fills in what `infrastructure.TerraformInfrastructure` leaves open.
"""
