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
import org.mobilesr.core.ModelTitle;

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
        String delegate = measured.getString("requested_delegate");
        delegate = activity.getString(R.string.history_threads, delegate, measured.optInt("threads"));
        return activity.getString(R.string.history_row, time, delegate, ModelTitle.of(measured.getString("model")))
                + "\n" + date;
    }

    /** All results as a table, the newest first; the columns are named as in the result files. Unknown values are empty. */
    static String csv(Storage storage) throws IOException {
        String[] columns = {"date", "device", "android", "litert", "width", "height", "runs", "warmup", "thermal", "background"};
        String[] measures = {"model", "sha256", "requested_delegate", "effective_delegate", "threads", "signature", "init_ms",
            "memory_pss_bytes", "psnr_vs_cpu", "psnr_vs_reference", "error"};
        String[] times = {"min", "p50", "p90"};
        StringBuilder csv = new StringBuilder("where," + String.join(",", columns) + ",")
                .append(String.join(",", measures)).append(",min_ms,p50_ms,p90_ms\n");
        for (File file : storage.results()) {
            try {
                JSONObject json = new JSONObject(Storage.readText(file));
                JSONObject measured = json.getJSONArray("results").getJSONObject(0);
                List<String> cells = new ArrayList<>();
                cells.add(cell(json, "where"));
                for (String column : columns) {
                    cells.add(cell(json.getJSONObject("environment"), column));
                }
                for (String column : measures) {
                    cells.add(cell(measured, column));
                }
                for (String column : times) {
                    cells.add(measured.isNull("latency_ms") ? "" : cell(measured.getJSONObject("latency_ms"), column));
                }
                csv.append(String.join(",", cells)).append('\n');
            } catch (JSONException | IOException error) {
                continue;
            }
        }
        return csv.toString();
    }

    private static String cell(JSONObject json, String key) {
        String text = json.isNull(key) ? "" : String.valueOf(json.opt(key));
        return text.matches("[^,\"\n\r]*") ? text : '"' + text.replace("\"", "\"\"") + '"';
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
