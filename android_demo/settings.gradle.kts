pluginManagement {
    repositories {
        google()
        mavenCentral()
        gradlePluginPortal()
    }
}

dependencyResolutionManagement {
    repositoriesMode = RepositoriesMode.FAIL_ON_PROJECT_REPOS
    repositories {
        google()
        mavenCentral()
    }
}

rootProject.name = "mobile-sr"
include(":app", ":core", ":sr")

// Google's download of the NPU's libraries, unpacked here: see README.md, "The runtime".
val npu = file("litert_npu_runtime_libraries")
npu.list()?.filter { it == "runtime_strings" || it.startsWith("qualcomm_runtime_v") }?.forEach { include(":${npu.name}:$it") }
