package org.mobilesr.demo;

import android.app.Activity;
import android.os.Bundle;
import android.text.Editable;
import android.view.View;
import android.widget.ArrayAdapter;
import android.widget.EditText;
import android.widget.Spinner;
import android.widget.TextView;
import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.List;
import org.mobilesr.core.Delegate;
import org.mobilesr.core.RunConfig;

/** The form in which a benchmark is chosen. */
final class ChooseScreen {
    private static final String MODEL = "chosen model";
    private static final String IMAGE = "chosen image";
    private static final DateTimeFormatter NAME = DateTimeFormatter.ofPattern("yyyyMMdd-HHmmss.SSS");

    private final Activity activity;
    private final Spinner model;
    private final Spinner image;
    private final Spinner delegate;
    private final TextView error;
    private List<String> models = new ArrayList<>();
    private List<String> images = new ArrayList<>();
    private String wantedModel;
    private String wantedImage;

    ChooseScreen(Activity activity, Bundle saved) {
        this.activity = activity;
        model = activity.findViewById(R.id.model);
        image = activity.findViewById(R.id.image);
        delegate = activity.findViewById(R.id.delegate);
        error = activity.findViewById(R.id.choose_error);
        wantedModel = saved == null ? RunConfig.DEFAULT_MODEL : saved.getString(MODEL);
        wantedImage = saved == null ? RunConfig.DEFAULT_IMAGE : saved.getString(IMAGE);
    }

    /** The lists are read in the background; what was chosen stays chosen. */
    void save(Bundle state) {
        state.putString(MODEL, chosen(model, models, wantedModel));
        state.putString(IMAGE, chosen(image, images, wantedImage));
    }

    /** @param select the model to choose, null for the one that is chosen. */
    void setModels(List<String> names, String select) {
        wantedModel = select == null ? chosen(model, models, wantedModel) : select;
        models = names;
        fill(model, names, wantedModel);
    }

    void setImages(List<String> names) {
        wantedImage = chosen(image, images, wantedImage);
        images = names;
        fill(image, names, wantedImage);
    }

    private static String chosen(Spinner spinner, List<String> names, String otherwise) {
        int position = spinner.getSelectedItemPosition();
        return position >= 0 && position < names.size() ? names.get(position) : otherwise;
    }

    private void fill(Spinner spinner, List<String> names, String wanted) {
        List<String> shown = new ArrayList<>();
        for (String name : names) {
            boolean packaged = name.startsWith(RunConfig.ASSET);
            shown.add(packaged ? activity.getString(R.string.packaged, name.substring(RunConfig.ASSET.length())) : name);
        }
        ArrayAdapter<String> adapter = new ArrayAdapter<>(activity, android.R.layout.simple_spinner_item, shown);
        adapter.setDropDownViewResource(android.R.layout.simple_spinner_dropdown_item);
        spinner.setAdapter(adapter);
        spinner.setSelection(Math.max(0, names.indexOf(wanted)));
    }

    /** @param message null to take it away. */
    void showError(String message) {
        error.setText(message);
        error.setVisibility(message == null ? View.GONE : View.VISIBLE);
    }

    /** @throws IllegalArgumentException with one line about what is wrong in the form. */
    RunConfig config() {
        Editable depth = ((EditText) activity.findViewById(R.id.depth)).getText();
        Editable signature = ((EditText) activity.findViewById(R.id.signature)).getText();
        return new RunConfig(
                chosen(model, models, null),
                chosen(image, images, null),
                Delegate.values()[delegate.getSelectedItemPosition()],
                (int) number(R.id.threads, R.string.label_threads),
                (int) number(R.id.warmup, R.string.label_warmup),
                (int) number(R.id.runs, R.string.label_runs),
                depth.length() == 0 ? null : number(R.id.depth, R.string.label_depth),
                signature.length() == 0 ? null : signature.toString(),
                "run-" + LocalDateTime.now().format(NAME));
    }

    private double number(int id, int label) {
        String text = ((EditText) activity.findViewById(id)).getText().toString();
        try {
            return Double.parseDouble(text);
        } catch (NumberFormatException exception) {
            String message = activity.getString(R.string.need_number, activity.getString(label));
            throw new IllegalArgumentException(message, exception);
        }
    }
}
