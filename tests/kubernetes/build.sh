#!/bin/sh
# Builds a real API server and the controllers of Deployments and Jobs, for the tests of this folder:
#
#     sh tests/kubernetes/build.sh FOLDER && KUBERNETES_BINARIES=FOLDER uv run pytest -m slow tests/kubernetes
#
# They come from Debian's source package of bookworm, 1.20 with the distribution's repairs: no newer one has more than
# kubectl in it. Two things it lacks are put in: the API's own description, which its generator makes from the tree; and
# a library whose vendored version crashes with this Go, from Debian's package of it. About seven minutes of a processor,
# and two gigabytes, which are deleted. As root, for apt-get.
set -eu
target=$(mkdir -p "$1" && cd "$1" && pwd)
if [ -x "$target/kube-apiserver" ] && [ -x "$target/kube-controller-manager" ] && command -v etcd > /dev/null; then
  exit
fi

apt-get update --quiet=2
DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends \
  dpkg-dev etcd-server golang-1.19-go golang-github-modern-go-reflect2-dev iproute2 openssl > /dev/null

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/go/src/k8s.io"
# The machine's own sources of packages, asked for source; its settings stay as they are.
sed 's/^Types: deb$/Types: deb-src/' /etc/apt/sources.list.d/debian.sources > "$work/src.sources"
asks="-o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::SourceList=$work/src.sources -o Dir::State::lists=$work/lists"
cd "$work"
# shellcheck disable=SC2086 # words
apt-get $asks -o APT::Sandbox::User=root --quiet=2 update
# shellcheck disable=SC2086
apt-get $asks -o APT::Sandbox::User=root --quiet=2 source --download-only kubernetes
tree=$work/go/src/k8s.io/kubernetes
dpkg-source --no-check -x kubernetes_*.dsc "$tree" > /dev/null

export GOPATH="$work/go" GOCACHE="$work/cache" GO111MODULE=off GOPROXY=off CGO_ENABLED=0 PATH="/usr/lib/go-1.19/bin:$PATH"
cd "$tree"
rm -rf vendor/github.com/modern-go/reflect2
cp -r /usr/share/gocode/src/github.com/modern-go/reflect2 vendor/github.com/modern-go/reflect2

go build -o "$work/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
# Every package that says so is described; and three besides, which the generator's own makefile names.
packages=$(grep -rl --include='*.go' '+k8s:openapi-gen=true' pkg staging/src vendor | xargs -n1 dirname |
  sed 's#^staging/src/#vendor/#' | sort -u |
  grep -v -e kube-openapi/test -e /cmd/ -e code-generator -e /test/ -e _examples -e sample- -e apiserver/examples |
  sed 's#^#k8s.io/kubernetes/#' | paste -sd,)
machinery=k8s.io/kubernetes/vendor/k8s.io/apimachinery/pkg
: > "$work/header"
"$work/openapi-gen" -O zz_generated.openapi --go-header-file "$work/header" \
  --input-dirs "$packages,$machinery/version,$machinery/runtime,$machinery/util/intstr" \
  --output-package k8s.io/kubernetes/pkg/generated/openapi --output-base "$GOPATH/src" -r "$work/violations"

version=k8s.io/component-base/version
for program in kube-apiserver kube-controller-manager; do
  go build -ldflags "-s -w -X $version.gitVersion=v1.20.2 -X $version.gitMajor=1 -X $version.gitMinor=20" \
    -o "$target/$program" "./cmd/$program"
done
