#!/bin/bash
# Test the wheel on the Pythons that only Debian's unstable distribution has, as root.
#
#   run.sh PYTHON WHEEL [PYTEST ARGUMENTS]
#
# PYTHON downloads the requirements of the tests. WHEEL is relative to the project. The
# Debian root file system is kept in build/pythons.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=$1
wheel=$2
shift 2
versions=(3.14 3.15)
build_dir=$PWD/build/pythons
root=$build_dir/root

if [ ! -e "$build_dir/made" ]; then
    if ! command -v debootstrap >/dev/null; then
        apt-get update -qq
        apt-get install -qq --no-install-recommends debootstrap debian-archive-keyring
    fi
    rm -rf "$root"
    mkdir -p "$build_dir"
    packages=$(printf ',python%s-venv' "${versions[@]}")
    debootstrap --variant=minbase --include="strace$packages" sid "$root"
    touch "$build_dir/made"
fi

rm -rf "$build_dir/wheels"
for version in "${versions[@]}"; do
    "$python" -m pip --quiet --disable-pip-version-check download --dest "$build_dir/wheels" \
        --only-binary :all: --implementation cp --python-version "$version" \
        --abi "cp${version/./}" --abi abi3 --abi none \
        --platform "manylinux_2_28_$(uname -m)" --platform "manylinux_2_17_$(uname -m)" \
        --platform "manylinux2014_$(uname -m)" "$wheel" --group pyproject.toml:test-without-orjson
done

exec unshare --mount bash tests/pythons/within.sh "$root" "${versions[-1]}" "$wheel" "$@"
