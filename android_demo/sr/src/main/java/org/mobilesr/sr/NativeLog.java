package org.mobilesr.sr;

import android.os.Process;
import android.util.Log;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;

/** The runtime's lines in this process' log, from a mark on: the only place where it tells which delegate took what. */
final class NativeLog {
    private static final String TAG = "tflite";

    private final String mark = "mark " + UUID.randomUUID();

    NativeLog() {
        Log.i(TAG, mark);
    }

    /** @return the lines since the mark, null when the log cannot be read. */
    List<String> lines() {
        try {
            java.lang.Process logcat = new ProcessBuilder(
                            "logcat", "-d", "-v", "raw", "--pid=" + Process.myPid(), "-s", TAG + ":V")
                    .redirectErrorStream(true)
                    .start();
            List<String> found = null;
            try (BufferedReader reader =
                    new BufferedReader(new InputStreamReader(logcat.getInputStream(), StandardCharsets.UTF_8))) {
                for (String line = reader.readLine(); line != null; line = reader.readLine()) {
                    if (line.contains(mark)) {
                        found = new ArrayList<>();
                    } else if (found != null) {
                        found.add(line);
                    }
                }
            }
            return found;
        } catch (IOException error) {
            return null;
        }
    }
}
