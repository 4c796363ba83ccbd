#!/bin/bash
# Test the wheel in the Debian root file system ROOT. Run this in a new mount namespace.
#
#   within.sh ROOT VERSION WHEEL [PYTEST ARGUMENTS]
#
# This uses pivot_root, as the tests create user namespaces, which the kernel refuses in a
# chroot.
set -euo pipefail

root=$1
version=$2
wheel=$3
shift 3

mount --bind "$root" "$root"
if [ -n "${PROCCONN_RESULTS-}" ]; then # the test suite appends its results
    touch "$PROCCONN_RESULTS" "$root/results"
    mount --bind "$PROCCONN_RESULTS" "$root/results"
    PROCCONN_RESULTS=/results
fi
mount --bind . "$root/mnt"
mount -o remount,bind,ro "$root/mnt"
for directory in proc sys dev; do
    mount --rbind "/$directory" "$root/$directory"
done
cd "$root"
pivot_root . tmp
umount --lazy /tmp
mount -t tmpfs -o mode=1777 tmpfs /tmp

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
export PIP_CONFIG_FILE=/dev/null PIP_NO_INDEX=1 PIP_FIND_LINKS=/mnt/build/pythons/wheels
cd /mnt
"python$version" -m venv /tmp/tools
exec /tmp/tools/bin/python -B tests/packages/try_wheel.py "$wheel" -- "$@"
