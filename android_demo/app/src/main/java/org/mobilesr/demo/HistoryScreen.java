package org.mobilesr.demo;

import android.app.Activity;
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

/** The results in the app's folder, the newest first. */
final class HistoryScreen {
    private final Activity activity;
    private final ListView list;

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
                String json = Storage.readText(file);
                entries.add(new Entry(new Benchmarks.Result(name(file), json, null, null, null), line(new JSONObject(json))));
            } catch (JSONException | IOException error) {
                continue;
            }
        }
        return entries;
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
        return activity.getString(R.string.history_row, time, measured.getString("requested_delegate"), measured.getString("model"))
                + "\n" + date;
    }

    void show(List<Entry> entries, Consumer<Entry> opened) {
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
