/* Many matrices of weights in one picture. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "colour.h"
#include "figure.h"

#define CELL_LARGEST 28
#define WIDTH_WANTED 1080 /* for the matrices of a row together ... */
#define HEIGHT_WANTED 900 /* ... and for those of a column */
#define NARROWEST 84      /* a map's place is never narrower ... */
#define LINE_WIDEST 160   /* ... and grows up to this for title and note */
#define LINE_GAP 2        /* between title and note */
#define ROW_TITLE_WIDEST 150
#define GAUGE_GAP 4 /* above a gauge */
#define GAUGE_HEIGHT 5
#define GAUGE_SAMPLE 44        /* length of the one in the caption ... */
#define GAUGE_SAMPLE_VALUE 0.6 /* ... and what it shows */
#define MAPS_LIMIT 4096
#define SHAPE_WANTED 1.4 /* width by height of the whole */
#define EMPTY_COST 1.0   /* how much a picture's share of empty places counts against it */
#define WHOSE_TEXT 32

typedef struct layout {
  const th_grid *grid;
  int columns, rows; /* of maps */
  th_panel *panels;  /* [count] */
  int *x;            /* [columns] left edge of the matrices, from the body's */
  int *wide;         /* [columns] room for a matrix or its title */
  int *y;            /* [rows] their upper edge */
  int title_room;    /* above every matrix, ... */
  int note_room;     /* for its second line, which is part of that, ... */
  int gauge_room;    /* and below it */
  int row_title_room;
  int caption_room;
} layout;

static int larger(int a, int b) { return a > b ? a : b; }

static bool is_empty(const th_grid *grid, int i) { return !grid->maps[i].weights; }

static th_status check(const th_grid *grid, th_error *error) {
  int drawn = 0;
  if (grid->count < 1 || grid->count > MAPS_LIMIT)
    return th_error_set(error, TH_EINVAL, "grid: %d maps, not 1 to %d", grid->count, MAPS_LIMIT);
  if (grid->columns < 0) return th_error_set(error, TH_EINVAL, "grid: %d columns", grid->columns);
  for (int i = 0; i < grid->count; i++) {
    if (is_empty(grid, i)) continue;
    drawn++;
    char whose[WHOSE_TEXT];
    snprintf(whose, sizeof whose, "grid: map %d", i);
    th_status status = th_panel_check(&grid->maps[i], whose, error);
    if (status != TH_OK) return status;
  }
  return drawn > 0 ? TH_OK : th_error_set(error, TH_EINVAL, "grid: none of %d maps has weights", grid->count);
}

/* The largest number of rows (axis 0) or columns (axis 1) of any map. */
static int most_tokens(const th_grid *grid, int axis) {
  int64_t most = 1;
  for (int i = 0; i < grid->count; i++)
    if (!is_empty(grid, i) && grid->maps[i].weights->shape[axis] > most)
      most = grid->maps[i].weights->shape[axis];
  return (int)most;
}

/* The number of columns whose picture comes nearest to the wanted shape with few empty places. */
static int choose_columns(const th_grid *grid) {
  double map_shape = (double)most_tokens(grid, 1) / most_tokens(grid, 0);
  double best_cost = HUGE_VAL;
  int best = 1;
  for (int columns = 1; columns <= grid->count; columns++) {
    int rows = (grid->count + columns - 1) / columns;
    double shape = map_shape * columns / rows;
    double empty = 1 - (double)grid->count / (columns * rows);
    double cost = fabs(log(shape / SHAPE_WANTED)) + EMPTY_COST * empty;
    if (cost < best_cost) {
      best_cost = cost;
      best = columns;
    }
  }
  return best;
}

static int cell_side(const layout *plan) {
  int across = most_tokens(plan->grid, 1), down = most_tokens(plan->grid, 0);
  int wide = (WIDTH_WANTED / plan->columns - TH_WIDE_GAP) / across;
  int high = (HEIGHT_WANTED / plan->rows - TH_WIDE_GAP) / down;
  int side = wide < high ? wide : high;
  side = larger(side, (NARROWEST - 1) / larger(across, down) + 1); /* the place would be empty else */
  return side > CELL_LARGEST ? CELL_LARGEST : side;
}

/* Row labels are left out where the map at the left has the same; column labels where the one below has. */
static bool shows_rows(const layout *plan, int i) {
  const th_panel *panel = &plan->panels[i];
  if (plan->grid->bare || is_empty(plan->grid, i)) return false;
  return i % plan->columns == 0 || is_empty(plan->grid, i - 1) || panel[-1].rows != panel->rows ||
         panel[-1].map->query_labels != panel->map->query_labels;
}

static bool shows_columns(const layout *plan, int i) {
  const th_panel *panel = &plan->panels[i];
  const th_panel *under = panel + plan->columns;
  if (plan->grid->bare || is_empty(plan->grid, i)) return false;
  return i + plan->columns >= plan->grid->count || is_empty(plan->grid, i + plan->columns) ||
         under->columns != panel->columns || under->map->key_labels != panel->map->key_labels;
}

static void set_title(th_plot *plot, th_text *text, const th_heatmap *map, int widest) {
  th_text_set(plot, text, map->title, TH_NAME_SIZE, widest);
}

static void set_note(th_plot *plot, th_text *text, const th_heatmap *map, int widest) {
  th_text_set(plot, text, map->note, TH_LABEL_SIZE, widest);
}

/* Room above a matrix for the lines that any of them has. */
static void measure_lines(th_plot *plot, layout *plan) {
  const th_grid *grid = plan->grid;
  int title = 0;
  for (int i = 0; i < grid->count; i++) {
    const th_heatmap *map = &grid->maps[i];
    if (is_empty(grid, i)) continue;
    title = larger(title, th_text_room(plot, map->title, TH_NAME_SIZE, TH_GAP));
    plan->note_room = larger(plan->note_room, th_text_room(plot, map->note, TH_LABEL_SIZE, LINE_GAP));
    if (map->gauge && !isnan(*map->gauge)) plan->gauge_room = GAUGE_GAP + GAUGE_HEIGHT + 1;
  }
  plan->title_room = title + plan->note_room;
  if (plan->note_room > 0 && title == 0) plan->title_room += TH_GAP - LINE_GAP;
  for (int r = 0; grid->row_titles && r < plan->rows; r++) {
    th_text text;
    th_text_set(plot, &text, grid->row_titles[r], TH_NAME_SIZE, ROW_TITLE_WIDEST);
    if (text.width > 0) plan->row_title_room = larger(plan->row_title_room, text.width + TH_WIDE_GAP);
  }
  plan->caption_room = th_text_room(plot, grid->gauge_name, TH_LABEL_SIZE, TH_WIDE_GAP - TH_GAP);
}

/* Room that map `i` needs from its left edge on. */
static int width_of(th_plot *plot, const layout *plan, int i) {
  if (is_empty(plan->grid, i)) return NARROWEST;
  th_text title, note;
  set_title(plot, &title, &plan->grid->maps[i], LINE_WIDEST);
  set_note(plot, &note, &plan->grid->maps[i], LINE_WIDEST);
  int matrix = larger(plan->panels[i].columns * plan->panels[i].cell, NARROWEST);
  return larger(matrix, larger(title.width, note.width));
}

/* Gives every column and row of maps the room that its largest needs. */
static void place(th_plot *plot, const layout *plan, th_figure *figure) {
  int right = plan->row_title_room;
  for (int c = 0; c < plan->columns; c++) {
    int left = 0;
    for (int i = c; i < plan->grid->count; i += plan->columns) {
      left = larger(left, shows_rows(plan, i) ? plan->panels[i].left : 0);
      plan->wide[c] = larger(plan->wide[c], width_of(plot, plan, i));
    }
    plan->x[c] = right + (c ? TH_WIDE_GAP : 0) + left;
    right = plan->x[c] + plan->wide[c];
  }
  int bottom = plan->caption_room, matrices_bottom = 0;
  for (int r = 0; r < plan->rows; r++) {
    int height = 0, whole = 0;
    for (int i = r * plan->columns; i < plan->grid->count && i < (r + 1) * plan->columns; i++) {
      int own = plan->panels[i].rows * plan->panels[i].cell;
      height = larger(height, own);
      whole = larger(whole, own + (shows_columns(plan, i) ? plan->panels[i].below : 0));
    }
    plan->y[r] = bottom + (r ? TH_WIDE_GAP : 0) + plan->title_room;
    matrices_bottom = plan->y[r] + height;
    bottom = plan->y[r] + whole + plan->gauge_room;
  }
  figure->body_width = right;
  figure->body_height = bottom;
  figure->core_x = plan->x[0];
  figure->core_y = plan->y[0];
  figure->core_width = right - plan->x[0];
  figure->core_height = matrices_bottom - plan->y[0];
}

static void draw_gauge(th_canvas *canvas, double value, int x, int y, int width) {
  int filled = (int)lround(fmin(fmax(value, 0), 1) * width);
  th_canvas_fill(canvas, x - 1, y, width + 2, GAUGE_HEIGHT, TH_RULE);
  th_canvas_fill(canvas, x, y, filled, GAUGE_HEIGHT, TH_GAUGE);
}

/* What the gauges say, with a sample of one. */
static void draw_caption(th_plot *plot, th_canvas *canvas, const layout *plan, const th_figure *figure) {
  if (plan->caption_room == 0) return;
  int x = figure->body_x + plan->x[0], half = th_text_height(plot, TH_LABEL_SIZE) / 2;
  int middle = figure->body_y + half;
  draw_gauge(canvas, GAUGE_SAMPLE_VALUE, x, middle - GAUGE_HEIGHT / 2, GAUGE_SAMPLE);
  th_text text;
  th_text_set(plot, &text, plan->grid->gauge_name, TH_LABEL_SIZE, figure->core_width - GAUGE_SAMPLE - TH_GAP);
  th_text_draw(plot, canvas, &text, x + GAUGE_SAMPLE + TH_GAP, middle, TH_LEFT);
}

/* A line over a matrix: in its middle, or from its left edge on if the line is the wider. */
static void draw_line(th_plot *plot, th_canvas *canvas, const th_text *text, int x, int width, int bottom) {
  int middle = bottom - th_text_height(plot, text->size) / 2;
  if (text->width > width) th_text_draw(plot, canvas, text, x, middle, TH_LEFT);
  else th_text_draw(plot, canvas, text, x + width / 2, middle, TH_CENTRE);
}

static void draw_map(th_plot *plot, th_canvas *canvas, const layout *plan, const th_figure *figure, int i) {
  const th_panel *panel = &plan->panels[i];
  int wide = plan->wide[i % plan->columns], width = panel->columns * panel->cell;
  int x = figure->body_x + plan->x[i % plan->columns];
  int y = figure->body_y + plan->y[i / plan->columns];
  bool columns = shows_columns(plan, i);
  th_panel_draw(plot, canvas, panel, figure->scale, x, y, shows_rows(plan, i), columns);
  th_text text;
  set_title(plot, &text, panel->map, wide);
  draw_line(plot, canvas, &text, x, width, y - TH_GAP - plan->note_room);
  set_note(plot, &text, panel->map, wide);
  draw_line(plot, canvas, &text, x, width, y - TH_GAP);
  int below = y + panel->rows * panel->cell + (columns ? panel->below : 0) + 1 + GAUGE_GAP;
  if (panel->map->gauge && !isnan(*panel->map->gauge))
    draw_gauge(canvas, *panel->map->gauge, x, below, width);
}

static void draw_row_titles(th_plot *plot, th_canvas *canvas, const layout *plan, const th_figure *figure) {
  if (plan->row_title_room == 0) return;
  for (int r = 0; r < plan->rows; r++) {
    int height = 0;
    for (int i = r * plan->columns; i < plan->grid->count && i < (r + 1) * plan->columns; i++)
      height = larger(height, plan->panels[i].rows * plan->panels[i].cell);
    th_text text;
    th_text_set(plot, &text, plan->grid->row_titles[r], TH_NAME_SIZE, ROW_TITLE_WIDEST);
    th_text_draw(plot, canvas, &text, figure->body_x, figure->body_y + plan->y[r] + height / 2, TH_LEFT);
  }
}

static th_status draw_grid(th_plot *plot, const char *path, const layout *plan, th_figure *figure,
                           th_error *error) {
  th_canvas canvas = {0};
  int cell = cell_side(plan);
  for (int i = 0; i < plan->grid->count; i++)
    if (!is_empty(plan->grid, i)) th_panel_measure(plot, &plan->panels[i], &plan->grid->maps[i], cell);
  place(plot, plan, figure);
  th_status status = th_figure_begin(plot, figure, &canvas, error);
  if (status == TH_OK) {
    draw_caption(plot, &canvas, plan, figure);
    draw_row_titles(plot, &canvas, plan, figure);
    for (int i = 0; i < plan->grid->count; i++)
      if (!is_empty(plan->grid, i)) draw_map(plot, &canvas, plan, figure, i);
    status = th_canvas_write_png(&canvas, path, error);
  }
  th_canvas_free(&canvas);
  return status;
}

th_status th_plot_grid(th_plot *plot, const char *path, const th_grid *grid, th_error *error) {
  th_figure figure = {.title = grid->title, .query_axis = grid->query_axis, .key_axis = grid->key_axis};
  th_status status = check(grid, error);
  if (status == TH_OK)
    status = th_scale_of(&figure.scale, &grid->range, grid->maps, grid->count, "grid", error);
  if (status != TH_OK) return status;
  layout plan = {.grid = grid, .columns = grid->columns > 0 ? grid->columns : choose_columns(grid)};
  plan.columns = plan.columns > grid->count ? grid->count : plan.columns;
  plan.rows = (grid->count + plan.columns - 1) / plan.columns;
  measure_lines(plot, &plan);
  plan.panels = calloc((size_t)grid->count, sizeof *plan.panels);
  plan.x = calloc((size_t)plan.columns, sizeof *plan.x);
  plan.wide = calloc((size_t)plan.columns, sizeof *plan.wide);
  plan.y = calloc((size_t)plan.rows, sizeof *plan.y);
  if (plan.panels && plan.x && plan.wide && plan.y) status = draw_grid(plot, path, &plan, &figure, error);
  else status = th_error_set(error, TH_ENOMEM, "grid: no memory for %d maps", grid->count);
  free(plan.panels);
  free(plan.x);
  free(plan.wide);
  free(plan.y);
  return status;
}
