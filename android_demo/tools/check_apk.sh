#!/usr/bin/env bash
# check_apk.sh APK PACKAGE MIN_SDK TARGET_SDK ABIS DEBUG: says what is wrong with an APK and fails, or nothing. DEBUG is empty for a
# release.
set -euo pipefail
apk=$1 package=$2 min_sdk=$3 target_sdk=$4 abis=$5 debug=$6
fail() { echo "$apk: $*" >&2; exit 1; }

badging=$(aapt dump badging "$apk")
for line in "package: name='$package'" "sdkVersion:'$min_sdk'" "targetSdkVersion:'$target_sdk'" "launchable-activity: name='$package.MainActivity'"; do
    grep -qF "$line" <<<"$badging" || fail "aapt does not say $line"
done
for abi in $abis; do grep -q "native-code:.*'$abi'" <<<"$badging" || fail "aapt finds no code for $abi"; done

if grep -q '^application-debuggable' <<<"$badging"; then debuggable=yes; else debuggable=; fi
[ -z "$debug" ] || [ -n "$debuggable" ] || fail "is not debuggable, so run-as would not work"
[ -n "$debug" ] || [ -z "$debuggable" ] || fail "a release is debuggable"

files=$(unzip -Z1 "$apk")
for file in assets/models/xlsr_x3_{uint8,float32}.{tflite,json} assets/samples/chelsea{,_hr}.png; do
    grep -qxF "$file" <<<"$files" || fail "lacks $file"
done
for abi in $abis; do
    for library in tensorflowlite tensorflowlite_gpu; do
        grep -qxF "lib/$abi/lib${library}_jni.so" <<<"$files" || fail "lacks lib${library}_jni.so for $abi"
    done
done
zipalign -c -p 4 "$apk" >/dev/null || fail "is not aligned"
apksigner verify --min-sdk-version "$min_sdk" "$apk" >/dev/null || fail "its signature does not verify"
dex=$(mktemp --suffix .dex)
trap 'rm -f "$dex"' EXIT
unzip -p "$apk" classes.dex >"$dex"
classes=$(dexdump "$dex" 2>/dev/null | grep 'Class descriptor') || fail "dexdump cannot read its classes"
for class in org/mobilesr/demo/MainActivity org/mobilesr/core/Statistics org/mobilesr/sr/Upscaler org/tensorflow/lite/Interpreter org/tensorflow/lite/gpu/GpuDelegateFactory\$Options; do
    grep -qF "'L$class;'" <<<"$classes" || fail "lacks the class $class"
done
