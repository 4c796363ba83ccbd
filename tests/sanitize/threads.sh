#!/bin/bash
# Drive the C module's threads under ThreadSanitizer, without Python, on the kernel's
# own events.
#
#   threads.sh SECONDS [--require-live]
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=$1
place=$PWD/build/sanitize

mkdir -p "$place"
gcc -std=c11 -D_GNU_SOURCE -g -O1 -Wall -Wextra -Werror -fsanitize=thread -pthread -Icsrc \
    tests/sanitize/*.c csrc/{wire,system,netlink,proc,programs,usage,stream}/*.c \
    -o "$place/threads"

# Its shadow memory leaves too little space for addresses as random as Linux makes them.
status=0
TSAN_OPTIONS=halt_on_error=1 timeout $((seconds + 60)) \
    setarch --addr-no-randomize "$place/threads" "$seconds" || status=$?
if [ "$status" = 77 ] && [[ " $* " != *" --require-live "* ]]; then
    echo 'skipped: ThreadSanitizer needs threads with events'
    exit 0
fi
exit "$status"
