#!/usr/bin/env bash
# ready.sh: makes sure that the app's tests can run here. Where tools or the network are missing, it says so in a line that begins
# with SKIPPED and exits with 3. An artifact with a wrong checksum is no such case.
set -uo pipefail
tools=$(cd "$(dirname "$0")" && pwd)
skip() { echo "SKIPPED: make test-android: $*"; exit 3; }

"$tools/need.sh" zipalign apksigner aapt dexdump zip unzip gcc nm || skip "the tools named above are missing and were not installed"
for part in build test; do
    "$tools/artifacts/fetch.sh" ${part/build/} >/dev/null
    status=$?
    [ $status != 3 ] || skip "Maven cannot fetch its pinned artifacts; is there a network?"
    [ $status = 0 ] || exit $status
done
