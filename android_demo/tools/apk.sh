#!/usr/bin/env bash
# apk.sh ASSETS OUT.apk [MODEL.tflite...]: the signed debug APK, without Gradle or an Android SDK, with further models beside the
# packaged ones. Everything it makes lies beside OUT.apk. With RELEASE=1 in the environment the APK is not debuggable, and signed by
# the key of KEYSTORE (its password in KEYSTORE_PASS).
set -euo pipefail
tools=$(cd "$(dirname "$0")" && pwd)
demo=$(dirname "$tools")
assets=$(realpath "$1") apk=$(realpath -m "$2") out=$(dirname "$(realpath -m "$2")")
PACKAGE=org.mobilesr.demo MIN_SDK=26 TARGET_SDK=34 ABIS="arm64-v8a armeabi-v7a x86_64"
models=()
for model in "${@:3}"; do
    [[ -f $model && $model == *.tflite ]] || { echo "apk.sh: $model: no such .tflite file" >&2; exit 2; }
    models+=("$(realpath "$model")")
done
debug=--debug-mode
if [ -n "${RELEASE:-}" ]; then
    [ -f "${KEYSTORE:-}" ] || { echo "apk.sh: RELEASE needs KEYSTORE=FILE, made by keytool -genkeypair" >&2; exit 2; }
    [ -n "${KEYSTORE_PASS:-}" ] || { echo "apk.sh: RELEASE needs the password of $KEYSTORE in KEYSTORE_PASS" >&2; exit 2; }
    debug='' key=$(realpath "$KEYSTORE")
    export KEYSTORE_PASS
fi
VERSION_CODE=$(sed -nE 's/.*versionCode = ([0-9]+).*/\1/p' "$demo/app/build.gradle.kts")
VERSION_NAME=$(sed -nE 's/.*versionName = "(.*)".*/\1/p' "$demo/app/build.gradle.kts")

"$tools/need.sh" zipalign apksigner aapt dexdump zip unzip
artifacts=$("$tools/artifacts/fetch.sh")
work=$out/work
rm -rf "$work" "$apk" && mkdir -p "$work"/{apktool,aar,classes/{core,sr,app},gen,dex,root}
if [ ${#models[@]} -gt 0 ]; then
    cp -r "$assets" "$work/assets" && assets=$work/assets
    cp "${models[@]}" "$assets/models"
    for model in "${models[@]}"; do # the sidecar has the overlap of the tiles, and the depth of AdaDSR files
        [ ! -f "${model%.tflite}.json" ] || cp "${model%.tflite}.json" "$assets/models"
    done
fi

# aapt2 and the framework's resources come inside of apktool's library.
unzip -q "$artifacts"/apktool-lib-*.jar 'prebuilt/linux/aapt2' 'prebuilt/android-framework.jar' -d "$work/apktool"
aapt2=$work/apktool/prebuilt/linux/aapt2 framework=$work/apktool/prebuilt/android-framework.jar
chmod +x "$aapt2"

libraries=""
for aar in "$artifacts"/*.aar; do
    folder=$work/aar/$(basename "$aar" .aar)
    unzip -q "$aar" -d "$folder"
    libraries+=":$folder/classes.jar"
    for abi in $ABIS; do
        [ ! -d "$folder/jni/$abi" ] || { mkdir -p "$work/root/lib/$abi" && cp "$folder/jni/$abi"/*.so "$work/root/lib/$abi"; }
    done
done
libraries=${libraries#:}

# The Gradle plugin wants the package outside of the manifest, aapt2 inside.
sed "s|<manifest |<manifest package=\"$PACKAGE\" |" "$demo/app/src/main/AndroidManifest.xml" >"$work/AndroidManifest.xml"
"$aapt2" compile --dir "$demo/app/src/main/res" -o "$work/resources.zip"
"$aapt2" link -I "$framework" --manifest "$work/AndroidManifest.xml" -o "$work/linked.apk" --java "$work/gen" -A "$assets" \
    -0 tflite -0 png --min-sdk-version $MIN_SDK --target-sdk-version $TARGET_SDK $debug \
    --version-code "$VERSION_CODE" --version-name "$VERSION_NAME" "$work/resources.zip"

find "$demo/core/src/main/java" -name '*.java' >"$work/core.txt"
find "$demo/sr/src/main/java" "$demo/sr/src/tflite/java" -name '*.java' >"$work/sr.txt"
find "$demo/app/src/main/java" "$work/gen" -name '*.java' >"$work/app.txt"
javac --release 17 -Xlint:all -Werror -d "$work/classes/core" @"$work/core.txt"
android=$libraries:$(echo "$artifacts"/android-all-*.jar)
for part in sr:core app:core:sr; do # compiled, and the parts it uses
    IFS=: read -r part uses <<<"$part"
    javac --release 17 -Xlint:all,-path,-classfile,-options,-serial -Werror -d "$work/classes/$part" \
        -cp "$work/classes/${uses//:/:$work/classes/}:$android" @"$work/$part.txt"
done
for part in core sr app; do jar --create --file "$work/$part.jar" -C "$work/classes/$part" .; done
# android-all has no java.*: D8 takes them from the JDK.
java -cp "$(echo "$artifacts"/r8-*.jar)" com.android.tools.r8.D8 --release --min-api $MIN_SDK --output "$work/dex" \
    --lib "$(echo "$artifacts"/android-all-*.jar)" --lib "$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")" \
    "$work/core.jar" "$work/sr.jar" "$work/app.jar" ${libraries//:/ }

cp "$work/linked.apk" "$work/unaligned.apk"
(cd "$work/dex" && zip -q "$work/unaligned.apk" classes.dex)
(cd "$work/root" && zip -q -0 -r "$work/unaligned.apk" lib)
zipalign -f -p 4 "$work/unaligned.apk" "$work/aligned.apk"
if [ -n "$debug" ]; then
    key=$out/debug.keystore
    export KEYSTORE_PASS=android
    [ -f "$key" ] || keytool -genkeypair -keystore "$key" -storepass android -keypass android -alias debug -keyalg RSA \
        -keysize 2048 -validity 10000 -dname 'CN=Android Debug,O=Android,C=US' >/dev/null 2>&1
fi
apksigner sign --ks "$key" --ks-pass env:KEYSTORE_PASS --out "$work/signed.apk" "$work/aligned.apk"

pages=$("$tools/page_size.sh" "$work/root/lib/arm64-v8a"/*.so | sort -n | head -1)

"$tools/check_apk.sh" "$work/signed.apk" "$PACKAGE" "$MIN_SDK" "$TARGET_SDK" "$ABIS" "$debug"
mv "$work/signed.apk" "$apk"
echo "$apk: $(stat -c %s "$apk") bytes, version $VERSION_NAME, ${debug:+debuggable, }for $ABIS with memory pages up to ${pages%% *} KB;" \
    "aapt, zipalign, apksigner and dexdump accept it"
