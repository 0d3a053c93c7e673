package org.mobilesr.sr;

import android.os.Build;
import java.util.List;
import org.mobilesr.core.Delegate;
import org.mobilesr.core.ModelFile;

/** The system on chip of this device, for files that are compiled for one. */
public final class Chip {
    private Chip() {}

    /** @return such as "SM8650"; null before Android 12, or if the device does not tell. */
    public static String name() {
        boolean told = Build.VERSION.SDK_INT >= Build.VERSION_CODES.S && !Build.UNKNOWN.equals(Build.SOC_MODEL);
        return told ? Build.SOC_MODEL : null;
    }

    /** The delegates that this build and this device have for a file; none for one that is compiled for another chip. */
    public static List<Delegate> delegates(ModelFile file) {
        return Delegate.offered(file.compiledFor(), name(), Engines.delegates());
    }

    /** @throws IllegalArgumentException when the delegate cannot run the file here. */
    static void check(ModelFile file, Delegate requested) {
        if (!Engines.delegates().contains(requested)) {
            String runtime = Engines.NAME + " " + Engines.version() + " on Android SDK " + Build.VERSION.SDK_INT;
            throw new IllegalArgumentException(requested.id + " is not available: this app has " + runtime);
        }
        String chip = file.compiledFor();
        if (chip == null && requested == Delegate.NPU) {
            throw new IllegalArgumentException(
                    "npu runs files that are compiled for a chip: mobile-sr export --target snapdragon --soc CHIP");
        }
        if (chip != null && !delegates(file).contains(requested)) {
            String here = "the chip of this device is " + (name() == null ? "unknown" : name());
            throw new IllegalArgumentException(
                    "the file is compiled for the NPU of " + chip + "; " + here + " and " + requested.id + " was requested");
        }
    }
}
