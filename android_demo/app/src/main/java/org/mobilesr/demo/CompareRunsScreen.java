package org.mobilesr.demo;

import android.app.Activity;
import android.view.View;
import android.view.ViewGroup;
import android.widget.LinearLayout;
import android.widget.TextView;
import java.util.ArrayList;
import java.util.List;
import org.json.JSONException;
import org.json.JSONObject;
import org.mobilesr.core.Comparison;
import org.mobilesr.core.ModelTitle;

/** Several results as a chart, with the figures beside the bars. */
final class CompareRunsScreen {
    private static final int[] COLOURS = {R.color.bar_1, R.color.bar_2, R.color.bar_3, R.color.bar_4};

    private final Activity activity;
    private final ViewGroup chart;
    private List<JSONObject> shown = List.of();
    private List<String> outputs = List.of();

    CompareRunsScreen(Activity activity) {
        this.activity = activity;
        chart = activity.findViewById(R.id.compare_chart);
    }

    /** The results on the screen, in the order in which they were given. */
    List<JSONObject> shown() {
        return shown;
    }

    /** Their names. */
    List<String> outputs() {
        return outputs;
    }

    void show(List<HistoryScreen.Entry> entries) {
        shown = new ArrayList<>();
        outputs = new ArrayList<>();
        List<Comparison.Run> runs = new ArrayList<>();
        for (HistoryScreen.Entry entry : entries) {
            try {
                JSONObject file = new JSONObject(entry.result.json);
                runs.add(run(file));
                shown.add(file);
                outputs.add(entry.result.output);
            } catch (JSONException error) {
                continue; // not a result
            }
        }
        Comparison comparison = Comparison.of(runs);
        showWarning(comparison);
        chart.removeAllViews();
        for (Comparison.Row row : comparison.rows()) {
            add(row, comparison.longest());
        }
    }

    private void showWarning(Comparison comparison) {
        List<String> lines = new ArrayList<>();
        if (!comparison.isFair()) {
            lines.add(activity.getString(R.string.not_comparable));
        }
        for (JSONObject file : shown) {
            String where = file.optString("where");
            if (!where.equals("device")) {
                lines.add(activity.getString(R.string.not_a_device, where));
                break;
            }
        }
        TextView warning = activity.findViewById(R.id.compare_warning);
        warning.setText(String.join("\n", lines));
        warning.setVisibility(lines.isEmpty() ? View.GONE : View.VISIBLE);
    }

    private static Comparison.Run run(JSONObject file) throws JSONException {
        JSONObject environment = file.getJSONObject("environment");
        JSONObject measured = file.getJSONArray("results").getJSONObject(0);
        JSONObject latency = measured.optJSONObject("latency_ms");
        String place = environment.opt("manufacturer") + " " + environment.opt("device") + " " + environment.opt("width") + "x"
                + environment.opt("height");
        return new Comparison.Run(
                measured.getString("model"),
                measured.isNull("sha256") ? null : measured.getString("sha256"),
                measured.getString("requested_delegate"),
                measured.isNull("effective_delegate") ? null : measured.getString("effective_delegate"),
                measured.getInt("threads"),
                place,
                latency == null ? null : latency.getDouble("min"),
                latency == null ? null : latency.getDouble("p50"),
                latency == null ? null : latency.getDouble("p90"),
                measured.isNull("psnr_vs_reference") ? null : measured.getDouble("psnr_vs_reference"),
                measured.isNull("error") ? null : measured.getString("error"));
    }

    private void add(Comparison.Row row, double longest) {
        Comparison.Run run = row.run();
        List<String> facts = new ArrayList<>();
        facts.add(ModelTitle.of(run.model()));
        facts.add(activity.getString(R.string.history_threads, run.delegate(), run.threads()));
        if (run.effective() != null && !run.effective().equals(run.delegate())) {
            facts.add(activity.getString(R.string.ran_on, run.effective()));
        }
        label(String.join(" · ", facts), R.color.text);
        if (run.p50() == null) {
            label(activity.getString(R.string.failed, run.error()), R.color.error);
            return;
        }
        int height = Math.round(12 * activity.getResources().getDisplayMetrics().density);
        BarView bar = new BarView(
                activity, row.share(run.p50(), longest), row.share(run.min(), longest), row.share(run.p90(), longest),
                activity.getColor(COLOURS[row.file() % COLOURS.length]), activity.getColor(R.color.text));
        chart.addView(bar, new LinearLayout.LayoutParams(ViewGroup.LayoutParams.MATCH_PARENT, height));
        String time = activity.getString(R.string.milliseconds, run.p50());
        time = row.ratio() != null && row.ratio() > 1
                ? activity.getString(R.string.times_of_fastest, time, row.ratio())
                : activity.getString(R.string.is_fastest, time);
        String psnr = run.psnr() == null ? "" : " · " + activity.getString(R.string.decibels, run.psnr());
        label(time + psnr, R.color.faint);
    }

    private void label(String text, int colour) {
        TextView view = (TextView) activity.getLayoutInflater().inflate(R.layout.compare_label, chart, false);
        view.setText(text);
        view.setTextColor(activity.getColor(colour));
        chart.addView(view);
    }
}
