#!/usr/bin/env bash
# page_size.sh LIBRARY.so...: a line for each 64-bit library, with the size of memory pages in KB up to which it runs: the smallest
# alignment of its loadable segments.
set -euo pipefail
for library in "$@"; do
    [ "$(head -c 5 "$library" | od -An -tx1 | tr -d ' ')" = 7f454c4602 ] || { echo "$library: not a 64-bit library" >&2; exit 1; }
    start=$(od -An -tu8 -j32 -N8 "$library") count=$(od -An -tu2 -j56 -N2 "$library") # of the program headers, 56 bytes each
    least=$((1 << 30))
    for ((k = 0; k < count; k++)); do
        kind=$(od -An -tu4 -j$((start + 56 * k)) -N4 "$library") align=$(od -An -tu8 -j$((start + 56 * k + 48)) -N8 "$library")
        if ((kind == 1 && align < least)); then least=$align; fi
    done
    echo "$((least / 1024)) $library"
done
