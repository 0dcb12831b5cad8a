#!/bin/sh
# Makes what bootstrap/ describes, or brings it up to date. Arguments go to `terraform apply`.
#
# The container of Terraform's state is part of it. So the first time the state begins as a file in bootstrap/, and
# moves into the container at the end. Wherever that is interrupted, the next run goes on.
set -eu
cd "$(dirname "$0")/bootstrap"
first=first_override.tf
unset TF_WORKSPACE # it is for environment/

# Terraform wants to replace what an interruption met while it was being made; but these are never destroyed. They are
# there, and the apply completes them. For one that is in order, or not there yet, untaint ends in an error.
keep() {
  for made in module.data.azurerm_storage_account.this; do
    if terraform untaint "$made" > /dev/null 2>&1; then
      echo "Kept what an interrupted run has made: $made"
    fi
  done
}

# The right to write the state was given a moment ago, and takes some minutes to be known everywhere.
move() {
  tries=20
  until said=$(terraform init -input=false -migrate-state -force-copy -backend-config=../state.tfbackend 2>&1); do
    tries=$((tries - 1))
    case $tries$said in
      0*) printf '%s\n' "$said" >&2 && exit 1 ;;
      *AuthorizationPermissionMismatch* | *AuthorizationFailed* | *"403"*) ;;
      *) printf '%s\n' "$said" >&2 && exit 1 ;;
    esac
    echo "The right to write the state is not known everywhere yet. Trying again in 30 seconds."
    sleep 30
  done
  rm -f terraform.tfstate terraform.tfstate.backup
}

# The state of each environment begins here, empty: a flow that only plans may not write one.
begin() {
  names=$(terraform output -raw environments)
  cd ../environment
  terraform init -input=false -reconfigure -backend-config=../state.tfbackend > /dev/null
  for name in $names default; do
    terraform workspace select -or-create=true "$name" > /dev/null
  done
}

if [ ! -f "$first" ] && [ -f terraform.tfstate ]; then
  move
fi
if [ ! -f "$first" ]; then
  if said=$(terraform init -input=false -reconfigure -backend-config=../state.tfbackend 2>&1); then
    keep
    terraform apply "$@"
    begin
    exit
  fi
  case $said in
    *"does not exist"* | *"no such host"* | *ContainerNotFound* | *ResourceNotFound*) printf 'terraform {\n  backend "local" {}\n}\n' > "$first" ;;
    *) printf '%s\n' "$said" >&2 && exit 1 ;;
  esac
fi

terraform init -input=false -reconfigure
keep
terraform apply "$@"
rm "$first"
move
begin
