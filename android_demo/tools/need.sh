#!/usr/bin/env bash
# need.sh COMMAND...: makes sure of commands and of Java 17 with Maven, installing their Debian packages where that is possible.
set -euo pipefail
packages=()
for command in javac mvn "$@"; do
    command -v "$command" >/dev/null && continue
    case $command in
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
