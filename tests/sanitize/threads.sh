#!/bin/bash
# Run the threads of the C module under ThreadSanitizer, without Python, on live events.
#
#   threads.sh SECONDS [--require-live]
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=$1
build_dir=$PWD/build/sanitize

mkdir -p "$build_dir"
gcc -std=c11 -D_GNU_SOURCE -g -O1 -Wall -Wextra -Werror -fsanitize=thread -pthread -Icsrc -Itests \
    tests/sanitize/*.c csrc/{wire,system,netlink,proc,programs,usage,stream}/*.c \
    -o "$build_dir/threads"

# The shadow memory of ThreadSanitizer conflicts with the address randomization of Linux.
status=0
TSAN_OPTIONS=halt_on_error=1 timeout $((seconds + 60)) \
    setarch --addr-no-randomize "$build_dir/threads" "$seconds" || status=$?
if [ "$status" = 77 ] && [[ " $* " != *" --require-live "* ]]; then
    echo 'skipped: this test requires process events'
    exit 0
fi
exit "$status"
