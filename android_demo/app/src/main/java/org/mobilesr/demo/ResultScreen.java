package org.mobilesr.demo;

import android.app.Activity;
import android.view.View;
import android.widget.SeekBar;
import android.widget.TableLayout;
import android.widget.TableRow;
import android.widget.TextView;
import java.util.ArrayList;
import java.util.List;
import org.json.JSONException;
import org.json.JSONObject;
import org.mobilesr.core.Delegate;
import org.mobilesr.core.Psnr;

/** Shows a result file; the same for one that was just made and one of the history, which has no pictures. */
final class ResultScreen {
    private final Activity activity;
    private final CompareView compare;
    private final SeekBar slider;
    private final TableLayout table;
    private Benchmarks.Result shown;

    ResultScreen(Activity activity) {
        this.activity = activity;
        compare = activity.findViewById(R.id.compare);
        slider = activity.findViewById(R.id.slider);
        table = activity.findViewById(R.id.result_table);
        slider.setOnSeekBarChangeListener(compare);
        compare.onMoved(() -> slider.setProgress(Math.round(1000 * compare.border())));
    }

    /** What is on the screen, null before the first `show`. */
    Benchmarks.Result shown() {
        return shown;
    }

    /** @throws JSONException when the text is no result. */
    void show(Benchmarks.Result result) throws JSONException {
        if (result == shown) {
            return;
        }
        JSONObject file = new JSONObject(result.json);
        JSONObject environment = file.getJSONObject("environment");
        JSONObject measured = file.getJSONArray("results").getJSONObject(0);
        JSONObject latency = measured.optJSONObject("latency_ms");
        shown = result;
        showWarning(file, measured, result.notice);
        visible(R.id.result_headline, latency != null);
        if (latency != null) {
            text(R.id.result_median).setText(milliseconds(latency, "p50"));
            int runs = measured.getJSONArray("samples_ms").length();
            text(R.id.result_runs).setText(activity.getResources().getQuantityString(R.plurals.median, runs, runs));
        }
        boolean pictures = result.before != null && result.after != null;
        visible(R.id.result_pictures, pictures);
        compare.show(result.before, result.after);
        slider.setProgress(500);
        table.removeAllViews();
        fillTable(environment, measured, latency);
    }

    private void showWarning(JSONObject file, JSONObject measured, String notice) throws JSONException {
        List<String> lines = new ArrayList<>();
        String requested = measured.getString("requested_delegate");
        String effective = measured.isNull("effective_delegate") ? null : measured.getString("effective_delegate");
        if (!measured.isNull("error")) {
            lines.add(activity.getString(R.string.failed, measured.getString("error")));
        } else if (effective != null && !effective.equals(requested)) {
            lines.add(activity.getString(R.string.fallback, name(requested), name(effective)));
        }
        if (notice != null) {
            lines.add(activity.getString(R.string.not_saved, notice));
        }
        if (file.getJSONObject("environment").optBoolean("background")) {
            lines.add(activity.getString(R.string.in_background));
        }
        String where = file.getString("where");
        if (!where.equals("device") && measured.isNull("error")) {
            lines.add(activity.getString(R.string.not_a_device, where));
        }
        text(R.id.result_warning).setText(String.join("\n", lines));
        text(R.id.result_warning).setTextColor(activity.getColor(measured.isNull("error") ? R.color.warning : R.color.error));
        visible(R.id.result_warning, !lines.isEmpty());
    }

    private void fillTable(JSONObject environment, JSONObject measured, JSONObject latency) throws JSONException {
        row(R.string.requested, name(measured.getString("requested_delegate")));
        row(R.string.effective, measured.isNull("effective_delegate") ? null : name(measured.getString("effective_delegate")));
        row(R.string.delegated, measured.isNull("nodes") || measured.isNull("delegated_nodes") ? null
                : activity.getString(R.string.delegated_of, measured.getInt("delegated_nodes"), measured.getInt("nodes")));
        if (latency != null) {
            for (String key : new String[] {"min", "mean", "p50", "p90", "p99", "std"}) {
                row(key, milliseconds(latency, key));
            }
        }
        row(R.string.init, milliseconds(measured, "init_ms"));
        row(R.string.first, milliseconds(measured, "first_ms"));
        row(R.string.memory, measured.isNull("memory_pss_bytes") ? null
                : activity.getString(R.string.megabytes, measured.getLong("memory_pss_bytes") / 1e6));
        row(R.string.thermal, environment.isNull("thermal") ? null : environment.getString("thermal"));
        row(R.string.psnr_cpu, decibels(measured, "psnr_vs_cpu"));
        row(R.string.psnr_reference, decibels(measured, "psnr_vs_reference"));
        row(R.string.label_model, measured.getString("model"));
        row(R.string.label_signature, measured.isNull("signature") ? null : measured.optString("signature"));
        row(R.string.file, measured.isNull("size_bytes") ? null
                : activity.getString(R.string.kilobytes, measured.getInt("size_bytes") / 1e3));
        row(R.string.size, environment.isNull("width") ? null
                : activity.getString(R.string.size_value, environment.getInt("width"), environment.getInt("height")));
        row(R.string.label_threads, activity.getString(R.string.threads_value, measured.getInt("threads")));
        row(R.string.device, activity.getString(R.string.device_value, environment.optString("manufacturer"),
                environment.optString("device"), environment.optString("android"), environment.optString("abi")));
        row(R.string.date, environment.optString("date"));
    }

    /** The name of a delegate as the chooser has it. */
    private String name(String id) {
        if (id.equals(Delegate.NONE)) {
            return activity.getString(R.string.builtin);
        }
        return activity.getResources().getStringArray(R.array.delegates)[Delegate.named(id).ordinal()];
    }

    private String milliseconds(JSONObject from, String key) throws JSONException {
        return from.isNull(key) ? null : activity.getString(R.string.milliseconds, from.getDouble(key));
    }

    private String decibels(JSONObject from, String key) throws JSONException {
        if (from.isNull(key)) {
            return null;
        }
        double found = from.getDouble(key);
        return found >= Psnr.IDENTICAL ? activity.getString(R.string.identical) : activity.getString(R.string.decibels, found);
    }

    private void row(int label, String value) {
        row(activity.getString(label), value);
    }

    /** What is not known (null) is left out. */
    private void row(String label, String value) {
        if (value == null) {
            return;
        }
        TableRow row = (TableRow) activity.getLayoutInflater().inflate(R.layout.row, table, false);
        ((TextView) row.getChildAt(0)).setText(label);
        ((TextView) row.getChildAt(1)).setText(value);
        table.addView(row);
    }

    private TextView text(int id) {
        return activity.findViewById(id);
    }

    private void visible(int id, boolean visible) {
        activity.findViewById(id).setVisibility(visible ? View.VISIBLE : View.GONE);
    }
}
