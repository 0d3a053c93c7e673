package org.mobilesr.demo;

import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.List;
import org.robolectric.shadows.ShadowLog;

/** Java's log goes to the file that the runtime's native lines go to, as both go to logcat on a device. */
final class HostLog {
    private HostLog() {}

    static void connect() {
        try {
            ShadowLog.stream = new PrintStream(new FileOutputStream(System.getenv("MOBILE_SR_LOG"), true), true);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    /** The lines of the contract with the driver. */
    static List<String> marked() {
        List<String> lines = new ArrayList<>();
        for (ShadowLog.LogItem item : ShadowLog.getLogsForTag(Benchmarks.TAG)) {
            lines.add(item.msg);
        }
        return lines;
    }
}
