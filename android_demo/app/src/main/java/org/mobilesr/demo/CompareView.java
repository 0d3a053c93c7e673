package org.mobilesr.demo;

import android.content.Context;
import android.graphics.Bitmap;
import android.graphics.Canvas;
import android.graphics.Paint;
import android.graphics.Rect;
import android.util.AttributeSet;
import android.view.MotionEvent;
import android.view.View;

/** The input left of a border, each pixel as a square, and the SR image right of it; a finger moves the border. */
public final class CompareView extends View {
    private final Paint pixels = new Paint();
    private final Paint smooth = new Paint(Paint.FILTER_BITMAP_FLAG);
    private final Paint line = new Paint();
    private final Rect place = new Rect();
    private Bitmap before;
    private Bitmap after;
    private float border = 0.5f;
    private Runnable moved = () -> {};

    public CompareView(Context context, AttributeSet attributes) {
        super(context, attributes);
        pixels.setFilterBitmap(false);
        line.setColor(context.getColor(R.color.accent));
        line.setStrokeWidth(2 * getResources().getDisplayMetrics().density);
        setContentDescription(context.getString(R.string.before_after));
    }

    void show(Bitmap input, Bitmap sr) {
        before = input;
        after = sr;
        requestLayout();
        invalidate();
    }

    /** @param share where the border is, 0 at the left edge, 1 at the right one. */
    void setBorder(float share) {
        border = Math.max(0, Math.min(1, share));
        invalidate();
    }

    float border() {
        return border;
    }

    void onMoved(Runnable listener) {
        moved = listener;
    }

    @Override
    protected void onMeasure(int widthSpec, int heightSpec) {
        int width = MeasureSpec.getSize(widthSpec);
        // In landscape, too, the whole SR image stays on the screen.
        int most = Math.max(1, getResources().getDisplayMetrics().heightPixels * 3 / 4);
        if (after == null) {
            setMeasuredDimension(width, 0);
            return;
        }
        double scale = Math.min((double) width / after.getWidth(), (double) most / after.getHeight());
        setMeasuredDimension((int) Math.round(scale * after.getWidth()), (int) Math.round(scale * after.getHeight()));
    }

    @Override
    protected void onDraw(Canvas canvas) {
        if (before == null || after == null) {
            return;
        }
        float scale = Math.min((float) getWidth() / after.getWidth(), (float) getHeight() / after.getHeight());
        int width = Math.round(scale * after.getWidth());
        int height = Math.round(scale * after.getHeight());
        int left = (getWidth() - width) / 2;
        place.set(left, 0, left + width, height);
        float x = left + border * width;
        canvas.drawBitmap(after, null, place, smooth);
        canvas.save();
        canvas.clipRect(left, 0, x, height);
        canvas.drawBitmap(before, null, place, pixels);
        canvas.restore();
        canvas.drawLine(x, 0, x, height, line);
    }

    @Override
    public boolean onTouchEvent(MotionEvent event) {
        if (event.getActionMasked() == MotionEvent.ACTION_DOWN || event.getActionMasked() == MotionEvent.ACTION_MOVE) {
            getParent().requestDisallowInterceptTouchEvent(true);
            setBorder((event.getX() - place.left) / Math.max(1, place.width()));
            moved.run();
        } else if (event.getActionMasked() == MotionEvent.ACTION_UP) {
            performClick();
        }
        return true;
    }

    @Override
    public boolean performClick() {
        return super.performClick();
    }
}
