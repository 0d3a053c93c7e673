#!/usr/bin/env bash
# test.sh ASSETS TEST_MODELS APK_FOLDER OUT PYTHON: the tests of core, then those of the app on this machine's Java: Robolectric for the
# screens, and the AAR's own interpreter (x86_64) behind the C library shim. Screens are drawn to OUT/screens.
set -euo pipefail
tools=$(cd "$(dirname "$0")" && pwd)
demo=$(dirname "$tools")
assets=$(realpath "$1") models=$(realpath "$2") work=$(realpath "$3")/work out=$(realpath -m "$4") python=$5

mkdir -p "$out"
if mvn -q -B -C -f "$demo/core/pom.xml" test >"$out/core.txt" 2>&1; then
    echo "core: $(grep -ho '<testcase ' "$demo"/core/target/surefire-reports/*.xml | wc -l) tests passed"
else
    cat "$out/core.txt" >&2
    grep -qE '(Plugin|Dependency)ResolutionException|Could not transfer artifact' "$out/core.txt" || exit 1
    echo "SKIPPED: the tests of core: Maven cannot fetch what they need; is there a network?"
fi

if [ "$(uname -sm)" != "Linux x86_64" ]; then
    echo "SKIPPED: the app's tests need Linux on x86_64, this is $(uname -sm)"
    exit 0
fi
artifacts=$("$tools/artifacts/fetch.sh" test)
rm -rf "$out/classes" "$out/screens" && mkdir -p "$out"/{classes/com/android/tools,shim,screens,monitor}
PYTHONPATH=$(realpath "$demo/..") "$python" "$tools/expected.py" "$assets" "$models" "$out/expected"

"$tools/shim/build.sh" "$work/aar/tensorflow-lite-2.16.1/jni/x86_64/libtensorflowlite_jni.so" "$out/shim"
cp "$work/aar/tensorflow-lite-2.16.1/jni/x86_64/libtensorflowlite_jni.so" "$out/shim"
unzip -q -o "$artifacts"/monitor-*.aar classes.jar -d "$out/monitor"

cat >"$out/classes/com/android/tools/test_config.properties" <<END
android_merged_manifest=$work/AndroidManifest.xml
android_merged_assets=$assets
android_resource_apk=$work/linked.apk
android_custom_package=org.mobilesr.demo
END
printf 'sdk=34\ngraphicsMode=NATIVE\n' >"$out/classes/robolectric.properties"

# Robolectric brings Android's classes itself; for the compiler they come last, behind the JDK's and the libraries' own.
android=$(echo "$artifacts"/android-all-14-*.jar)
jars=$(find "$artifacts" -name '*.jar' ! -name 'android-all*' ! -name 'r8*' ! -name 'apktool*' ! -name 'kotlin-[cdr]*' | sort | paste -sd:)
libraries=$(find "$work/aar" -name classes.jar | sort | paste -sd:)
classpath=$out/classes:$work/classes/app:$work/classes/sr:$work/classes/core:$libraries:$jars:$out/monitor/classes.jar:$android

# The Kotlin and Java lines of docs/guide/use_in_your_app.md are compiled; UpscalerTest runs them.
rm -rf "$out/sample" && mkdir -p "$out/sample"
{
    echo 'package org.mobilesr.sample'
    sed -n '/^```kotlin$/,/^```$/p' "$demo/../docs/guide/use_in_your_app.md" | sed '/^```/d'
} >"$out/sample/Sample.kt"
java -Xmx400m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$(find "$artifacts" -name 'kotlin*.jar' -o -name 'trove4j*.jar' -o -name 'annotations-13*.jar' | paste -sd:)" \
    org.jetbrains.kotlin.cli.jvm.K2JVMCompiler -nowarn -no-stdlib -no-reflect -jvm-target 17 -d "$out/classes" \
    -cp "$work/classes/sr:$work/classes/core:$libraries:$(echo "$artifacts"/kotlin-stdlib-*.jar):$android" "$out/sample/Sample.kt"
awk -v out="$out/sample" '/^```java$/ {inside = 1; text = "package org.mobilesr.sample;"; next}
    /^```$/ {if (inside) {print text >(out "/" name ".java")} inside = 0}
    inside {text = text "\n" $0} inside && match($0, /class [A-Za-z]+/) {name = substr($0, RSTART + 6, RLENGTH - 6)}' \
    "$demo/../docs/guide/use_in_your_app.md"
javac --release 17 -nowarn -d "$out/classes" -cp "$classpath" "$out"/sample/*.java $(find "$demo"/{app,sr}/src/test/java -name '*.java')

export MOBILE_SR_LOG=$out/log LD_LIBRARY_PATH=$out/shim PATH=$tools/host:$PATH
: >"$MOBILE_SR_LOG"
classes=${CLASSES:-$(cd "$demo" && find app/src/test/java sr/src/test/java -name '*Test.java' -printf '%P\n' | sed 's|\.java$||; s|/|.|g' | sort)}
run_tests() { # CLASSPATH CLASS...
    java -Xmx640m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.library.path="$out/shim" -Djava.awt.headless=true \
        --add-opens=java.base/java.lang=ALL-UNNAMED --add-opens=java.base/java.util=ALL-UNNAMED --add-opens=java.base/java.io=ALL-UNNAMED \
        -Drobolectric.offline=true -Drobolectric.dependency.dir="$artifacts" \
        -Dmobilesr.expected="$out/expected" -Dmobilesr.models="$models" -Dmobilesr.screens="$out/screens" \
        -cp "$1" org.junit.runner.JUnitCore "${@:2}"
}
run_tests "$classpath" $classes

# The library and the app with the runtime of the Gradle build, LiteRT 2, of which only stand-ins are here.
if [ -z "${CLASSES:-}" ]; then
    rm -rf "$out/litert" && mkdir -p "$out/litert"
    javac --release 17 -Xlint:all,-path,-classfile,-options,-serial -Werror -d "$out/litert" \
        -cp "$work/classes/core:$libraries:$android" $(find "$demo"/sr/src/{main,litert,litertStandIn}/java "$demo/app/src/main/java" "$work/gen" -name '*.java')
    javac --release 17 -nowarn -d "$out/litert" -cp "$out/litert:$work/classes/core:$libraries:$jars:$android" \
        $(find "$demo/sr/src/litertTest/java" -name '*.java')
    cp -r "$out/classes/com" "$out/classes/robolectric.properties" "$out/litert"
    run_tests "$out/litert:$work/classes/core:$libraries:$jars:$out/monitor/classes.jar:$android" org.mobilesr.sr.CompiledModelEngineTest
fi
"$python" - "$out" <<'END'
import pathlib, sys

import numpy as np
from PIL import Image

out = pathlib.Path(sys.argv[1])
if (out / "screens" / "alpha.png").exists():  # UpscalerTest wrote it
    assert np.asarray(Image.open(out / "screens" / "alpha.png")).tobytes() == (out / "expected" / "alpha_sr.rgba").read_bytes()
END
echo "screens: $out/screens"
