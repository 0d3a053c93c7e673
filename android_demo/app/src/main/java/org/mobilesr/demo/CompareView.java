package org.mobilesr.demo;

import android.content.Context;
import android.graphics.Bitmap;
import android.graphics.Canvas;
import android.graphics.Paint;
import android.graphics.RectF;
import android.util.AttributeSet;
import android.view.GestureDetector;
import android.view.KeyEvent;
import android.view.MotionEvent;
import android.view.ScaleGestureDetector;
import android.view.View;
import android.widget.SeekBar;

/**
 * Bicubic interpolation left of a border, and the SR image right of it. One finger moves the border, two fingers zoom and move the
 * image, a double tap zooms in and out. With a remote control the arrow keys move a zoomed image.
 */
public final class CompareView extends View implements SeekBar.OnSeekBarChangeListener {
    private static final float MOST_ZOOM = 16;
    /** From here on single pixels are seen, and drawn as squares. */
    private static final float SQUARES = 4;

    private final Paint pixels = new Paint();
    private final Paint smooth = new Paint(Paint.FILTER_BITMAP_FLAG);
    private final Paint line = new Paint();
    private final RectF place = new RectF();
    private final ScaleGestureDetector pinch;
    private final GestureDetector taps;
    private Bitmap before;
    private Bitmap after;
    private float border = 0.5f;
    private float zoom = 1;
    /** The point of the image in the middle of the view, as shares of its width and height. */
    private float centerX = 0.5f;
    private float centerY = 0.5f;
    private float lastX;
    private float lastY;
    private boolean movesImage;
    private Runnable moved = () -> {};

    public CompareView(Context context, AttributeSet attributes) {
        super(context, attributes);
        pixels.setFilterBitmap(false);
        line.setColor(context.getColor(R.color.accent));
        line.setStrokeWidth(2 * getResources().getDisplayMetrics().density);
        setContentDescription(context.getString(R.string.before_after));
        pinch = new ScaleGestureDetector(context, new ScaleGestureDetector.SimpleOnScaleGestureListener() {
            @Override
            public boolean onScale(ScaleGestureDetector detector) {
                setZoom(zoom * detector.getScaleFactor());
                return true;
            }
        });
        taps = new GestureDetector(context, new GestureDetector.SimpleOnGestureListener() {
            @Override
            public boolean onDoubleTap(MotionEvent event) {
                centerX += (event.getX() - getWidth() / 2f) / place.width();
                centerY += (event.getY() - getHeight() / 2f) / place.height();
                setZoom(zoom > 1 ? 1 : SQUARES);
                return true;
            }
        });
    }

    void show(Bitmap bicubic, Bitmap sr) {
        before = bicubic;
        after = sr;
        zoom = 1;
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

    /** @param factor 1 shows the whole image. */
    void setZoom(float factor) {
        zoom = Math.max(1, Math.min(MOST_ZOOM, factor));
        setFocusable(zoom > 1);
        moveTo(centerX, centerY);
    }

    float zoom() {
        return zoom;
    }

    /** Where the zoomed image is, for tests: the share of its width in the middle of the view. */
    float centerX() {
        return centerX;
    }

    private void moveTo(float x, float y) {
        float half = 0.5f / zoom;
        centerX = Math.max(half, Math.min(1 - half, x));
        centerY = Math.max(half, Math.min(1 - half, y));
        invalidate();
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
        float scale = zoom * Math.min((float) getWidth() / after.getWidth(), (float) getHeight() / after.getHeight());
        float width = scale * after.getWidth();
        float height = scale * after.getHeight();
        float left = getWidth() / 2f - centerX * width;
        float top = getHeight() / 2f - centerY * height;
        place.set(left, top, left + width, top + height);
        float x = border * getWidth();
        Paint paint = scale < SQUARES ? smooth : pixels;
        canvas.save();
        canvas.clipRect(0, 0, getWidth(), getHeight());
        canvas.drawBitmap(after, null, place, paint);
        canvas.clipRect(0, 0, x, getHeight());
        canvas.drawColor(getContext().getColor(R.color.card)); // below what is transparent
        canvas.drawBitmap(before, null, place, paint);
        canvas.restore();
        canvas.drawLine(x, 0, x, getHeight(), line);
    }

    @Override
    public boolean onTouchEvent(MotionEvent event) {
        getParent().requestDisallowInterceptTouchEvent(true);
        pinch.onTouchEvent(event);
        taps.onTouchEvent(event);
        int action = event.getActionMasked();
        if (action == MotionEvent.ACTION_DOWN) {
            movesImage = false;
        } else if (action == MotionEvent.ACTION_POINTER_DOWN) {
            movesImage = true;
        } else if (action == MotionEvent.ACTION_MOVE && movesImage && event.getPointerCount() > 1) {
            float dx = middle(event, true) - lastX;
            float dy = middle(event, false) - lastY;
            moveTo(centerX - dx / place.width(), centerY - dy / place.height());
        } else if (action == MotionEvent.ACTION_UP) {
            performClick();
        }
        if (!movesImage && (action == MotionEvent.ACTION_DOWN || action == MotionEvent.ACTION_MOVE)) {
            setBorder(event.getX() / Math.max(1, getWidth()));
            moved.run();
        }
        lastX = middle(event, true);
        lastY = middle(event, false);
        return true;
    }

    private static float middle(MotionEvent event, boolean horizontal) {
        float sum = 0;
        for (int i = 0; i < event.getPointerCount(); i++) {
            sum += horizontal ? event.getX(i) : event.getY(i);
        }
        return sum / event.getPointerCount();
    }

    @Override
    public boolean onKeyDown(int key, KeyEvent event) {
        float oldX = centerX;
        float oldY = centerY;
        float step = 0.25f / zoom;
        switch (key) {
            case KeyEvent.KEYCODE_DPAD_LEFT -> moveTo(centerX - step, centerY);
            case KeyEvent.KEYCODE_DPAD_RIGHT -> moveTo(centerX + step, centerY);
            case KeyEvent.KEYCODE_DPAD_UP -> moveTo(centerX, centerY - step);
            case KeyEvent.KEYCODE_DPAD_DOWN -> moveTo(centerX, centerY + step);
            default -> {
                return super.onKeyDown(key, event);
            }
        }
        boolean atTheEdge = oldX == centerX && oldY == centerY; // then the focus moves on
        return !atTheEdge || super.onKeyDown(key, event);
    }

    @Override
    public boolean performClick() {
        return super.performClick();
    }

    /** @param progress share of the image left of the border, in thousandths. */
    @Override
    public void onProgressChanged(SeekBar bar, int progress, boolean fromUser) {
        setBorder(progress / 1000f);
    }

    @Override
    public void onStartTrackingTouch(SeekBar bar) {}

    @Override
    public void onStopTrackingTouch(SeekBar bar) {}
}
