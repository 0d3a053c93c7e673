package org.mobilesr.demo;

import android.os.Handler;
import android.os.Looper;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** Work of the process on a thread of its own, and the state S that a screen shows of it. It outlives a rotation. */
abstract class Work<S> {
    private final ExecutorService worker;
    private final Handler main = new Handler(Looper.getMainLooper());
    private volatile S state;
    private Runnable listener;

    Work(String thread) {
        worker = Executors.newSingleThreadExecutor(task -> new Thread(task, thread));
    }

    /** Null when none has run, the last one was cancelled, or its result was dismissed. */
    S state() {
        return state;
    }

    abstract boolean isRunning();

    /** @param changed called on the main thread whenever the state changed; null to stop that. */
    void listen(Runnable changed) {
        listener = changed;
    }

    /** Forget the result. */
    void dismiss() {
        if (!isRunning()) {
            set(null);
        }
    }

    final void execute(Runnable task) {
        worker.execute(task);
    }

    final void set(S next) {
        state = next;
        changed();
    }

    final void changed() {
        main.post(() -> {
            if (listener != null) {
                listener.run();
            }
        });
    }
}
