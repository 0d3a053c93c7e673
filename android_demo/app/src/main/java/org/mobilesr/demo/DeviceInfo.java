package org.mobilesr.demo;

import android.content.Context;
import android.content.pm.PackageManager;
import android.os.Build;
import android.os.PowerManager;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.time.temporal.ChronoUnit;
import java.util.LinkedHashMap;
import java.util.Map;
import org.mobilesr.core.RunConfig;
import org.mobilesr.sr.Engines;

/** What the figures depend on. */
final class DeviceInfo {
    private static final String[] THERMAL = {"none", "light", "moderate", "severe", "critical", "emergency", "shutdown"};

    private DeviceInfo() {}

    /** "device", "emulator" or, for tests on a desktop's Java, "host": times of the last two are never a device's. */
    static String where() {
        if (!"Dalvik".equals(System.getProperty("java.vm.name"))) {
            return "host";
        }
        boolean emulator = Build.HARDWARE.matches("goldfish|ranchu|cutf.*|vbox.*") || Build.FINGERPRINT.startsWith("generic");
        return emulator ? "emulator" : "device";
    }

    static Map<String, Object> environment(Context context, RunConfig config, Integer width, Integer height) {
        Map<String, Object> map = new LinkedHashMap<>();
        map.put("device", Build.MODEL);
        map.put("manufacturer", Build.MANUFACTURER);
        map.put("android", Build.VERSION.RELEASE);
        map.put("sdk", Build.VERSION.SDK_INT);
        map.put("abi", Build.SUPPORTED_ABIS.length == 0 ? null : Build.SUPPORTED_ABIS[0]);
        map.put("cores", Runtime.getRuntime().availableProcessors());
        map.put("app_version", appVersion(context));
        map.put("litert", liteRtVersion());
        map.put("width", width);
        map.put("height", height);
        map.put("threads", config.threads());
        map.put("runs", config.runs());
        map.put("warmup", config.warmup());
        map.put("date", OffsetDateTime.now(ZoneOffset.UTC).truncatedTo(ChronoUnit.SECONDS).toString());
        map.put("thermal", thermal(context));
        return map;
    }

    private static String appVersion(Context context) {
        try {
            return context.getPackageManager().getPackageInfo(context.getPackageName(), 0).versionName;
        } catch (PackageManager.NameNotFoundException error) {
            return null;
        }
    }

    private static String liteRtVersion() {
        try {
            return Engines.version();
        } catch (LinkageError error) {
            return null;
        }
    }

    /** How hot the device says it is; null before Android 10. */
    static String thermal(Context context) {
        PowerManager power = context.getSystemService(PowerManager.class);
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.Q || power == null) {
            return null;
        }
        int status = power.getCurrentThermalStatus();
        return status >= 0 && status < THERMAL.length ? THERMAL[status] : null;
    }
}
