package org.mobilesr.demo;

import android.app.Activity;
import android.app.AlertDialog;
import android.view.View;
import android.widget.ArrayAdapter;
import android.widget.ListView;
import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.json.JSONException;
import org.json.JSONObject;
import org.mobilesr.core.ModelTitle;

/** The results in the app's folder, the newest first. */
final class HistoryScreen {
    private final Activity activity;
    private final ListView list;
    private List<Entry> shown = List.of();

    /** A result and the line that stands for it. */
    static final class Entry {
        final Benchmarks.Result result;
        final String line;

        Entry(Benchmarks.Result result, String line) {
            this.result = result;
            this.line = line;
        }
    }

    HistoryScreen(Activity activity) {
        this.activity = activity;
        list = activity.findViewById(R.id.history_list);
    }

    /** Reads the files; not on the main thread. Those that are no results are left out. */
    List<Entry> read() throws IOException {
        List<Entry> entries = new ArrayList<>();
        for (File file : new Storage(activity).results()) {
            try {
                entries.add(entry(file));
            } catch (IOException error) {
                continue;
            }
        }
        return entries;
    }

    /** @throws IOException when the file cannot be read, or is not a result. */
    Entry entry(File file) throws IOException {
        String json = Storage.readText(file);
        try {
            return new Entry(new Benchmarks.Result(name(file), json, null, null, null), line(new JSONObject(json)));
        } catch (JSONException error) {
            throw new IOException(file.getName() + " is not a result", error);
        }
    }

    private static String name(File file) {
        return file.getName().substring(0, file.getName().lastIndexOf('.'));
    }

    private String line(JSONObject file) throws JSONException {
        JSONObject measured = file.getJSONArray("results").getJSONObject(0);
        JSONObject latency = measured.optJSONObject("latency_ms");
        String time = latency == null
                ? activity.getString(R.string.history_failed)
                : activity.getString(R.string.milliseconds, latency.getDouble("p50"));
        String date = file.getJSONObject("environment").optString("date");
        String delegate = measured.getString("requested_delegate");
        delegate = activity.getString(R.string.history_threads, delegate, measured.optInt("threads"));
        return activity.getString(R.string.history_row, time, delegate, ModelTitle.of(measured.getString("model")))
                + "\n" + date;
    }

    /** All results, the newest first. */
    static List<JSONObject> all(Storage storage) throws IOException {
        List<JSONObject> all = new ArrayList<>();
        for (File file : storage.results()) {
            try {
                all.add(new JSONObject(Storage.readText(file)));
            } catch (JSONException error) {
                continue; // not a result
            }
        }
        return all;
    }

    /** Asks which of the shown results to compare; at first the newest one and those of the same matrix. */
    void askForComparison(Consumer<List<Entry>> chosen) {
        boolean[] checked = new boolean[shown.size()];
        String[] lines = new String[shown.size()];
        for (int i = 0; i < lines.length; i++) {
            lines[i] = shown.get(i).line.replace('\n', ' ');
            checked[i] = matrix(shown.get(i)).equals(matrix(shown.get(0)));
        }
        new AlertDialog.Builder(activity)
                .setTitle(R.string.choose_runs)
                .setMultiChoiceItems(lines, checked, (dialog, which, on) -> checked[which] = on)
                .setNegativeButton(R.string.cancel, null)
                .setPositiveButton(R.string.compare_runs, (dialog, which) -> {
                    List<Entry> wanted = new ArrayList<>();
                    for (int i = 0; i < checked.length; i++) {
                        if (checked[i]) {
                            wanted.add(shown.get(i));
                        }
                    }
                    if (!wanted.isEmpty()) {
                        chosen.accept(wanted);
                    }
                })
                .show();
    }

    /** The name of the matrix that a result is of: its own without the number at the end. */
    private static String matrix(Entry entry) {
        return entry.result.output.replaceFirst("^(run-\\d{8}-[\\d.]+)-\\d+$", "$1");
    }

    void show(List<Entry> entries, Consumer<Entry> opened) {
        shown = entries;
        activity.findViewById(R.id.history_compare).setEnabled(!entries.isEmpty());
        List<String> lines = new ArrayList<>();
        for (Entry entry : entries) {
            lines.add(entry.line);
        }
        list.setAdapter(new ArrayAdapter<>(activity, R.layout.history_row, lines));
        list.setOnItemClickListener((parent, view, position, id) -> opened.accept(entries.get(position)));
        list.setVisibility(entries.isEmpty() ? View.GONE : View.VISIBLE);
        activity.findViewById(R.id.history_empty).setVisibility(entries.isEmpty() ? View.VISIBLE : View.GONE);
    }
}
