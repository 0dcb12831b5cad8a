#!/bin/sh
# Makes what bootstrap/ describes, or brings it up to date. Arguments go to `terraform apply`.
#
# Terraform's state is a Secret of a namespace that only this script makes. Whatever is interrupted, the next run goes on.
set -eu
cd "$(dirname "$0")/bootstrap"
unset TF_WORKSPACE # it is for environment/
# Terraform's providers do not read the variable that kubectl reads.
export KUBE_CONFIG_PATHS="${KUBE_CONFIG_PATHS:-${KUBECONFIG:-$HOME/.kube/config}}"
server=$(sed -n 's/^host *= *"\(.*\)"$/\1/p' ../state.tfbackend)
namespace=$(sed -n 's/^namespace *= *"\(.*\)"$/\1/p' ../state.tfbackend)

# The context decides who asks, and this which cluster is asked: no other one is changed.
kubectl() {
  KUBECONFIG=$KUBE_CONFIG_PATHS command kubectl ${KUBE_CTX:+--context "$KUBE_CTX"} --server "$server" "$@"
}

kubectl get namespace "$namespace" > /dev/null 2>&1 || kubectl create namespace "$namespace"

terraform init -input=false -reconfigure -backend-config=../state.tfbackend
terraform apply "$@"

# The state of each environment begins here, empty: a flow that only plans may not write one.
names=$(terraform output -raw environments)
cd ../environment
terraform init -input=false -reconfigure -backend-config=../state.tfbackend > /dev/null
for name in $names default; do
  terraform workspace select -or-create=true "$name" > /dev/null
done
