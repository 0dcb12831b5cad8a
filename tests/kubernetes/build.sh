#!/bin/sh
# Builds a real API server and the controllers of Deployments and Jobs, for the tests of this folder:
#
#     sh tests/kubernetes/build.sh FOLDER && KUBERNETES_BINARIES=FOLDER uv run pytest -m slow tests/kubernetes
#
# On Debian 12 they are built from its source package, 1.20 with the distribution's repairs: no newer one has more than
# kubectl in it. Two things it lacks are put in: the API's own description, which its generator makes from the tree; and
# a library whose vendored version crashes with this Go, from Debian's package of it. About seven minutes of a processor,
# and two gigabytes, which are deleted. Elsewhere the same version is downloaded as Kubernetes releases it. Programs that
# are there already are kept: another run takes no time.
set -eu
target=$(mkdir -p "$1" && cd "$1" && pwd)
sudo=$([ "$(id -u)" = 0 ] || echo sudo)
. /etc/os-release
tools="etcd-server iproute2 openssl"
here=no
if [ "$ID $VERSION_ID" = "debian 12" ]; then here=yes; fi
has() { [ -x "$target/kube-apiserver" ] && [ -x "$target/kube-controller-manager" ]; }
if [ "$here" = yes ] && ! has; then tools="$tools dpkg-dev golang-1.19-go golang-github-modern-go-reflect2-dev"; fi
# shellcheck disable=SC2086 # words
if ! dpkg --status $tools > /dev/null 2>&1; then
  $sudo apt-get update --quiet=2
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install --quiet=2 --yes --no-install-recommends $tools > /dev/null
fi
if has; then exit; fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
if [ "$here" = no ]; then
  archive=kubernetes-server-linux-amd64.tar.gz
  # As CHANGELOG-1.20.md of kubernetes/kubernetes names it.
  digest=65abf178782e43bc21e8455ffbfdadf6064dbeae3ff704ccf9e13e8acee18235
  digest=${digest}c280b06778e5de4bd702f5507e1870fe38c561366d125ef4f821ed7aa46e9f45
  curl --fail --silent --show-error --location --remote-name "https://dl.k8s.io/v1.20.2/$archive"
  echo "$digest  $archive" | sha512sum --check --quiet
  mkdir made
  tar --extract --gzip --file "$archive" --directory made --strip-components=3 \
    kubernetes/server/bin/kube-apiserver kubernetes/server/bin/kube-controller-manager
  mv made/* "$target/"
  exit
fi

mkdir -p "$work/lists/partial" "$work/go/src/k8s.io"
# The machine's own sources of packages, asked for source; its settings stay as they are.
sed 's/^Types: deb$/Types: deb-src/' /etc/apt/sources.list.d/debian.sources > "$work/src.sources"
asks="-o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::SourceList=$work/src.sources -o Dir::State::lists=$work/lists"
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
go build -ldflags "-s -w -X $version.gitVersion=v1.20.2 -X $version.gitMajor=1 -X $version.gitMinor=20" \
  -o "$work/made/" ./cmd/kube-apiserver ./cmd/kube-controller-manager
mv "$work/made/"* "$target/"
