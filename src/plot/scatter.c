/* Things as points in a plane, with labels where there is room. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "colour.h"
#include "likeness.h"
#include "stroke.h"
#include "ticks.h"

#define PADDING 44    /* between the field's edge and the outermost points: for their labels */
#define RULE_PART 0.3 /* of the points' span: about the length of the rule */
#define RULE_END 7    /* height of the rule's ends */
#define NEAREST 7     /* of a label to its point's centre */
#define RING 15       /* further away by this, where there is no room near the point */
#define RINGS 4
#define LEADER 1.0 /* thickness of the line to a label that is not near */
#define SIDE_AIR 3 /* around a label */

static const struct {
  int x, y;
} directions[] = {{1, 0}, {-1, 0}, {0, -1}, {0, 1}, {1, -1}, {1, 1}, {-1, -1}, {-1, 1}};
#define DIRECTIONS 8

/* A point and its label, from the field's corner. */
typedef struct spot {
  double x, y;
  bool shown;
  th_field label; /* width 0: none */
  bool led;       /* a line leads to it */
} spot;

typedef struct cloud {
  const th_likeness *things;
  th_field field;
  double scale; /* pixels for a distance of 1; 0: all points are one */
  double span;  /* of the places, in distances */
  spot *spots;  /* [count] */
} cloud;

th_rgb th_thing_colour(const th_likeness *things, int i) {
  return th_okabe_ito[things->group ? things->group[i] : 0];
}

static void place_points(cloud *of) {
  const double *place = of->things->place;
  th_extent across = TH_NO_EXTENT, up = TH_NO_EXTENT;
  for (int i = 0; i < of->things->count; i++) {
    of->spots[i].shown = isfinite(place[2 * i]) && isfinite(place[2 * i + 1]);
    if (!of->spots[i].shown) continue;
    th_extent_add(&across, place[2 * i]);
    th_extent_add(&up, place[2 * i + 1]);
  }
  int side = of->field.width < of->field.height ? of->field.width : of->field.height;
  of->span = fmax(across.largest - across.least, up.largest - up.least);
  of->scale = of->span > 0 && isfinite(of->span) ? (side - 2 * PADDING) / of->span : 0;
  if (!isfinite(of->scale)) of->scale = 0;
  for (int i = 0; i < of->things->count; i++) {
    if (!of->spots[i].shown) continue;
    double x = place[2 * i] - (across.least / 2 + across.largest / 2);
    double y = place[2 * i + 1] - (up.least / 2 + up.largest / 2);
    of->spots[i].x = of->field.width / 2.0 + x * of->scale;
    of->spots[i].y = of->field.height / 2.0 - y * of->scale;
  }
}

static bool overlap(th_field a, th_field b) {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

static th_field dot_of(const spot *point) {
  int radius = (int)(TH_DOT / 2) + 1;
  return (th_field){(int)point->x - radius, (int)point->y - radius, 2 * radius + 1, 2 * radius + 1};
}

/* Whether a label may stand there: inside the field, on no point, on no other label. */
static bool is_free(const cloud *of, th_field label) {
  if (label.x < 1 || label.y < 1 || label.x + label.width >= of->field.width ||
      label.y + label.height >= of->field.height)
    return false;
  for (int i = 0; i < of->things->count; i++) {
    const spot *other = &of->spots[i];
    if (other->shown && (overlap(label, dot_of(other)) || overlap(label, other->label))) return false;
  }
  return true;
}

/* Where a label goes that stands `away` from its point in a direction. */
static th_field beside(const spot *point, int width, int height, int direction, int away) {
  int x = directions[direction].x, y = directions[direction].y;
  double reach = x && y ? away * 0.7 : away; /* as far away on the diagonals */
  double middle_x = point->x + x * (reach + width / 2.0), middle_y = point->y + y * (reach + height / 2.0);
  return (th_field){(int)lround(middle_x - width / 2.0), (int)lround(middle_y - height / 2.0), width, height};
}

/* Labels take the first free place, near their points if there is one: one after another, none moves again. */
static void place_label(th_plot *plot, cloud *of, int i) {
  spot *point = &of->spots[i];
  th_text text;
  th_label_set(plot, &text, of->things->labels, i);
  if (text.width == 0 || !point->shown) return;
  int width = text.width + 2 * SIDE_AIR, height = th_text_height(plot, TH_LABEL_SIZE);
  for (int try = 0; try < RINGS * DIRECTIONS; try++) {
    int away = NEAREST + try / DIRECTIONS * RING;
    th_field label = beside(point, width, height, try % DIRECTIONS, away);
    if (!is_free(of, label)) continue;
    point->label = label;
    point->led = away > NEAREST;
    return;
  }
}

static double nearest_in(double value, double low, double high) { return fmin(fmax(value, low), high); }

static void draw_leaders(th_canvas *canvas, const cloud *of, th_stroke *lines) {
  for (int i = 0; i < of->things->count; i++) {
    const spot *point = &of->spots[i];
    if (!point->led) continue;
    double x = nearest_in(point->x, point->label.x, point->label.x + point->label.width);
    double y = nearest_in(point->y, point->label.y, point->label.y + point->label.height);
    th_stroke_line(lines, point->x, point->y, x, y, LEADER);
  }
  th_stroke_draw(lines, canvas, of->field.x, of->field.y, TH_GREY_NAN);
}

static void draw_points(th_plot *plot, th_canvas *canvas, const cloud *of, th_stroke *dot) {
  const th_rgb white = {255, 255, 255};
  for (int i = 0; i < of->things->count; i++) {
    const spot *point = &of->spots[i];
    if (!point->shown) continue;
    double x = of->field.x + point->x, y = of->field.y + point->y;
    th_stroke_dot(dot, canvas, x, y, TH_DOT_RING, white);
    th_stroke_dot(dot, canvas, x, y, TH_DOT, th_thing_colour(of->things, i));
  }
  for (int i = 0; i < of->things->count; i++) {
    th_field label = of->spots[i].label;
    if (label.width == 0) continue;
    th_text text;
    th_label_set(plot, &text, of->things->labels, i);
    th_text_draw(plot, canvas, &text, of->field.x + label.x + SIDE_AIR,
                 of->field.y + label.y + label.height / 2, TH_LEFT);
  }
}

/* A line of a round length, with its ends and its number. */
static void draw_rule(th_plot *plot, th_canvas *canvas, const cloud *of) {
  if (of->scale == 0) return;
  double round = th_round_down(of->span * RULE_PART);
  int length = (int)lround(round * of->scale);
  int x = of->field.x, y = of->field.y + of->field.height + TH_GAP + RULE_END / 2 + 1;
  th_canvas_fill(canvas, x, y, length + 1, 1, TH_FRAME);
  th_canvas_fill(canvas, x, y - RULE_END / 2, 1, RULE_END, TH_FRAME);
  th_canvas_fill(canvas, x + length, y - RULE_END / 2, 1, RULE_END, TH_FRAME);
  char number[TH_TICK_TEXT];
  th_text text;
  snprintf(number, sizeof number, "%g", round);
  th_text_set(plot, &text, number, TH_LABEL_SIZE, of->field.width - length);
  th_text_draw(plot, canvas, &text, x + length + TH_GAP, y, TH_LEFT);
}

int th_scatter_room_below(th_plot *plot) {
  return TH_GAP + RULE_END + th_text_height(plot, TH_LABEL_SIZE) / 2;
}

th_status th_scatter_draw(th_plot *plot, th_canvas *canvas, const th_likeness *things, th_field field,
                          th_error *error) {
  th_stroke lines = {0}, dot = {0};
  cloud of = {.things = things, .field = field, .spots = calloc((size_t)things->count, sizeof *of.spots)};
  th_status status = of.spots
                         ? th_stroke_new(&lines, field.width, field.height, error)
                         : th_error_set(error, TH_ENOMEM, "likeness: no memory for %d things", things->count);
  if (status == TH_OK) status = th_stroke_new(&dot, TH_DOT_FIELD, TH_DOT_FIELD, error);
  if (status == TH_OK) {
    place_points(&of);
    for (int i = 0; i < things->count; i++) place_label(plot, &of, i);
    th_canvas_frame(canvas, field.x, field.y, field.width, field.height, TH_FRAME);
    draw_leaders(canvas, &of, &lines);
    draw_points(plot, canvas, &of, &dot);
    draw_rule(plot, canvas, &of);
  }
  th_stroke_free(&lines);
  th_stroke_free(&dot);
  free(of.spots);
  return status;
}
