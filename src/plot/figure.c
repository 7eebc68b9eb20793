#include "figure.h"

#define BAR_LOWEST 120 /* a bar beside a flat matrix is still this high */
#define NAME_GAP 10    /* between an axis name and the labels */

typedef struct labels {
  th_text title, query, key;
} labels;

static int larger(int a, int b) { return a > b ? a : b; }

/* Height of a line with the gap to what it names; 0 for an empty line. */
static int line_room(th_plot *plot, const th_text *text, int gap) {
  return text->count > 0 ? th_text_height(plot, text->size) + gap : 0;
}

static int bar_height(const th_figure *figure) { return larger(figure->core_height, BAR_LOWEST); }

/* The height taken by the body or, where that is flat, by the bar beside it. */
static int inner_height(const th_figure *figure) {
  return larger(figure->body_height, figure->core_y + bar_height(figure));
}

static void set_labels(th_plot *plot, const th_figure *figure, labels *names) {
  th_text_set(plot, &names->title, figure->title, TH_TITLE_SIZE, TH_PICTURE_WIDEST - 2 * TH_MARGIN);
  th_text_set(plot, &names->query, figure->query_axis ? figure->query_axis : "query", TH_NAME_SIZE,
              inner_height(figure));
  th_text_set(plot, &names->key, figure->key_axis ? figure->key_axis : "key", TH_NAME_SIZE,
              larger(figure->body_width, BAR_LOWEST));
}

/* Where a line of `length` starts so that it is centred on from..from + room, but within 0..limit. */
static int start_of(int length, int from, int room, int limit) {
  int start = from + (room - length) / 2;
  if (start + length > limit) start = limit - length;
  return start < 0 ? 0 : start;
}

static void draw_labels(th_plot *plot, th_canvas *canvas, const th_figure *figure, const labels *names) {
  int inside = canvas->width - 2 * TH_MARGIN;
  int core = figure->body_x + figure->core_x;
  int x = start_of(names->title.width, core - TH_MARGIN, figure->core_width, inside);
  th_text_draw(plot, canvas, &names->title, TH_MARGIN + x,
               TH_MARGIN + th_text_height(plot, TH_TITLE_SIZE) / 2, TH_LEFT);
  int half = th_text_height(plot, TH_NAME_SIZE) / 2;
  int left = figure->body_x - NAME_GAP - half;
  int up = start_of(names->query.width, figure->core_y, figure->core_height, inner_height(figure));
  th_text_draw_up(plot, canvas, &names->query, left, figure->body_y + up, TH_RIGHT);
  int along = start_of(names->key.width, core - TH_MARGIN, figure->core_width, inside);
  th_text_draw(plot, canvas, &names->key, TH_MARGIN + along,
               figure->body_y + figure->body_height + NAME_GAP + half, TH_LEFT);
}

th_status th_figure_begin(th_plot *plot, th_figure *figure, th_canvas *canvas, th_error *error) {
  labels names;
  set_labels(plot, figure, &names);
  int left = line_room(plot, &names.query, NAME_GAP);
  int top = line_room(plot, &names.title, TH_WIDE_GAP - TH_GAP);
  int below = figure->body_height + line_room(plot, &names.key, NAME_GAP);
  int height = bar_height(figure);
  int bar = th_bar_width(plot, figure->scale, height);
  int content = left + figure->body_width + TH_WIDE_GAP + bar;
  int width = larger(larger(content, names.title.width), left + figure->core_x + names.key.width);
  /* A title wider than the rest widens the picture; the rest goes to the middle. */
  figure->body_x = TH_MARGIN + (width - content) / 2 + left;
  figure->body_y = TH_MARGIN + top;
  int bottom = larger(below, inner_height(figure));
  th_status status = th_canvas_new(canvas, width + 2 * TH_MARGIN, figure->body_y + bottom + TH_MARGIN, error);
  if (status != TH_OK) return status;
  draw_labels(plot, canvas, figure, &names);
  th_bar_draw(plot, canvas, figure->scale, figure->body_x + figure->body_width + TH_WIDE_GAP,
              figure->body_y + figure->core_y, height);
  return TH_OK;
}
