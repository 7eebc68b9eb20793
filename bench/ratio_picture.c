/* ratio_picture RESULTS.json PICTURE.png: bars of how many times as long PyTorch takes for a training step, by the size of the
 * model and dropout, from what bench/run.py wrote. PyTorch itself is a bar of 1 beside them. */
#include "tapehead/plot.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define SIZES_MAX 16
#define DROPOUTS_MAX (TH_CURVE_MAX_SERIES - 1) /* and a series for PyTorch */

typedef struct ratios {
  const char *size[SIZES_MAX]; /* the JSON's */
  double dropout[DROPOUTS_MAX];
  double ratio[DROPOUTS_MAX][SIZES_MAX]; /* NAN: not measured */
  int sizes, dropouts;
} ratios;

/* The place of a name, or of a number, which is added where it is new; -1: there is no room. */
static int size_at(ratios *r, const char *size) {
  for (int i = 0; i < r->sizes; i++)
    if (!strcmp(r->size[i], size)) return i;
  if (r->sizes == SIZES_MAX) return -1;
  r->size[r->sizes] = size;
  return r->sizes++;
}

static int dropout_at(ratios *r, double dropout) {
  for (int i = 0; i < r->dropouts; i++)
    if (r->dropout[i] == dropout) return i;
  if (r->dropouts == DROPOUTS_MAX) return -1;
  r->dropout[r->dropouts] = dropout;
  return r->dropouts++;
}

static bool read_ratios(ratios *r, json_t *results, json_error_t *error) {
  json_t *list, *row;
  size_t index;
  for (int d = 0; d < DROPOUTS_MAX; d++)
    for (int s = 0; s < SIZES_MAX; s++) r->ratio[d][s] = NAN;
  if (json_unpack_ex(results, error, 0, "{s:o}", "ratios", &list)) return false;
  json_array_foreach (list, index, row) {
    const char *size;
    double dropout, ratio;
    if (json_unpack_ex(row, error, 0, "{s:s, s:F, s:F}", "size", &size, "dropout", &dropout, "ratio", &ratio))
      return false;
    int s = size_at(r, size), d = dropout_at(r, dropout);
    if (s >= 0 && d >= 0) r->ratio[d][s] = ratio;
  }
  if (r->sizes) return true;
  snprintf(error->text, sizeof error->text, "no ratios: want the results of a run beside PyTorch");
  return false;
}

static th_status draw(const ratios *r, const char *path, th_error *error) {
  char name[DROPOUTS_MAX][40];
  double one[SIZES_MAX];
  th_bar_series series[TH_CURVE_MAX_SERIES];
  th_plot *plot;
  for (int s = 0; s < r->sizes; s++) one[s] = 1;
  for (int d = 0; d < r->dropouts; d++) {
    snprintf(name[d], sizeof name[d], "dropout %g", r->dropout[d]);
    series[d] = (th_bar_series){name[d], r->ratio[d]};
  }
  series[r->dropouts] = (th_bar_series){"PyTorch itself: 1", one};
  th_bars bars = {.labels = r->size,
                  .count = r->sizes,
                  .series = series,
                  .series_count = r->dropouts + 1,
                  .title = "A training step: PyTorch's best time over tapehead's",
                  .value = {.name = "ratio (above 1 tapehead is faster)"}};
  th_status status = th_plot_new(&plot, TH_PLOT_SYSTEM_FONTS, error);
  if (!status) status = th_plot_bars(plot, path, &bars, error);
  th_plot_free(plot);
  return status;
}

int main(int count, const char **arguments) {
  ratios r = {0};
  json_error_t wrong;
  th_error error;
  if (count != 3) return fputs("usage: ratio_picture RESULTS.json PICTURE.png\n", stderr), 2;
  json_t *results = json_load_file(arguments[1], 0, &wrong);
  bool done = results && read_ratios(&r, results, &wrong);
  if (!done) fprintf(stderr, "ratio_picture: %s: %s\n", arguments[1], wrong.text);
  else if (draw(&r, arguments[2], &error)) {
    fprintf(stderr, "ratio_picture: %s\n", error.text);
    done = false;
  }
  json_decref(results);
  return done ? 0 : 1;
}
