/* Many matrices of weights in one picture. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "figure.h"

#define CELL_LARGEST 28
#define WIDTH_WANTED 1080 /* for the matrices of a row together ... */
#define HEIGHT_WANTED 900 /* ... and for those of a column */
#define NARROWEST 84      /* a map's place is never narrower, for the sake of its title */
#define MAPS_LIMIT 4096
#define SHAPE_WANTED 1.4 /* width by height of the whole */
#define EMPTY_COST 1.0   /* how much a picture's share of empty places counts against it */
#define WHOSE_TEXT 32

typedef struct layout {
  const th_grid *grid;
  int columns, rows; /* of maps */
  th_panel *panels;  /* [count] */
  int *x;            /* [columns] left edge of the matrices, from the body's */
  int *y;            /* [rows] their upper edge */
  int title_room;    /* above every matrix */
} layout;

static int larger(int a, int b) { return a > b ? a : b; }

static th_status check(const th_grid *grid, th_error *error) {
  if (grid->count < 1 || grid->count > MAPS_LIMIT)
    return th_error_set(error, TH_EINVAL, "grid: %d maps, not 1 to %d", grid->count, MAPS_LIMIT);
  if (grid->columns < 0) return th_error_set(error, TH_EINVAL, "grid: %d columns", grid->columns);
  for (int i = 0; i < grid->count; i++) {
    char whose[WHOSE_TEXT];
    snprintf(whose, sizeof whose, "grid: map %d", i);
    th_status status = th_panel_check(&grid->maps[i], whose, error);
    if (status != TH_OK) return status;
  }
  return TH_OK;
}

/* The largest number of rows (axis 0) or columns (axis 1) of any map. */
static int most_tokens(const th_grid *grid, int axis) {
  int64_t most = 1;
  for (int i = 0; i < grid->count; i++)
    if (grid->maps[i].weights->shape[axis] > most) most = grid->maps[i].weights->shape[axis];
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
  int wide = (WIDTH_WANTED / plan->columns - TH_WIDE_GAP) / most_tokens(plan->grid, 1);
  int high = (HEIGHT_WANTED / plan->rows - TH_WIDE_GAP) / most_tokens(plan->grid, 0);
  int side = wide < high ? wide : high;
  return side < 1 ? 1 : side > CELL_LARGEST ? CELL_LARGEST : side;
}

/* Row labels are left out where the map at the left has the same; column labels where the one below has. */
static bool shows_rows(const layout *plan, int i) {
  const th_panel *panel = &plan->panels[i];
  return i % plan->columns == 0 || panel[-1].rows != panel->rows ||
         panel[-1].map->query_labels != panel->map->query_labels;
}

static bool shows_columns(const layout *plan, int i) {
  const th_panel *panel = &plan->panels[i];
  const th_panel *under = panel + plan->columns;
  return i + plan->columns >= plan->grid->count || under->columns != panel->columns ||
         under->map->key_labels != panel->map->key_labels;
}

static bool has_titles(const th_grid *grid) {
  for (int i = 0; i < grid->count; i++)
    if (grid->maps[i].title && grid->maps[i].title[0]) return true;
  return false;
}

/* Gives every column and row of maps the room that its largest needs. */
static void place(const layout *plan, th_figure *figure) {
  int right = 0;
  for (int c = 0; c < plan->columns; c++) {
    int left = 0, width = NARROWEST;
    for (int i = c; i < plan->grid->count; i += plan->columns) {
      left = larger(left, shows_rows(plan, i) ? plan->panels[i].left : 0);
      width = larger(width, plan->panels[i].columns * plan->panels[i].cell);
    }
    plan->x[c] = right + (c ? TH_WIDE_GAP : 0) + left;
    right = plan->x[c] + width;
  }
  int bottom = 0, matrices_bottom = 0;
  for (int r = 0; r < plan->rows; r++) {
    int height = 0, whole = 0;
    for (int i = r * plan->columns; i < plan->grid->count && i < (r + 1) * plan->columns; i++) {
      int own = plan->panels[i].rows * plan->panels[i].cell;
      height = larger(height, own);
      whole = larger(whole, own + (shows_columns(plan, i) ? plan->panels[i].below : 0));
    }
    plan->y[r] = bottom + (r ? TH_WIDE_GAP : 0) + plan->title_room;
    matrices_bottom = plan->y[r] + height;
    bottom = plan->y[r] + whole;
  }
  figure->body_width = right;
  figure->body_height = bottom;
  figure->core_x = plan->x[0];
  figure->core_y = plan->y[0];
  figure->core_width = right - plan->x[0];
  figure->core_height = matrices_bottom - plan->y[0];
}

static void draw_maps(th_plot *plot, th_canvas *canvas, const layout *plan, const th_figure *figure) {
  for (int i = 0; i < plan->grid->count; i++) {
    const th_panel *panel = &plan->panels[i];
    int x = figure->body_x + plan->x[i % plan->columns];
    int y = figure->body_y + plan->y[i / plan->columns];
    int width = panel->columns * panel->cell;
    th_panel_draw(plot, canvas, panel, figure->scale, x, y, shows_rows(plan, i), shows_columns(plan, i));
    th_text title;
    th_text_set(plot, &title, panel->map->title, TH_NAME_SIZE, larger(width, NARROWEST));
    int middle = y - TH_GAP - th_text_height(plot, TH_NAME_SIZE) / 2;
    if (title.width > width) th_text_draw(plot, canvas, &title, x, middle, TH_LEFT);
    else th_text_draw(plot, canvas, &title, x + width / 2, middle, TH_CENTRE);
  }
}

static th_status draw_grid(th_plot *plot, const char *path, const layout *plan, th_figure *figure,
                           th_error *error) {
  th_canvas canvas = {0};
  int cell = cell_side(plan);
  for (int i = 0; i < plan->grid->count; i++)
    th_panel_measure(plot, &plan->panels[i], &plan->grid->maps[i], cell);
  place(plan, figure);
  th_status status = th_figure_begin(plot, figure, &canvas, error);
  if (status == TH_OK) {
    draw_maps(plot, &canvas, plan, figure);
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
  plan.title_room = has_titles(grid) ? th_text_height(plot, TH_NAME_SIZE) + TH_GAP : 0;
  plan.panels = calloc((size_t)grid->count, sizeof *plan.panels);
  plan.x = calloc((size_t)plan.columns, sizeof *plan.x);
  plan.y = calloc((size_t)plan.rows, sizeof *plan.y);
  if (plan.panels && plan.x && plan.y) status = draw_grid(plot, path, &plan, &figure, error);
  else status = th_error_set(error, TH_ENOMEM, "grid: no memory for %d maps", grid->count);
  free(plan.panels);
  free(plan.x);
  free(plan.y);
  return status;
}
