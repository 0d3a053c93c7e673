#!/usr/bin/env bash
# need.sh COMMAND...: makes sure of commands and of Java 17 with Maven, installing their Debian packages where that is possible.
set -euo pipefail
packages=()
for command in java javac mvn "$@"; do
    if command -v "$command" >/dev/null; then
        [ "$command" != javac ] || [ "$(javac -version 2>&1 | sed -E 's/[^0-9]*([0-9]+).*/\1/')" -ge 17 ] && continue
    fi
    case $command in
        java) ;; # comes with javac
        javac) packages+=(openjdk-17-jdk-headless) ;;
        mvn) packages+=(maven) ;;
        gcc) packages+=(gcc libc6-dev) ;;
        nm) packages+=(binutils) ;;
        *) packages+=("$command") ;;
    esac
done
[ ${#packages[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed: ${packages[*]}; as root on Debian: apt-get install ${packages[*]}" >&2
    exit 3
fi
echo "installing ${packages[*]}" >&2
apt-get update -qq >&2
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
