package org.mobilesr.demo;

import android.content.Context;
import android.graphics.Canvas;
import android.graphics.Paint;
import android.view.View;

/** A bar of a chart: the median, and a line from the fastest run to the 90th percentile. */
final class BarView extends View {
    private final Paint paint = new Paint(Paint.ANTI_ALIAS_FLAG);
    private final float median;
    private final float from;
    private final float to;
    private final int bar;
    private final int line;

    /** @param median a share of the width, as `from` and `to`, between which the line is. */
    BarView(Context context, float median, float from, float to, int bar, int line) {
        super(context);
        this.median = median;
        this.from = from;
        this.to = to;
        this.bar = bar;
        this.line = line;
    }

    @Override
    protected void onDraw(Canvas canvas) {
        float unit = getResources().getDisplayMetrics().density;
        boolean mirrored = getLayoutDirection() == LAYOUT_DIRECTION_RTL;
        canvas.save();
        if (mirrored) {
            canvas.scale(-1, 1, getWidth() / 2f, 0);
        }
        paint.setColor(bar);
        canvas.drawRoundRect(0, 0, median * getWidth(), getHeight(), 2 * unit, 2 * unit, paint);
        paint.setColor(line);
        float middle = getHeight() / 2f;
        canvas.drawRect(from * getWidth(), middle - unit, to * getWidth(), middle + unit, paint);
        canvas.restore();
    }
}
