package org.mobilesr.demo;

import android.app.Activity;
import android.widget.Button;
import android.widget.ProgressBar;
import android.widget.TextView;
import org.mobilesr.core.ModelTitle;
import org.mobilesr.core.RunConfig;

/** The progress of a benchmark or a photo. */
final class RunningScreen {
    private final Activity activity;

    RunningScreen(Activity activity) {
        this.activity = activity;
    }

    void show(Benchmarks.State state, boolean cancelling) {
        String stage = activity.getResources().getStringArray(R.array.stages)[state.stage.ordinal()];
        stage = state.runs > 1 ? activity.getString(R.string.run_of, state.run, state.runs, stage) : stage;
        show(state.config, state.config.image(), stage);
        progress(state.done, state.total, R.string.progress);
        cancel(cancelling, R.string.cancelling);
    }

    void show(Photos.State state, boolean cancelling) {
        show(state.config, activity.getString(R.string.title_photo), activity.getString(R.string.upscaling));
        progress(state.done, state.total, R.string.tiles);
        cancel(cancelling, R.string.cancelling_photo);
    }

    private void show(RunConfig config, String image, String stage) {
        String what = activity.getString(R.string.history_row, ModelTitle.of(config.model()), config.delegate().id, image);
        text(R.id.running_what).setText(what);
        text(R.id.running_stage).setText(stage);
    }

    private void progress(int done, int total, int text) {
        ProgressBar bar = activity.findViewById(R.id.running_bar);
        bar.setIndeterminate(total <= 1);
        bar.setMax(total);
        bar.setProgress(done);
        text(R.id.running_count).setText(total > 1 ? activity.getString(text, done, total) : "");
    }

    private void cancel(boolean cancelling, int text) {
        Button cancel = activity.findViewById(R.id.cancel);
        cancel.setEnabled(!cancelling);
        cancel.setText(cancelling ? text : R.string.cancel);
    }

    private TextView text(int id) {
        return activity.findViewById(id);
    }
}
