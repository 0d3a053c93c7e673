plugins {
    id("com.android.application")
}

android {
    namespace = "org.mobilesr.demo"
    compileSdk = 34

    defaultConfig {
        applicationId = "org.mobilesr.demo"
        minSdk = 26
        targetSdk = 34
        versionCode = 2
        versionName = "1.1"
        ndk { abiFilters += listOf("arm64-v8a", "armeabi-v7a", "x86_64") }
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }

    // make android-assets writes them.
    sourceSets["main"].assets.srcDir("../build/assets")
    androidResources { noCompress += listOf("tflite", "png") }
}

dependencies {
    implementation(project(":sr"))
}
