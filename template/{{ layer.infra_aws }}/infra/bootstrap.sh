#!/bin/sh
# Makes what bootstrap/ describes, or brings it up to date. Arguments go to `terraform apply`.
#
# The bucket of Terraform's state is part of it. So the first time the state begins as a file in bootstrap/, and
# moves into the bucket at the end. Wherever that is interrupted, the next run goes on.
set -eu
cd "$(dirname "$0")/bootstrap"
first=first_override.tf

move() {
  terraform init -input=false -migrate-state -force-copy -backend-config=../state.tfbackend
  rm -f terraform.tfstate terraform.tfstate.backup
}

if [ ! -f "$first" ] && [ -f terraform.tfstate ]; then
  move
fi
if [ ! -f "$first" ]; then
  if said=$(terraform init -input=false -reconfigure -backend-config=../state.tfbackend 2>&1); then
    exec terraform apply "$@"
  fi
  case $said in
    *"does not exist"*) printf 'terraform {\n  backend "local" {}\n}\n' > "$first" ;;
    *) printf '%s\n' "$said" >&2 && exit 1 ;;
  esac
fi

terraform init -input=false -reconfigure
terraform apply "$@"
rm "$first"
move
