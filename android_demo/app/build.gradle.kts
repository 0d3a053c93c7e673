plugins {
    id("com.android.application")
}

val npu = rootProject.file("litert_npu_runtime_libraries")

android {
    namespace = "org.mobilesr.demo"
    compileSdk = 34

    defaultConfig {
        applicationId = "org.mobilesr.demo"
        minSdk = 26
        targetSdk = 34
        versionCode = 3
        versionName = "1.2"
        ndk { abiFilters += listOf("arm64-v8a", "armeabi-v7a", "x86_64") }
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }

    // Google's modules with the NPU's libraries, one for each generation of NPU: see README.md, "The runtime".
    if (npu.isDirectory) {
        packaging { jniLibs { useLegacyPackaging = true } } // LiteRT opens them by path
        dynamicFeatures += npu.list()!!.filter { it.startsWith("qualcomm_runtime_v") }.map { ":${npu.name}:$it" }
        bundle {
            deviceTargetingConfig = file("device_targeting_configuration.xml")
            deviceGroup {
                enableSplit = true
                defaultGroup = "other"
            }
        }
    }

    // make android-assets writes them.
    sourceSets["main"].assets.srcDir("../build/assets")
    androidResources { noCompress += listOf("tflite", "png") }
}

dependencies {
    implementation(project(":sr"))
    if (npu.isDirectory) {
        implementation(project(":${npu.name}:runtime_strings")) // of the modules' manifests
    }
}
