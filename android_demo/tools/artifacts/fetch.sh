#!/usr/bin/env bash
# fetch.sh [test]: the pinned Maven artifacts in CACHE/artifacts, verified; prints that folder. Nothing is fetched twice.
# Exits with 3 when Maven cannot fetch them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${MOBILE_SR_ANDROID_CACHE:-$HOME/.cache/mobile-sr/android}/artifacts/${1:-build}
profile=${1:+-P$1}

if [ ! -f "$folder/complete" ] || ! cmp -s "$here/pom.xml" "$folder/complete"; then
    rm -rf "$folder" && mkdir -p "$folder"
    mvn -q -B -C -f "$here/pom.xml" $profile org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
        -DoutputDirectory="$folder" -Dmdep.useBaseVersion=true >&2 || exit 3
    for file in "$folder"/*; do
        grep -q "  $(basename "$file")\$" "$here/artifacts.sha256" || { echo "$(basename "$file") is not pinned" >&2; exit 1; }
    done
    (cd "$folder" && sha256sum --quiet --check --ignore-missing "$here/artifacts.sha256" >&2)
    cp "$here/pom.xml" "$folder/complete"
fi
echo "$folder"
