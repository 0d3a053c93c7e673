package org.mobilesr.demo;

import android.content.Intent;
import android.os.Bundle;
import java.io.IOException;
import java.util.HashMap;
import java.util.Map;
import org.mobilesr.core.RunConfig;

/** A benchmark that adb's shell asks for. README.md has its extras. */
final class BenchmarkIntent {
    static final String ACTION = "org.mobilesr.demo.BENCHMARK";
    /** The manifest's name of the activity for benchmarks, which only callers with the permission DUMP may start. */
    static final String ALIAS = "org.mobilesr.demo.Benchmark";
    private static final String[] EXTRAS = {"model", "image", "delegate", "threads", "warmup", "runs", "depth", "signature", "output"};

    /** The name of the result; "?" until it is known to be a valid one. For the log. */
    String output = "?";

    private final Intent intent;

    BenchmarkIntent(Intent intent) {
        this.intent = intent;
    }

    /** @return whether an intent is such, and came by the guarded name. */
    static boolean is(Intent intent) {
        boolean guarded = intent.getComponent() != null && ALIAS.equals(intent.getComponent().getClassName());
        return guarded && ACTION.equals(intent.getAction());
    }

    /** @throws IllegalArgumentException when the extras are wrong or cannot be read, or a result of that name exists. */
    RunConfig config(Storage storage) throws IOException {
        Map<String, Object> extras = extras();
        Object name = extras.get("output");
        RunConfig.checkOutput(name == null ? null : name.toString());
        output = name.toString();
        RunConfig config = RunConfig.parse(extras);
        if (storage.hasResult(output)) {
            throw new IllegalArgumentException("a result '" + output + "' exists already; choose another output");
        }
        return config;
    }

    private Map<String, Object> extras() {
        try {
            return read();
        } catch (RuntimeException error) { // BadParcelableException, and what the code of a hostile object throws
            throw new IllegalArgumentException("the extras cannot be read: " + RunConfig.oneLine(error.getMessage()), error);
        }
    }

    @SuppressWarnings("deprecation") // Only Bundle.get takes numbers of any type, as the callers send them.
    private Map<String, Object> read() {
        Map<String, Object> extras = new HashMap<>();
        Bundle bundle = intent.getExtras();
        for (String key : EXTRAS) {
            Object value = bundle == null ? null : bundle.get(key);
            if (value != null) {
                extras.put(key, value);
            }
        }
        return extras;
    }
}
