/* What is like what: panels of points in a plane, each beside a dendrogram. */
#include "likeness.h"

#include <math.h>
#include <stdio.h>

#include "colour.h"
#include "legend.h"

#define SIDE_SMALLEST 320 /* of the points' field; many things make it larger, ... */
#define SIDE_LARGEST 560
#define SIDE_EACH 4 /* ... each by this */
#define TREE_NARROWEST 480
#define PANEL_GAP 26 /* between panels */
#define TITLE_GAP 9
#define PARTS 6 /* of the height axis */
#define MOST_PANELS 64
#define WHOSE_TEXT 32

typedef struct layout {
  const th_likeness *panels;
  int count;
  th_legend legend;
  th_scaled_axis heights;
  int side, tree_x, tree_width; /* the same in all panels */
  int width, height;            /* of the picture */
} layout;

static int larger(int a, int b) { return a > b ? a : b; }

static th_status check_panel(const th_likeness *panel, int groups, const char *whose, th_error *error) {
  if (panel->count < 1 || panel->count > TH_LIKENESS_MAX)
    return th_error_set(error, TH_EINVAL, "%s: %d things, not 1 to %d", whose, panel->count, TH_LIKENESS_MAX);
  if (!panel->place || (panel->count > 1 && !panel->joins))
    return th_error_set(error, TH_EINVAL, "%s: no %s", whose, panel->place ? "joins" : "places");
  for (int i = 0; panel->group && i < panel->count; i++)
    if (panel->group[i] < 0 || panel->group[i] >= groups)
      return th_error_set(error, TH_EINVAL, "%s: thing %d is of group %d, not 0 to %d", whose, i,
                          panel->group[i], groups - 1);
  return th_dendrogram_check(panel, whose, error);
}

static th_status check(const layout *plan, int groups, th_error *error) {
  if (plan->count < 1 || plan->count > MOST_PANELS)
    return th_error_set(error, TH_EINVAL, "likeness: %d panels, not 1 to %d", plan->count, MOST_PANELS);
  if (groups < 0 || groups > TH_CURVE_MAX_SERIES)
    return th_error_set(error, TH_EINVAL, "likeness: %d groups, at most %d can be told apart", groups,
                        TH_CURVE_MAX_SERIES);
  th_status status = TH_OK;
  for (int i = 0; i < plan->count && status == TH_OK; i++) {
    char whose[WHOSE_TEXT];
    snprintf(whose, sizeof whose, "likeness: panel %d", i);
    status = check_panel(&plan->panels[i], groups, whose, error);
  }
  return status;
}

static th_status fit(layout *plan, th_error *error) {
  const th_axis asked = {.range = {.kind = TH_RANGE_DATA}};
  th_extent heights = TH_NO_EXTENT;
  for (int p = 0; p < plan->count; p++)
    for (int i = 0; i < plan->panels[p].count - 1; i++)
      th_extent_add(&heights, plan->panels[p].joins[i].height);
  if (heights.largest > 0) heights.least = 0;
  else heights = TH_NO_EXTENT; /* 0 to 1 */
  return th_axis_fit(&plan->heights, &asked, heights, true, PARTS, "likeness: heights", error);
}

static int room_above(th_plot *plot, const th_likeness *panel) {
  return th_text_room(plot, panel->title, TH_NAME_SIZE, TITLE_GAP);
}

static int room_below(th_plot *plot, const layout *plan, const th_likeness *panel) {
  return larger(th_scatter_room_below(plot), th_dendrogram_room_below(plot, panel, plan->tree_width));
}

static void lay_out(th_plot *plot, layout *plan) {
  int most = 1, beside = 0;
  for (int i = 0; i < plan->count; i++) {
    const char *name = plan->panels[i].height_axis ? plan->panels[i].height_axis : "distance";
    most = larger(most, plan->panels[i].count);
    beside = larger(beside, th_axis_room_beside(plot, &plan->heights, name));
  }
  plan->side = SIDE_SMALLEST + SIDE_EACH * most;
  if (plan->side > SIDE_LARGEST) plan->side = SIDE_LARGEST;
  plan->tree_width = larger(TREE_NARROWEST, most * TH_LEAF_NARROWEST);
  plan->tree_x = TH_MARGIN + plan->side + TH_WIDE_GAP + beside;
  plan->width = plan->tree_x + plan->tree_width + TH_MARGIN;
  plan->height = TH_MARGIN + th_legend_height(plot, &plan->legend, plan->width - 2 * TH_MARGIN);
  for (int i = 0; i < plan->count; i++)
    plan->height += (i ? PANEL_GAP : 0) + room_above(plot, &plan->panels[i]) + plan->side +
                    room_below(plot, plan, &plan->panels[i]);
  plan->height += TH_MARGIN;
}

static th_status draw(th_plot *plot, th_canvas *canvas, const layout *plan, th_error *error) {
  int inside = plan->width - 2 * TH_MARGIN, half = th_text_height(plot, TH_NAME_SIZE) / 2;
  int y = TH_MARGIN + th_legend_height(plot, &plan->legend, inside);
  th_legend_draw(plot, canvas, &plan->legend, TH_MARGIN, TH_MARGIN, inside);
  th_status status = TH_OK;
  for (int i = 0; i < plan->count && status == TH_OK; i++) {
    const th_likeness *panel = &plan->panels[i];
    th_text title;
    th_text_set(plot, &title, panel->title, TH_NAME_SIZE, inside);
    th_text_draw(plot, canvas, &title, TH_MARGIN, y + half, TH_LEFT);
    y += room_above(plot, panel);
    th_field points = {TH_MARGIN + 1, y, plan->side, plan->side};
    th_field tree = {plan->tree_x, y, plan->tree_width, plan->side};
    status = th_scatter_draw(plot, canvas, panel, points, error);
    if (status == TH_OK) status = th_dendrogram_draw(plot, canvas, panel, &plan->heights, tree, error);
    y += plan->side + room_below(plot, plan, panel) + PANEL_GAP;
  }
  return status;
}

th_status th_plot_likeness(th_plot *plot, const char *path, const th_likeness *panels, int count,
                           const char *const *group_names, int groups, const char *title, th_error *error) {
  layout plan = {.panels = panels, .count = count, .legend = {.title = title, .blocks = true}};
  th_canvas canvas = {0};
  th_status status = check(&plan, groups, error);
  if (status == TH_OK) status = fit(&plan, error);
  if (status != TH_OK) return status;
  plan.legend.count = group_names ? groups : 0;
  for (int i = 0; i < plan.legend.count; i++) plan.legend.entry[i].name = group_names[i];
  lay_out(plot, &plan);
  status = th_canvas_new(&canvas, plan.width, plan.height, error);
  if (status == TH_OK) status = draw(plot, &canvas, &plan, error);
  if (status == TH_OK) status = th_canvas_write_png(&canvas, path, error);
  th_canvas_free(&canvas);
  return status;
}
