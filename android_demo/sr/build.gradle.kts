plugins {
    id("com.android.library")
}

// src/litert or src/tflite has the class Engines, which opens files with that runtime.
val runtime = providers.gradleProperty("mobilesr.runtime").getOrElse("litert")

android {
    namespace = "org.mobilesr.sr"
    compileSdk = 34
    defaultConfig { minSdk = 26 }

    sourceSets["main"].java.srcDir("src/$runtime/java")

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
}

dependencies {
    api(project(":core"))
    if (runtime == "litert") {
        api("com.google.ai.edge.litert:litert:2.2.0")
    } else {
        api("org.tensorflow:tensorflow-lite:2.16.1")
        implementation("org.tensorflow:tensorflow-lite-gpu:2.16.1")
        implementation("org.tensorflow:tensorflow-lite-gpu-api:2.14.0")
    }
}
